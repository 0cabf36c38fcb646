//! The forwarding fields: `X-Forwarded-For`, `-Host` and `-Proto`, and `Forwarded` (RFC 7239).
//!
//! What a trusted proxy wrote is kept, and the proxy's own address is added at the end. When it
//! wrote only one of `X-Forwarded-For` and `Forwarded`, the other is derived from it, so that an
//! upstream finds the same chain in both. From other peers these fields are removed, with all that
//! look like them, and written anew.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED, uri::Authority};
use sluice::identify::{forwarded_for, parse_address};
use smallvec::SmallVec;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const PREFIX: &str = "x-forwarded-";
/// The HTTP port has no TLS.
const HTTP: HeaderValue = HeaderValue::from_static("http");

/// Writes the forwarding fields of a request from `peer` for `host`. The fields of earlier hops are
/// kept if the peer is `trusted`.
pub(crate) fn write(
    headers: &mut HeaderMap,
    peer: IpAddr,
    trusted: bool,
    host: Option<&Authority>,
) {
    let peer = peer.to_canonical();
    // Many applications treat an underscore as a hyphen, and proxies forward fields that they do
    // not know.
    forget(headers, |name| name.contains('_') && is_ours(&name.replace('_', "-")));
    if !trusted {
        forget(headers, is_ours);
    }
    let (chain, elements) = match (list(headers, &FOR), list(headers, &FORWARDED)) {
        (None, None) => (None, None),
        (Some(chain), Some(elements)) => (Some(chain), Some(elements)),
        (Some(chain), None) => {
            let elements = elements_of(&chain);
            (Some(chain), Some(elements))
        }
        (None, Some(elements)) => (Some(chain_of(&elements)), Some(elements)),
    };
    let mut text = String::with_capacity(64);
    begin(&mut text, chain.as_deref());
    write!(text, "{peer}").expect("writing to a string does not fail");
    set(headers, FOR, &text);

    text.clear();
    begin(&mut text, elements.as_deref());
    write_node(&mut text, peer);
    if let Some(host) = host {
        write!(text, ";host=\"{host}\"").expect("writing to a string does not fail");
    }
    text.push_str(";proto=http");
    set(headers, FORWARDED, &text);

    headers.entry(PROTO).or_insert(HTTP);
    if let (false, Some(host)) = (headers.contains_key(HOST), host) {
        set(headers, HOST, host.as_str());
    }
}

/// Adds to `Via` that the message was received by `name`, in this version of HTTP.
pub(crate) fn via(headers: &mut HeaderMap, version: http::Version, name: &HeaderValue) {
    let version = match version {
        http::Version::HTTP_10 => "1.0 ",
        http::Version::HTTP_2 => "2.0 ",
        _ => "1.1 ",
    };
    let value = [version.as_bytes(), name.as_bytes()].concat();
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)) {
        headers.append(http::header::VIA, value);
    }
}

/// Returns whether a field of this name says where a request comes from.
fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || name == FORWARDED || name == REAL_IP
}

fn forget(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let named: SmallVec<[HeaderName; 4]> =
        headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// Returns all lines of a list field as one list, or `None` when none of it is readable text.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let mut list = lines.next()?.to_owned();
    for line in lines {
        list.push_str(", ");
        list.push_str(line);
    }
    Some(list)
}

/// Converts the value of `X-Forwarded-For` to a value of `Forwarded`.
fn elements_of(chain: &str) -> String {
    let mut elements = String::new();
    for entry in chain.split(',') {
        begin_next(&mut elements);
        match parse_address(entry.trim()) {
            Some(address) => write_node(&mut elements, address),
            None => elements.push_str("for=unknown"),
        }
    }
    elements
}

/// Converts the value of `Forwarded` to a value of `X-Forwarded-For`.
fn chain_of(elements: &str) -> String {
    let mut chain = String::new();
    for element in elements.split(',') {
        begin_next(&mut chain);
        match forwarded_for(element) {
            Some(address) => write!(chain, "{address}").expect("writing to a string does not fail"),
            None => chain.push_str("unknown"),
        }
    }
    chain
}

fn begin(text: &mut String, before: Option<&str>) {
    if let Some(before) = before {
        text.push_str(before);
        text.push_str(", ");
    }
}

fn begin_next(text: &mut String) {
    if !text.is_empty() {
        text.push_str(", ");
    }
}

