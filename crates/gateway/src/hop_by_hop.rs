//! Hop-by-hop header fields, which are not forwarded (RFC 9110, section 7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE},
};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY: HeaderName = HeaderName::from_static("proxy");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// Removes the hop-by-hop fields: `Connection`, every field that it names and that is not `kept`,
/// and those that old software does not name there.
pub(crate) fn remove(headers: &mut HeaderMap, kept: impl Fn(&HeaderName) -> bool) {
    if headers.contains_key(CONNECTION) {
        let named: SmallVec<[HeaderName; 4]> = words(headers, &CONNECTION)
            .filter_map(|word| HeaderName::from_bytes(word).ok())
            .filter(|name| !kept(name))
            .collect();
        headers.remove(CONNECTION);
        for name in named {
            headers.remove(name);
        }
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION, &TRANSFER_ENCODING, &UPGRADE, &HTTP2_SETTINGS] {
        headers.remove(name);
    }
    // For a proxy that the client chose itself. Servers that pass fields as variables would read
    // `Proxy` as the address of a proxy.
    for name in [PROXY, PROXY_AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHENTICATION_INFO] {
        if !kept(&name) {
            headers.remove(name);
        }
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

/// Returns whether `Connection` names `Upgrade`.
pub(crate) fn names_upgrade(headers: &HeaderMap) -> bool {
    words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case(b"upgrade"))
}

/// Returns the elements of all lines of a list field, without empty ones.
pub(crate) fn words<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> {
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
            ("proxy", "http://evil.test"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("trailer", "x-sum"),
            ("accept", "*/*"),
        ]);
        all.append(CONNECTION, HeaderValue::from_static(" x-two,,"));
        remove(&mut all, |_| false);
        assert_eq!(names(&all), ["accept", "trailer"]);
    }

    #[test]
    fn fields_that_are_kept_cannot_be_named_away() {
        let mut all =
            headers(&[("connection", "X-Api-Key, x-other"), ("x-api-key", "k"), ("x-other", "o")]);
        remove(&mut all, |name| name == "x-api-key");
        assert_eq!(names(&all), ["x-api-key"]);
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
}
