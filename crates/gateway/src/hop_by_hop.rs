//! The header fields that speak of one connection, and are not handed on (RFC 9110, section 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE},
};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Removes what speaks of the connection that `headers` came over: `Connection`, all that it names,
/// and what old software forgets to name there.
pub(crate) fn remove(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: SmallVec<[HeaderName; 4]> = words(headers, &CONNECTION)
            .filter_map(|word| HeaderName::from_bytes(word).ok())
            .filter(may_be_named)
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            headers.remove(name);
        }
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TRANSFER_ENCODING, &UPGRADE, &HTTP2_SETTINGS] {
        headers.remove(name);
    }
}

/// Leaves of `TE` only that trailers are understood, which is the one thing that it can say of us
/// too; and whether it said so.
pub(crate) fn reduce_te(headers: &mut HeaderMap) -> bool {
    let understood = words(headers, &TE).any(|word| {
        let coding = word.split(|&byte| byte == b';').next().unwrap_or_default();
        coding.trim_ascii().eq_ignore_ascii_case(b"trailers")
    });
    headers.remove(TE);
    if understood {
        headers.insert(TE, TRAILERS);
    }
    understood
}

/// What `Upgrade` asks for, if `Connection` says that this connection is meant.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let meant = words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case(b"upgrade"));
    headers.get(UPGRADE).filter(|_| meant).cloned()
}

/// Where a request goes, how long its body is and who asks is for everybody on the way: a client
/// that calls such a field its connection's own must not make us forget it (and another field be
/// believed in its place).
fn may_be_named(name: &HeaderName) -> bool {
    use http::header::{
        AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, FORWARDED, HOST, TE,
        TRAILER,
    };
    let kept = [
        HOST,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        CONTENT_ENCODING,
        AUTHORIZATION,
        COOKIE,
        FORWARDED,
        TE,
        TRAILER,
    ];
    !kept.contains(name) && !name.as_str().starts_with("x-forwarded-")
}

fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    let lines = headers.get_all(name).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_speaks_of_the_connection_is_removed_and_nothing_else() {
        let mut all = headers(&[
            ("connection", "close, X-One"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("trailer", "x-sum"),
            ("accept", "*/*"),
        ]);
        all.append(CONNECTION, HeaderValue::from_static(" x-two,,"));
        remove(&mut all);
        assert_eq!(names(&all), ["accept", "trailer"]);
    }

    #[test]
    fn what_is_for_everybody_cannot_be_called_the_connections_own() {
        let mut all = headers(&[
            ("connection", "host, content-length, authorization, x-forwarded-for, cookie"),
            ("host", "h"),
            ("content-length", "1"),
            ("authorization", "a"),
            ("x-forwarded-for", "f"),
            ("cookie", "c"),
        ]);
        remove(&mut all);
        assert_eq!(
            names(&all),
            ["authorization", "content-length", "cookie", "host", "x-forwarded-for"]
        );
    }

    #[test]
    fn of_te_only_trailers_is_left() {
        for (said, left) in [
            ("trailers", true),
            ("gzip;q=0.5, Trailers", true),
            ("gzip", false),
            ("trailers;q=1", true),
        ] {
            let mut all = headers(&[]);
            all.insert(TE, HeaderValue::from_static(said));
            assert_eq!(reduce_te(&mut all), left, "{said}");
            assert_eq!(all.get(TE), left.then_some(&TRAILERS));
        }
    }

    #[test]
    fn an_upgrade_counts_when_the_connection_is_meant() {
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&asked).unwrap(), "websocket");
        assert_eq!(
            upgrade(&headers(&[("connection", "keep-alive"), ("upgrade", "websocket")])),
            None
        );
        assert_eq!(upgrade(&headers(&[("connection", "upgrade")])), None);
    }
}
