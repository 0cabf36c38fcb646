//! Reads the chain of proxies that a request came through: `X-Forwarded-For`, and `Forwarded`
//! (RFC 7239).

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use super::address::parse_address;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns whether a proxy may have written any of the fields.
pub(super) fn is_sent(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED)
}

/// Returns the address of the client behind the trusted proxies, of which `peer` is the last.
pub(super) fn client_address(
    headers: &HeaderMap,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    if headers.contains_key(X_FORWARDED_FOR) {
        first_untrusted(
            entries(headers, &X_FORWARDED_FOR).map(|entry| parse_address(entry?)),
            peer,
            trusted,
        )
    } else {
        first_untrusted(
            entries(headers, &FORWARDED).map(|entry| forwarded_for(entry?)),
            peer,
            trusted,
        )
    }
}

/// Follows the hops towards the client for as long as they are trusted. Stops before a hop that is
/// not an address.
fn first_untrusted(
    hops: impl Iterator<Item = Option<IpAddr>>,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut last = peer;
    for hop in hops {
        let Some(hop) = hop else { break };
        last = hop;
        if !trusted(hop) {
            break;
        }
    }
    last
}

/// Returns the entries of a list header from right to left, all lines as one list; `None` for an
/// entry that is not text.
///
/// Commas in quotes separate entries too. No address needs a comma, and a quote that a client opens
/// at the left must not hide what proxies add at the right.
fn entries<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'h str>> {
    headers.get_all(name).iter().rev().flat_map(|line: &HeaderValue| {
        let entries = line.as_bytes().rsplit(|&byte| byte == b',');
        entries.map(|entry| std::str::from_utf8(entry).ok().map(str::trim_ascii))
    })
}

/// Returns the address in the parameter `for` of one element of `Forwarded` (RFC 7239, section 4).
///
/// Returns `None` when the element has no `for`, has several, or has one that is not an address,
/// such as `unknown` or an obfuscated identifier.
#[must_use]
pub fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut nodes = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim_ascii().eq_ignore_ascii_case("for").then_some(value.trim_ascii())
    });
    let (node, None) = (nodes.next()?, nodes.next()) else { return None };
    parse_address(unquoted(node)?)
}

fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"'),
        None => Some(value),
    }
}
