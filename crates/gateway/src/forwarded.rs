//! The forwarding fields: `X-Forwarded-For`, `-Host` and `-Proto`, and `Forwarded` (RFC 7239).
//!
//! What a trusted proxy wrote is kept, and the proxy's own address is added at the end. An upstream
//! finds the same chain in `X-Forwarded-For` and `Forwarded`: the one by which the client was
//! identified. So a field that is missing or contradicts that chain is derived from it, and an
//! entry in which the limiter finds no address is written so that no server finds one in it. From
//! other peers these fields are removed, with all that look like them, and written anew.

use std::{fmt::Write as _, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED, uri::Authority};
use sluice::identify::{Hop, chain_field, hops};
use sluice_http::access::TOKEN_FIELD;
use smallvec::SmallVec;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// The node of a hop without an address (RFC 7239, section 6.2).
const UNKNOWN_NODE: &str = "for=unknown";
const PREFIX: &str = "x-forwarded-";

/// Writes the forwarding fields of a request from `peer` for `host`. The fields of earlier hops are
/// kept if the peer is `trusted`. `is_encrypted` says whether the connection has TLS.
pub(crate) fn write(
    headers: &mut HeaderMap,
    peer: IpAddr,
    trusted: bool,
    host: Option<&Authority>,
    is_encrypted: bool,
) {
    let peer = peer.to_canonical();
    // Many applications treat an underscore as a hyphen, and proxies forward fields that they do
    // not know. The twins of forwarding fields are removed with all others.
    forget(headers, |name| name.contains('_') && TOKEN_FIELD == *name.replace('_', "-"));
    if !trusted {
        forget(headers, is_ours);
    }
    let (chain, elements) = chains(headers);
    let mut text = chain;
    begin_next(&mut text);
    write!(text, "{peer}").expect("writing to a string does not fail");
    set(headers, FOR, &text);

    let mut text = elements;
    begin_next(&mut text);
    write_node(&mut text, peer);
    if let Some(host) = host {
        write!(text, ";host=\"{host}\"").expect("writing to a string does not fail");
    }
    let proto = if is_encrypted { "https" } else { "http" };
    text.push_str(";proto=");
    text.push_str(proto);
    set(headers, FORWARDED, &text);

    headers.entry(PROTO).or_insert(HeaderValue::from_static(proto));
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

/// Returns the chain by which the client was identified, as values of `X-Forwarded-For` and of
/// `Forwarded`. Both are empty if no proxy wrote one.
fn chains(headers: &HeaderMap) -> (String, String) {
    let field = chain_field(headers);
    let chain = from_the_client(headers, field);
    let written = from_the_client(headers, &FORWARDED);
    let addresses =
        |hops: &[Hop<'_>]| hops.iter().map(|hop| hop.address).collect::<SmallVec<[_; 4]>>();
    let keeps_elements = *field == FORWARDED || addresses(&written) == addresses(&chain);
    let (mut plain, mut standard) = (String::with_capacity(64), String::with_capacity(64));
    for hop in &chain {
        begin_next(&mut plain);
        match (hop.address, hop.entry) {
            // Only an address reads as one, so it needs no change.
            (Some(_), Some(entry)) if *field == FOR => plain.push_str(entry),
            (Some(address), _) => {
                write!(plain, "{address}").expect("writing to a string does not fail");
            }
            (None, _) => plain.push_str("unknown"),
        }
    }
    if keeps_elements {
        for hop in &written {
            begin_next(&mut standard);
            write_element(&mut standard, hop);
        }
    } else {
        for hop in &chain {
            begin_next(&mut standard);
            match hop.address {
                Some(address) => write_node(&mut standard, address),
                None => standard.push_str(UNKNOWN_NODE),
            }
        }
    }
    (plain, standard)
}

/// Returns the hops in `field`, from the client towards the last proxy. A field without any entry
/// has none.
fn from_the_client<'h>(headers: &'h HeaderMap, field: &HeaderName) -> SmallVec<[Hop<'h>; 4]> {
    let mut hops: SmallVec<[Hop<'h>; 4]> = hops(headers, field).collect();
    if hops.iter().all(|hop| hop.entry == Some("")) {
        hops.clear();
    }
    hops.reverse();
    hops
}

/// An element of `Forwarded` that every server reads alike: pairs of a name and a token, or of a
/// name and a quoted string in which nothing has a meaning of its own.
struct Element<'e> {
    text: &'e str,
    /// How many pairs are called `for`.
    nodes: usize,
    /// Whether the last of them is `unknown` or an obfuscated identifier.
    is_obfuscated: bool,
}

impl<'e> Element<'e> {
    fn parse(text: &'e str) -> Option<Self> {
        let is_token = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        let is_quoted = |text: &str| {
            let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
            inner.is_some_and(|inner| {
                inner.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\,;=".contains(&byte))
            })
        };
        let (mut nodes, mut is_obfuscated) = (0, false);
        for pair in text.split(';') {
            let (name, value) = pair.split_once('=')?;
            if !is_token(name) || !(is_token(value) || is_quoted(value)) {
                return None;
            }
            if name.eq_ignore_ascii_case("for") {
                nodes += 1;
                let node = value.trim_matches('"');
                is_obfuscated = node.starts_with('_') || node.eq_ignore_ascii_case("unknown");
            }
        }
        Some(Self { text, nodes, is_obfuscated })
    }
}

/// Writes an element of `Forwarded` again: as it was sent if every server finds the same address in
/// it, or else with the address alone.
fn write_element(text: &mut String, hop: &Hop<'_>) {
    match (hop.address, hop.entry.and_then(Element::parse)) {
        (Some(_), Some(Element { text: sent, nodes: 1, .. })) => text.push_str(sent),
        (Some(address), _) => write_node(text, address),
        (None, Some(Element { text: sent, nodes: 1, is_obfuscated: true })) => text.push_str(sent),
        (None, Some(Element { text: sent, nodes: 0, .. })) => {
            text.push_str(UNKNOWN_NODE);
            text.push(';');
            text.push_str(sent);
        }
        (None, _) => text.push_str(UNKNOWN_NODE),
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
    use proptest::prelude::*;
    use sluice::identify::Identifier;

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
            false,
        );
        headers
    }

    #[test]
    fn a_request_over_tls_is_https_unless_a_trusted_proxy_says_something_else() {
        for (told, proto) in [(None, "https"), (Some("http"), "http")] {
            let mut headers = HeaderMap::new();
            if let Some(told) = told {
                headers.insert(PROTO, HeaderValue::from_static(told));
            }
            write(&mut headers, IpAddr::from([192, 0, 2, 7]), true, None, true);
            assert_eq!(headers[PROTO], proto);
            assert_eq!(headers[FORWARDED], "for=192.0.2.7;proto=https");
        }
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
                    "for=198.51.100.7, for=192.0.2.1, \
                     for=10.0.0.5;host=\"api.example.org:8000\";proto=http",
                ),
            ],
        );
        let alike = [
            ("x-forwarded-for", "198.51.100.7:4711"),
            ("forwarded", "for=198.51.100.7;proto=https"),
        ];
        assert_says(
            &written("10.0.0.5", true, &alike),
            &[
                ("x-forwarded-for", "198.51.100.7:4711, 10.0.0.5"),
                (
                    "forwarded",
                    "for=198.51.100.7;proto=https, \
                     for=10.0.0.5;host=\"api.example.org:8000\";proto=http",
                ),
            ],
        );
    }

    #[test]
    fn an_entry_without_an_address_for_the_limiter_has_none_for_the_upstream() {
        for (sent, plain, standard) in [
            ("for=198.51.100.7;for=192.0.2.1", "unknown", "for=unknown"),
            ("for=198.51.100.7;host=\"a;for=192.0.2.1\"", "unknown", "for=unknown"),
            ("for=1.2.3", "unknown", "for=unknown"),
            ("for=010.0.0.1", "unknown", "for=unknown"),
            ("for=_a;proto=https", "unknown", "for=_a;proto=https"),
            ("proto=https", "unknown", "for=unknown;proto=https"),
            ("for=192.0.2.1 ;proto=https", "192.0.2.1", "for=192.0.2.1"),
            ("for=192.0.2.1:80", "192.0.2.1", "for=192.0.2.1"),
            ("by=\"x,for=192.0.2.1;y=z\"", "unknown, 192.0.2.1", "for=unknown, for=192.0.2.1"),
        ] {
            let headers = written("10.0.0.5", true, &[("forwarded", sent)]);
            let standard =
                format!("{standard}, for=10.0.0.5;host=\"api.example.org:8000\";proto=http");
            assert_says(
                &headers,
                &[
                    ("x-forwarded-for", format!("{plain}, 10.0.0.5").as_str()),
                    ("forwarded", standard.as_str()),
                ],
            );
        }
        let forged = [("x-forwarded-for", "for=192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        assert_says(
            &written("10.0.0.5", true, &forged),
            &[("x-forwarded-for", "unknown, 10.0.0.5")],
        );
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
    /// Pieces of valid and invalid values of both fields, in any order.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let pieces: Vec<&[u8]> = vec![
            b"203.0.113.9",
            b"10.0.0.7",
            b"fd00::1",
            b"[2001:db8::7]:80",
            b"unknown",
            b"_x",
            b"for=",
            b"For=\"",
            b"\"",
            b",",
            b", ",
            b";",
            b"by=10.0.0.1",
            b"host=",
            b" ",
            b"\\",
            b"for=10.0.0.7",
            b"for=203.0.113.9;",
            b"\t",
            b"\xc3\xa9",
            b"\xff",
            b":80",
            b"=",
            b"::ffff:10.0.0.8",
            b"1.2.3",
            b"010.0.0.1",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..10)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_upstream_finds_the_client_that_was_decided_about(
            lines in prop::collection::vec((any::<bool>(), value()), 0..5),
            peer in prop::sample::select(vec!["10.0.0.5", "198.51.100.1", "fd00::5"]),
        ) {
            let mut headers = HeaderMap::new();
            for (is_standard, value) in &lines {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append(if *is_standard { FORWARDED } else { FOR }, value);
                }
            }
            let peer: IpAddr = peer.parse().unwrap();
            let trusting = |more: &[&str]| {
                let networks = ["10.0.0.0/8", "fd00::/8"].iter().chain(more);
                Identifier::default()
                    .with_trusted_proxies(networks.map(|text| text.parse().unwrap()).collect())
            };
            let here = trusting(&[]);
            let decided = here.identify(&headers, peer).unwrap().address();
            write(&mut headers, peer, here.trusts(peer), None, false);

            let gateway = "192.0.2.200";
            let there = trusting(&["192.0.2.200/32"]);
            let read = |headers: &HeaderMap| {
                there.identify(headers, gateway.parse().unwrap()).unwrap().address()
            };
            prop_assert_eq!(read(&headers), decided, "{:?}", headers);
            headers.remove(FOR);
            prop_assert_eq!(read(&headers), decided, "{:?}", headers);
            let lines: Vec<_> = headers.get_all(FORWARDED).iter().collect();
            let elements: Vec<_> = lines[0].to_str().unwrap().split(", ").collect();
            prop_assert_eq!(lines.len(), 1);
            for element in elements {
                let element = Element::parse(element).unwrap();
                prop_assert_eq!(element.nodes, 1, "{}", element.text);
            }
        }
    }
}
