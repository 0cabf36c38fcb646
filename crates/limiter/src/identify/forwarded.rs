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
    first_untrusted(hops(headers, chain_field(headers)), peer, trusted)
}

/// One entry of the chain of proxies that a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hop<'h> {
    /// The address of the hop; `None` if the entry has none, such as `unknown`.
    pub address: Option<IpAddr>,
    /// The entry as it was sent; `None` if it is not text.
    pub entry: Option<&'h str>,
}

/// Returns the field from which addresses are read: `X-Forwarded-For`, or `Forwarded` in its
/// absence.
#[must_use]
pub fn chain_field(headers: &HeaderMap) -> &'static HeaderName {
    static FIELDS: [HeaderName; 2] = [X_FORWARDED_FOR, FORWARDED];
    let [plain, standard] = &FIELDS;
    if headers.contains_key(plain) { plain } else { standard }
}

/// Returns the hops in `field`, which is `X-Forwarded-For` or `Forwarded`, from the last proxy
/// towards the client. All lines are one list.
pub fn hops<'h>(
    headers: &'h HeaderMap,
    field: &HeaderName,
) -> impl Iterator<Item = Hop<'h>> + use<'h> {
    let read = if *field == FORWARDED { forwarded_for } else { parse_address };
    entries(headers, field).map(move |entry| Hop { address: entry.and_then(read), entry })
}

/// Follows the hops towards the client for as long as they are trusted. Stops before a hop that is
/// not an address.
fn first_untrusted<'h>(
    hops: impl Iterator<Item = Hop<'h>>,
    peer: IpAddr,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut last = peer;
    for hop in hops {
        let Some(hop) = hop.address else { break };
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
fn entries<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Option<&'h str>> + use<'h> {
    headers.get_all(name).iter().rev().flat_map(|line: &HeaderValue| {
        let entries = line.as_bytes().rsplit(|&byte| byte == b',');
        entries.map(|entry| std::str::from_utf8(entry).ok().map(str::trim_ascii))
    })
}

/// Returns the address in the parameter `for` of one element of `Forwarded` (RFC 7239, section 4).
///
/// Returns `None` when the element has no `for`, has several, or has one that is not an address,
/// such as `unknown` or an obfuscated identifier.
fn forwarded_for(element: &str) -> Option<IpAddr> {
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