fn write_node(text: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => write!(text, "for={address}"),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\""),
    }
    .expect("writing to a string does not fail");
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // The text consists of header values and addresses, so it is a valid header value.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(peer: &str, trusted: bool, fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        write(
            &mut headers,
            peer.parse().unwrap(),
            trusted,
            Some(&Authority::from_static("api.example.org:8000")),
        );
        headers
    }

    #[track_caller]
    fn assert_says(headers: &HeaderMap, fields: &[(&str, &str)]) {
        for (name, value) in fields {
            let values: Vec<_> =
                headers.get_all(*name).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values, [*value], "{name}");
        }
    }

    #[test]
    fn a_request_without_forwarding_fields_gets_all_of_them() {
        for trusted in [false, true] {
            assert_says(
                &written("203.0.113.9", trusted, &[]),
                &[
                    ("x-forwarded-for", "203.0.113.9"),
                    ("x-forwarded-host", "api.example.org:8000"),
                    ("x-forwarded-proto", "http"),
                    ("forwarded", "for=203.0.113.9;host=\"api.example.org:8000\";proto=http"),
                ],
            );
        }
        let six = written("::ffff:203.0.113.9", false, &[]);
        assert_says(&six, &[("x-forwarded-for", "203.0.113.9")]);
        let six = written("2001:db8::1", false, &[]);
        assert_says(
            &six,
            &[("forwarded", "for=\"[2001:db8::1]\";host=\"api.example.org:8000\";proto=http")],
        );
    }

    #[test]
    fn fields_of_an_untrusted_peer_are_replaced() {
        let headers = written(
            "203.0.113.9",
            false,
            &[
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-for", "10.0.0.2"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "admin.internal"),
                ("x-forwarded-port", "443"),
                ("x-forwarded-user", "root"),
                ("x-real-ip", "127.0.0.1"),
                ("x_forwarded_for", "127.0.0.1"),
                ("x-real_ip", "127.0.0.1"),
                ("forwarded", "for=127.0.0.1"),
            ],
        );
        assert_says(
            &headers,
            &[
                ("x-forwarded-for", "203.0.113.9"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "api.example.org:8000"),
                ("forwarded", "for=203.0.113.9;host=\"api.example.org:8000\";proto=http"),
            ],
        );
        assert_eq!(headers.len(), 4, "{headers:?}");
    }

    #[test]
    fn fields_of_a_trusted_proxy_are_kept_and_its_address_is_added() {
        let both = [
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example.org"),
            ("x-forwarded-port", "443"),
            ("forwarded", "for=198.51.100.7;proto=https"),
        ];
        assert_says(
            &written("10.0.0.5", true, &both),
            &[
                ("x-forwarded-for", "198.51.100.7, 192.0.2.1, 10.0.0.5"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "shop.example.org"),
                ("x-forwarded-port", "443"),
                (
                    "forwarded",
                    "for=198.51.100.7;proto=https, \
                     for=10.0.0.5;host=\"api.example.org:8000\";proto=http",
                ),
            ],
        );
    }

    #[test]
    fn fields_with_underscores_are_removed_even_from_a_trusted_proxy() {
        let headers =
            written("10.0.0.5", true, &[("x_forwarded_for", "127.0.0.1"), ("x_other", "kept")]);
        assert_says(&headers, &[("x-forwarded-for", "10.0.0.5"), ("x_other", "kept")]);
        assert_eq!(headers.get("x_forwarded_for"), None);
    }

    #[test]
    fn a_missing_chain_is_derived_from_the_other() {
        let headers =
            written("10.0.0.5", true, &[("x-forwarded-for", "2001:db8::1, who, 192.0.2.1")]);
        let chain = "for=\"[2001:db8::1]\", for=unknown, for=192.0.2.1, \
                     for=10.0.0.5;host=\"api.example.org:8000\";proto=http";
        assert_says(&headers, &[("forwarded", chain)]);
        let values = "for=\"[2001:db8::1]:4711\";proto=https, For=_hidden, for=192.0.2.1, \
                    for=\"192.0.2.2:80\", by=x";
        let headers = written("10.0.0.5", true, &[("forwarded", values)]);
        assert_says(
            &headers,
            &[("x-forwarded-for", "2001:db8::1, unknown, 192.0.2.1, 192.0.2.2, unknown, 10.0.0.5")],
        );
    }

    #[test]
    fn an_entry_is_added_to_via() {
        let mut headers = written("10.0.0.5", true, &[("via", "1.1 edge")]);
        via(&mut headers, http::Version::HTTP_2, &HeaderValue::from_static("sluice"));
        let values: Vec<_> = headers.get_all("via").iter().collect();
        assert_eq!(values, ["1.1 edge", "2.0 sluice"]);
    }
}
