//! Where a port listens: `0.0.0.0:8000`, `[::1]:8000`, `localhost:8000`, or `:8000`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::{error::Refused, reader::Field};

/// Reads the address and the port.
pub(super) fn address(field: &Field<'_>) -> Result<SocketAddr, Refused> {
    field.parse_with(|text| {
        parse(text).ok_or_else(|| {
            format!(
                "`{text}` is not an address and port: write `0.0.0.0:8000` or `:8000` for all \
                 interfaces, `127.0.0.1:8000`, or `[::1]:8000`"
            )
        })
    })
}

/// Parses an address and a port as a configuration has them; `None` if it is neither.
///
/// Host names other than `localhost` are not resolved: the result could differ between the machine
/// that checks a configuration and the one that serves with it.
#[must_use]
pub fn parse(text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        host if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST,
        _ => return None,
    };
    // `parse` alone would accept a sign.
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port)?;
    Some(SocketAddr::new(host.into(), port.parse().ok()?))
}

/// Returns whether one process cannot listen on both.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip(), other.ip());
    one.port() == other.port()
        && one.port() != 0
        && (one_ip == other_ip || covers(one_ip, other_ip) || covers(other_ip, one_ip))
}

/// Returns whether a socket on `all` also receives what is sent to `one`. A socket on `[::]` takes
/// IPv4 too.
fn covers(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_leave_out_the_host_or_name_this_machine() {
        for (text, address) in [
            (":8000", "0.0.0.0:8000"),
            ("localhost:8000", "127.0.0.1:8000"),
            ("LocalHost:0", "127.0.0.1:0"),
            ("[::1]:9", "[::1]:9"),
            ("0.0.0.0:65535", "0.0.0.0:65535"),
        ] {
            assert_eq!(parse(text), Some(address.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            ":",
            "8000",
            "localhost",
            "localhost:",
            ":+80",
            ":65536",
            "::1:9",
            "example.org:80",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_collide_if_one_receives_what_is_sent_to_the_other() {
        let collide = |one: &str, other: &str| {
            let both = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(collide(both.0, both.1), collide(both.1, both.0), "{one} {other}");
            collide(both.0, both.1)
        };
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "0.0.0.0:80"),
            ("[::]:80", "10.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
        ] {
            assert!(collide(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("127.0.0.1:80", "127.0.0.1:81"),
            ("127.0.0.1:80", "127.0.0.2:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("0.0.0.0:0", "0.0.0.0:0"),
        ] {
            assert!(!collide(one, other), "{one} {other}");
        }
    }
}
