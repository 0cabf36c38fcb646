//! Hop-by-hop header fields, which are not forwarded (RFC 9110, section 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE},
};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Removes the hop-by-hop fields: `Connection`, every field that it names, and those that old
/// software does not name there.
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

/// Reduces `TE` to `trailers`, the only value that holds for the gateway too. Returns whether it
/// was there.
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

/// Returns the protocol in `Upgrade`, if `Connection` names `Upgrade`.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let meant = words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case(b"upgrade"));
    headers.get(UPGRADE).filter(|_| meant).cloned()
}

/// Returns whether `Connection` may name a field. Fields for the destination, the length of the
/// body and the identity of the client are for every server on the way. A client that names such a
/// field must not make the gateway remove it, or another field would be used in its place.
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
    fn only_hop_by_hop_fields_are_removed() {
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
    fn end_to_end_fields_are_kept_even_when_connection_names_them() {
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
    fn te_is_reduced_to_trailers() {
        for (value, left) in [
            ("trailers", true),
            ("gzip;q=0.5, Trailers", true),
            ("gzip", false),
            ("trailers;q=1", true),
        ] {
            let mut all = headers(&[]);
            all.insert(TE, HeaderValue::from_static(value));
            assert_eq!(reduce_te(&mut all), left, "{value}");
            assert_eq!(all.get(TE), left.then_some(&TRAILERS));
        }
    }

    #[test]
    fn an_upgrade_needs_connection_upgrade() {
        let asked = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(upgrade(&asked).unwrap(), "websocket");
        assert_eq!(
            upgrade(&headers(&[("connection", "keep-alive"), ("upgrade", "websocket")])),
            None
        );
        assert_eq!(upgrade(&headers(&[("connection", "upgrade")])), None);
    }
}
