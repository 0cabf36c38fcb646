//! Reads addresses as proxies write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// How many bits of an IPv4-mapped IPv6 address, `::ffff:a.b.c.d`, come before the IPv4 address.
const MAPPED_BITS: u8 = 96;
const FIRST_MAPPED: Ipv6Addr = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();

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

/// Returns the canonical form of a network: one of IPv4-mapped IPv6 addresses,
/// `::ffff:10.0.0.0/104`, becomes the IPv4 network, `10.0.0.0/8`.
///
/// Addresses are compared in their canonical form, so a network in another form matches none.
/// Returns `None` for an IPv6 network that contains all mapped addresses and others too, such as
/// `::/64`: it is unclear whether IPv4 addresses are meant. `::/0` means all IPv6 addresses.
#[must_use]
pub fn canonical_network(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = network else { return Some(network) };
    match v6.prefix_len().checked_sub(MAPPED_BITS) {
        Some(prefix) => Some(match v6.addr().to_ipv4_mapped() {
            Some(address) => {
                Ipv4Net::new(address, prefix).map_or(network, |network| IpNet::V4(network.trunc()))
            }
            None => network,
        }),
        None if v6.prefix_len() == 0 || !v6.contains(&FIRST_MAPPED) => Some(network),
        None => None,
    }
}
