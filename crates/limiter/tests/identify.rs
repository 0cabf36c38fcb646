//! Which client a request is attributed to, and what a client cannot forge.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use sluice::{
    Attributes, Client, RepeatedField, RequestError,
    identify::{ClientSource, Headers, Identifier, Identity, canonical_network},
};

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        headers.append(
            name.parse::<HeaderName>().expect("a name"),
            HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        );
    }
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn sources(list: &[&str]) -> Vec<ClientSource> {
    list.iter().map(|source| source.parse().expect("a source")).collect()
}

const PEER: &str = "198.51.100.1";
const PROXY: &str = "10.0.0.1";

/// Trusts `10.0.0.0/8` and `fd00::/8`, also about tiers.
fn behind_proxies(list: &[&str]) -> Identifier {
    Identifier::new(sources(list))
        .with_trusted_proxies(vec![
            "10.0.0.0/8".parse().expect("a network"),
            "fd00::/8".parse().expect("a network"),
        ])
        .with_tier_header(HeaderName::from_static("x-tier"))
}

fn key(list: &[&str], headers: &HeaderMap) -> Result<Option<Vec<u8>>, RequestError> {
    let identity = behind_proxies(list).identify(headers, ip(PEER))?;
    Ok(match identity.client() {
        Client::Key(key) => Some(key.to_vec()),
        Client::Address(_) => None,
    })
}

fn key_text(list: &[&str], sent: &[(&str, &str)]) -> Option<String> {
    key(list, &headers(sent))
        .expect("it names at most one client")
        .map(|key| String::from_utf8(key).expect("text"))
}

fn address(sent: &[(&str, &str)], peer: &str) -> IpAddr {
    behind_proxies(&["ip"])
        .identify(&headers(sent), ip(peer))
        .expect("an address always identifies")
        .address()
}

#[test]
fn sources_are_tried_in_order() {
    let list = ["header:x-api-key", "bearer", "ip"];
    assert_eq!(
        key_text(&list, &[("x-api-key", "k"), ("authorization", "Bearer t")]).as_deref(),
        Some("k")
    );
    assert_eq!(
        key_text(&list, &[("x-api-key", ""), ("authorization", "Bearer t")]).as_deref(),
        Some("t")
    );
    assert_eq!(key_text(&list, &[("x-api-key", "  ")]), None);
    assert_eq!(key_text(&list, &[]), None);
    assert_eq!(
        key_text(
            &["bearer", "header:x-api-key"],
            &[("x-api-key", "k"), ("authorization", "Bearer t")]
        )
        .as_deref(),
        Some("t")
    );
    assert_eq!(key_text(&["ip", "header:x-api-key"], &[("x-api-key", "k")]), None);
}

#[test]
fn without_a_source_that_names_a_client_the_client_is_the_address() {
    let identity = Identifier::new(sources(&["header:x-api-key"]));
    let headers = headers(&[]);
    assert_eq!(identity.identify(&headers, ip(PEER)).unwrap().client(), Client::Address(ip(PEER)));
}

#[test]
fn a_key_is_one_value_of_limited_length() {
    let list = ["header:x-api-key"];
    assert_eq!(key_text(&list, &[("x-api-key", "k"), ("x-api-key", " k ")]).as_deref(), Some("k"));
    // What is forwarded has both lines, and another program may read the first one.
    for other in ["", "b"] {
        let two = headers(&[("x-api-key", other), ("x-api-key", "a")]);
        assert_eq!(
            key(&list, &two),
            Err(RequestError::ClientAmbiguous { header: "x-api-key".to_owned() })
        );
    }
    assert_eq!(key_text(&list, &[("x-api-key", &"a".repeat(4096))]), Some("a".repeat(4096)));
    let long = headers(&[("x-api-key", &"a".repeat(4097))]);
    assert_eq!(key(&list, &long), Err(RequestError::ClientTooLong { bytes: 4097, most: 4096 }));
    let mut binary = HeaderMap::new();
    binary.insert("x-api-key", HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap());
    assert_eq!(key(&list, &binary), Ok(Some(vec![0xff, 0xfe])));
}

