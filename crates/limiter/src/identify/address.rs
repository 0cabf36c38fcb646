//! Reads addresses as proxies write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Parses an address as `X-Forwarded-For` and `Forwarded` have it.
///
/// Accepts `192.0.2.1`, `2001:db8::1` and `[2001:db8::1]`, the first and the last also with a port,
/// which is dropped. An IPv4-mapped IPv6 address becomes an IPv4 address.
#[must_use]
pub fn parse_address(node: &str) -> Option<IpAddr> {
    let address = if let Some(rest) = node.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
            return None;
        }
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else if let Ok(address) = node.parse() {
        address
    } else {
        let (address, port) = node.split_once(':')?;
        IpAddr::V4(address.parse::<Ipv4Addr>().ok().filter(|_| is_port(port))?)
    };
    Some(address.to_canonical())
}

/// Returns whether `port` is a number, or a name that hides it (RFC 7239, section 6.2).
fn is_port(port: &str) -> bool {
    port.strip_prefix('_').map_or_else(|| port.parse::<u16>().is_ok(), |name| !name.is_empty())
}
