//! Where a node of a cluster is.

use std::fmt;

use crate::redis::access::Server;

/// Where a node of a cluster is, as the cluster says. Two addresses are equal if their hosts and
/// ports are.
#[derive(Clone, Debug)]
pub(in crate::redis) struct NodeAddress {
    /// A name, or an IP address without brackets.
    pub(in crate::redis) host: String,
    pub(in crate::redis) port: u16,
    /// The name that the cluster says the node has, beside its address.
    pub(super) name: Option<String>,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl PartialEq for NodeAddress {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }
}

impl Eq for NodeAddress {}

impl NodeAddress {
    /// Returns the server at this address, to which connections can be made.
    pub(super) fn server(&self) -> Server {
        Server::At { host: self.host.clone(), port: self.port, certificate_name: self.name.clone() }
    }

    /// Reads `host:port`, as a redirection has it. Without a host, it is that of the node that was
    /// asked.
    pub(super) fn parse(text: &str, asked_host: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::new(host, port.parse().ok()?, asked_host))
    }

    /// Makes the address of a host and a port. Without a host, it is that of the node that was
    /// asked, which does not know its own.
    pub(in crate::redis) fn new(host: &str, port: u16, asked_host: &str) -> Self {
        let host = if host.is_empty() { asked_host } else { host };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self { host, port, name: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_name_hosts_of_every_kind() {
        for (text, host, port) in [
            ("10.0.0.2:6379", "10.0.0.2", 6379),
            ("redis-2.example:7000", "redis-2.example", 7000),
            ("2001:db8::2:6380", "2001:db8::2", 6380),
            (":6381", "asked", 6381),
        ] {
            let address = NodeAddress::parse(text, "asked").unwrap();
            assert_eq!((&*address.host, address.port), (host, port), "{text}");
        }
        for text in ["", "host", "host:", "host:99999"] {
            assert_eq!(NodeAddress::parse(text, "asked"), None, "{text}");
        }
    }
}
