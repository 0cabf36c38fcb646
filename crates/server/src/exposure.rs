//! What strangers can reach: one warning at the start.

use std::net::SocketAddr;

/// What is open, and to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exposure {
    /// The address of the HTTP port.
    pub(crate) http: SocketAddr,
    /// The address of the gRPC port, if there is one.
    pub(crate) grpc: Option<SocketAddr>,
    /// Whether front ends are open on the HTTP port: not behind a gateway, unless
    /// `gateway.doors` is on.
    pub(crate) serves_front_ends: bool,
    /// Whether front ends require a token.
    pub(crate) requires_token: bool,
    /// Whether the HTTP port is a gateway's with metrics and monitoring that need no credentials.
    pub(crate) shows_metrics_to_clients: bool,
}

impl Exposure {
    /// Returns what an operator probably does not mean, if anything.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        let is_public = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
        let has_open_front_ends =
            (self.serves_front_ends && is_public(self.http)) || self.grpc.is_some_and(is_public);
        if has_open_front_ends && !self.requires_token {
            return Some(
                "every caller that reaches listen.http or listen.grpc can take tokens of any \
                 client: set access.tokens, or let only your proxies and applications connect",
            );
        }
        (self.shows_metrics_to_clients && is_public(self.http)).then_some(
            "every client of the gateway can read /metrics and /monitoring: set credentials in \
             `admin`, or a port of their own in admin.listen",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_what_strangers_can_reach_causes_a_warning() {
        let open = Exposure {
            http: address("0.0.0.0:8000"),
            grpc: None,
            serves_front_ends: true,
            requires_token: false,
            shows_metrics_to_clients: false,
        };
        assert!(open.warning().unwrap().contains("access.tokens"));
        for http in ["[::]:8000", "192.0.2.1:8000", "[::ffff:192.0.2.1]:1"] {
            assert!(Exposure { http: address(http), ..open }.warning().is_some(), "{http}");
        }
        for http in ["127.0.0.1:8000", "127.1.2.3:1", "[::1]:8000", "[::ffff:127.0.0.1]:1"] {
            let local = Exposure { http: address(http), ..open };
            assert_eq!(local.warning(), None, "{http}");
            let grpc = Some(address("0.0.0.0:8081"));
            assert!(Exposure { grpc, ..local }.warning().is_some(), "{http}");
        }
        assert_eq!(Exposure { requires_token: true, ..open }.warning(), None);
        let gateway = Exposure { serves_front_ends: false, ..open };
        assert_eq!(gateway.warning(), None);
        let shown = Exposure { shows_metrics_to_clients: true, ..gateway };
        assert!(shown.warning().unwrap().contains("admin.listen"));
    }
}