#[test]
fn a_bearer_token_is_used_as_a_whole() {
    let list = ["bearer"];
    for (value, expected) in [
        ("Bearer abc.def", Some("abc.def")),
        ("bearer abc", Some("abc")),
        ("BEARER   abc  ", Some("abc")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearerabc", None),
        ("Basic abc", None),
        ("", None),
    ] {
        assert_eq!(key_text(&list, &[("authorization", value)]).as_deref(), expected, "{value}");
    }
    let two = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
    assert_eq!(
        key(&list, &two),
        Err(RequestError::ClientAmbiguous { header: "authorization".to_owned() })
    );
    let two_schemes = headers(&[("authorization", "Basic a"), ("authorization", "Bearer b")]);
    assert_eq!(
        key(&list, &two_schemes),
        Err(RequestError::ClientAmbiguous { header: "authorization".to_owned() }),
        "what is behind the limiter may read the other one"
    );
    assert_eq!(
        key_text(&list, &[("authorization", "Bearer b"), ("authorization", "Bearer b")]).as_deref(),
        Some("b")
    );
}

fn token(claims: &str) -> String {
    format!(
        "{}.{}.c2lnbmF0dXJl",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#),
        URL_SAFE_NO_PAD.encode(claims)
    )
}

#[test]
fn a_subject_is_read_with_its_issuer() {
    let subject = |claims: &str| {
        key_text(&["bearer:sub"], &[("authorization", &format!("Bearer {}", token(claims)))])
            .expect("the token has a subject")
    };
    assert_eq!(
        subject(r#"{"iss":"https://id.example","sub":"alice","exp":1}"#),
        "https://id.example\nalice"
    );
    assert_eq!(subject(r#"{"sub":"alice"}"#), "\nalice");
    assert_ne!(subject(r#"{"iss":"a","sub":"b"}"#), subject(r#"{"iss":"b","sub":"b"}"#));
}

#[test]
fn a_token_without_a_readable_subject_is_used_as_a_whole() {
    let broken = format!("{}.!!!.x", URL_SAFE_NO_PAD.encode("{}"));
    let four_parts = format!("{}.x", token(r#"{"sub":"alice"}"#));
    for token in [
        "opaque".to_owned(),
        "a.b.c".to_owned(),
        broken,
        four_parts,
        token("not json"),
        token("[]"),
        token("{}"),
        token(r#"{"sub":7}"#),
        token(r#"{"sub":""}"#),
        token(r#"{"iss":7,"sub":"alice"}"#),
        token(r#"{"iss":"a\nb","sub":"c"}"#),
    ] {
        let found = key_text(&["bearer:sub"], &[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(found.as_deref(), Some(&*token));
    }
}

#[test]
fn no_header_can_equal_a_verified_subject() {
    let subject = key(
        &["bearer:sub"],
        &headers(&[("authorization", &format!("Bearer {}", token(r#"{"sub":"alice"}"#)))]),
    )
    .unwrap()
    .unwrap();
    assert!(HeaderValue::from_bytes(&subject).is_err());
}

#[test]
fn a_subject_is_found_in_a_token_that_would_be_too_long_as_a_key() {
    let claims = format!(r#"{{"sub":"alice","groups":"{}"}}"#, "g".repeat(20_000));
    assert_eq!(
        key_text(&["bearer:sub"], &[("authorization", &format!("Bearer {}", token(&claims)))])
            .as_deref(),
        Some("\nalice")
    );
}

#[test]
fn the_address_is_the_rightmost_that_is_not_a_trusted_proxy() {
    for (lines, expected) in [
        (&[][..], PROXY),
        (&["203.0.113.9"], "203.0.113.9"),
        (&["192.0.2.66, 203.0.113.9"], "203.0.113.9"),
        (&["192.0.2.66,203.0.113.9,10.1.1.1 , 10.2.2.2"], "203.0.113.9"),
        (&["192.0.2.66", "203.0.113.9, 10.1.1.1", "10.2.2.2"], "203.0.113.9"),
        (&["10.9.9.9, 10.1.1.1"], "10.9.9.9"),
        (&["2001:db8::7, fd00::1"], "2001:db8::7"),
        (&["[2001:db8::7]:4711"], "2001:db8::7"),
        (&["203.0.113.9:4711, 10.1.1.1:80"], "203.0.113.9"),
        (&["::ffff:203.0.113.9"], "203.0.113.9"),
        (&["203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9"),
        // An entry that is not an address ends the reading at the address before it.
        (&["203.0.113.9, unknown"], PROXY),
        (&["203.0.113.9, unknown, 10.1.1.1"], "10.1.1.1"),
        (&["203.0.113.9, , 10.1.1.1"], "10.1.1.1"),
        (&["203.0.113.9,"], PROXY),
        (&[""], PROXY),
        (&["203.0.113.9, 1.2.3"], PROXY),
        (&["203.0.113.9, 10.1.1.1:x"], PROXY),
        (&["203.0.113.9, [2001:db8::7"], PROXY),
        (&["203.0.113.9, [10.1.1.1]"], PROXY),
        (&["203.0.113.9, \u{e9}"], PROXY),
    ] {
        let sent: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(address(&sent, PROXY), ip(expected), "{lines:?}");
    }
}

#[test]
fn the_forwarded_header_is_read_in_the_same_way() {
    for (lines, expected) in [
        (&["for=203.0.113.9"][..], "203.0.113.9"),
        (&["For=\"203.0.113.9:4711\";proto=https;by=10.0.0.1"], "203.0.113.9"),
        (&["for=192.0.2.66, for=203.0.113.9;host=a, for=10.1.1.1"], "203.0.113.9"),
        (
            &["for=192.0.2.66", "proto=http; for=\"[2001:db8::7]:80\"", "for=\"[fd00::1]\""],
            "2001:db8::7",
        ),
        (&["for=\"203.0.113.9:_port\""], "203.0.113.9"),
        (&["for=10.9.9.9, for=10.1.1.1"], "10.9.9.9"),
        (&["for=203.0.113.9, for=unknown"], PROXY),
        (&["for=203.0.113.9, for=_hidden, for=10.1.1.1"], "10.1.1.1"),
        (&["for=203.0.113.9, proto=https"], PROXY),
        (&["for=203.0.113.9, for=10.1.1.1;for=203.0.113.8"], PROXY),
        (&["for=203.0.113.9, for=\"10.1.1.1"], PROXY),
        // A quote that is opened at the left hides nothing at the right.
        (&["for=\"192.0.2.66, for=203.0.113.9"], "203.0.113.9"),
        (&["for=\"a\\\", for=203.0.113.9"], "203.0.113.9"),
    ] {
        let sent: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        assert_eq!(address(&sent, PROXY), ip(expected), "{lines:?}");
    }
}

#[test]
fn the_forwarded_header_counts_only_without_x_forwarded_for() {
    assert_eq!(
        address(&[("forwarded", "for=192.0.2.66"), ("x-forwarded-for", "203.0.113.9")], PROXY),
        ip("203.0.113.9")
    );
    assert_eq!(
        address(&[("forwarded", "for=192.0.2.66"), ("x-forwarded-for", "unknown")], PROXY),
        ip(PROXY)
    );
}

#[test]
fn an_ipv4_mapped_peer_can_be_trusted() {
    assert_eq!(
        address(&[("x-forwarded-for", "203.0.113.9")], "::ffff:10.0.0.1"),
        ip("203.0.113.9")
    );
}

#[test]
fn a_network_of_mapped_addresses_is_the_ipv4_network() {
    let canonical = |text: &str| {
        canonical_network(text.parse().expect("a network")).map(|network| network.to_string())
    };
    for (written, expected) in [
        ("::ffff:10.0.0.1/128", Some("10.0.0.1/32")),
        ("::ffff:10.1.0.0/112", Some("10.1.0.0/16")),
        ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
        ("::ffff:0:0/96", Some("0.0.0.0/0")),
        ("10.0.0.0/8", Some("10.0.0.0/8")),
        ("fd00::/8", Some("fd00::/8")),
        ("::1/128", Some("::1/128")),
        ("::/0", Some("::/0")),
        ("::/96", Some("::/96")),
        ("::fffe:0:0/95", None),
        ("::/80", None),
        ("::/1", None),
    ] {
        assert_eq!(canonical(written).as_deref(), expected, "{written}");
    }
    for (network, peer) in [
        ("::ffff:198.51.100.0/120", "198.51.100.1"),
        ("::ffff:198.51.100.0/120", "::ffff:198.51.100.1"),
        ("::ffff:198.51.100.1/128", "198.51.100.1"),
        ("198.51.100.0/24", "::ffff:198.51.100.1"),
    ] {
        let identifier =
            Identifier::default().with_trusted_proxies(vec![network.parse().expect("a network")]);
        assert!(identifier.trusts(ip(peer)), "{network} {peer}");
        let sent = headers(&[("x-forwarded-for", "203.0.113.9, ::ffff:198.51.100.7")]);
        let identity = identifier.identify(&sent, ip(peer)).unwrap();
        let is_wide = !network.ends_with("/128");
        let expected = if is_wide { "203.0.113.9" } else { "198.51.100.7" };
        assert_eq!(identity.address(), ip(expected), "{network} {peer}");
        assert_eq!(identity.untrusted_proxy(), None);
    }
    assert!(
        !Identifier::default()
            .with_trusted_proxies(vec!["::/0".parse().expect("a network")])
            .trusts(ip("198.51.100.1"))
    );
}

#[test]
fn a_peer_that_sends_the_fields_of_a_proxy_untrusted_is_named() {
    let identifier = behind_proxies(&["ip"]);
    let named = |fields: &[(&str, &str)], peer| {
        identifier.identify(&headers(fields), ip(peer)).expect("one client").untrusted_proxy()
    };
    assert_eq!(named(&[("x-forwarded-for", "203.0.113.9")], PEER), Some(ip(PEER)));
    assert_eq!(named(&[("forwarded", "for=203.0.113.9")], PEER), Some(ip(PEER)));
    assert_eq!(named(&[("x-forwarded-for", "203.0.113.9")], PROXY), None);
    assert_eq!(named(&[], PEER), None);
}

#[test]
fn by_default_the_address_alone_identifies_a_client() {
    let headers = headers(&[("x-api-key", "invented"), ("authorization", "Bearer invented")]);
    let identity = Identifier::default().identify(&headers, ip(PEER)).unwrap();
    assert_eq!(identity.client(), Client::Address(ip(PEER)));
}

#[test]
fn only_a_trusted_proxy_can_set_the_tier() {
    let identifier = behind_proxies(&["ip"]);
    let tier = |sent: &[(&str, &str)], peer| {
        let headers = headers(sent);
        identifier.identify(&headers, ip(peer)).map(|found| found.tier().map(str::to_owned))
    };
    let pro = Ok(Some("pro".to_owned()));
    assert_eq!(tier(&[("x-tier", "pro")], PROXY), pro);
    assert_eq!(tier(&[("x-tier", "pro"), ("x-tier", "pro")], PROXY), pro);
    assert_eq!(tier(&[("x-tier", "pro")], PEER), Ok(None));
    assert_eq!(tier(&[("x-tier", "")], PROXY), Ok(None));
    let two = [("x-tier", "enterprise"), ("x-tier", "free")];
    assert_eq!(
        tier(&two, PROXY),
        Err(RequestError::FieldAmbiguous { header: "x-tier".to_owned() }),
        "it is unknown which of them the proxy wrote"
    );
    assert_eq!(tier(&two, PEER), Ok(None), "it is not read from anybody else");
    let headers = headers(&[("x-tier", "pro")]);
    assert_eq!(Identifier::default().identify(&headers, ip(PROXY)).unwrap().tier(), None);
}

#[test]
fn a_request_has_what_the_identity_found() {
    let identifier = behind_proxies(&["header:x-api-key"]);
    let headers = headers(&[
        ("x-api-key", "k"),
        ("x-tier", "pro"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-org", "red"),
        ("x-org", "blue"),
    ]);
    let identity: Identity<'_> = identifier.identify(&headers, ip(PROXY)).unwrap();
    let request = identity.request("POST", "/a");
    assert_eq!((request.client, request.address), (Client::Key(b"k"), Some(ip("203.0.113.9"))));
    assert_eq!((request.method, request.path, request.tier), ("POST", "/a", Some("pro")));
    assert_eq!(request.attributes.get("x-org"), Err(RepeatedField));
    assert_eq!(request.attributes.get("x-tier"), Ok(Some(&b"pro"[..])));
    assert_eq!(Headers::new(&headers).get("x-none"), Ok(None));
}

#[test]
fn an_identifier_names_the_headers_that_it_reads() {
    let fields = |list: &[&str]| {
        let fields = behind_proxies(list).fields();
        fields.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        fields(&["header:x-api-key", "bearer", "bearer:sub", "ip"]),
        ["authorization", "x-api-key", "x-tier"]
    );
    assert_eq!(Identifier::new(sources(&["ip"])).fields(), [""; 0]);
}

#[test]
fn debug_output_contains_no_key() {
    let headers = headers(&[("x-api-key", "s3cret"), ("authorization", "Bearer s3cret")]);
    let identity = Identifier::default().identify(&headers, ip(PEER)).unwrap();
    let shown = format!("{identity:?} {:?}", identity.request("GET", "/a"));
    assert!(
        shown.contains("authorization") && !shown.contains("s3cret") && !shown.contains("115"),
        "{shown}"
    );
}

/// Pieces of valid and invalid values of these headers, in any order.
fn forwarding() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("203.0.113.9"),
        Just("10.0.0.7"),
        Just("fd00::1"),
        Just("[2001:db8::7]:80"),
        Just("unknown"),
        Just("_x"),
        Just("for="),
        Just("For=\""),
        Just("\""),
        Just(","),
        Just(", "),
        Just(";"),
        Just("by=10.0.0.1"),
        Just(" "),
        Just("\\"),
        Just("%"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The name of a header that a proxy writes.
fn proxy_header() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["x-forwarded-for", "forwarded", "x-tier", "x-real-ip", "via"])
}

fn trusted_hop() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["10.0.0.7", "10.255.0.1", "fd00::1", "fdff::2"])
}

proptest! {
    #[test]
    fn without_a_trusted_peer_no_header_changes_address_or_tier(
        sent in prop::collection::vec((proxy_header(), forwarding()), 0..6),
    ) {
        let sent: Vec<_> = sent.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let headers = headers(&sent);
        let identity = behind_proxies(&["ip"]).identify(&headers, ip(PEER)).unwrap();
        prop_assert_eq!(identity.address(), ip(PEER));
        prop_assert_eq!(identity.client(), Client::Address(ip(PEER)));
        prop_assert_eq!(identity.tier(), None);
    }

    #[test]
    fn what_a_client_writes_at_the_left_changes_nothing(
        forged in prop::collection::vec(forwarding(), 0..3),
        own_line in any::<bool>(),
        client in prop::sample::select(vec!["203.0.113.9", "2001:db8::7"]),
        hops in prop::collection::vec(trusted_hop(), 0..4),
    ) {
        // The first proxy adds the client's address, each further proxy that of the one before it.
        let chain = |entry: fn(&str) -> String| -> Vec<String> {
            std::iter::once(client).chain(hops.iter().copied()).map(entry).collect()
        };
        let plain = chain(str::to_owned).join(", ");
        let standard = chain(|address| match address.contains(':') {
            true => format!("for=\"[{address}]\""),
            false => format!("for={address}"),
        })
        .join(", ");
        for (name, added) in [("x-forwarded-for", plain), ("forwarded", standard)] {
            let mut lines = forged.clone();
            match lines.last_mut() {
                // A proxy adds to the last line, or adds a line.
                Some(line) if !own_line => *line = format!("{line}, {added}"),
                _ => lines.push(added),
            }
            let sent: Vec<_> = lines.iter().map(|line| (name, line.as_str())).collect();
            prop_assert_eq!(address(&sent, PROXY), ip(client), "{}: {:?}", name, lines);
        }
    }

    #[test]
    fn no_header_value_causes_a_panic(
        name in prop::sample::select(vec![
            "x-forwarded-for", "forwarded", "authorization", "x-api-key", "x-tier",
        ]),
        value in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.insert(name, value);
        }
        let identity =
            behind_proxies(&["header:x-api-key", "bearer:sub", "ip"]).identify(&headers, ip(PROXY));
        prop_assert!(identity.is_ok());
    }
}
