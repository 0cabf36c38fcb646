//! The files of `deploy/examples`, and the changes that their pages describe.

use std::net::SocketAddr;

use sluice_testkit::{ProxyKind, ReservedPort};

/// One proxy's example, and what its page describes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    pub(crate) kind: ProxyKind,
    pub(crate) file: &'static str,
    pub(crate) sluice_yaml: &'static str,
    /// The change of the file that rejects requests while Sluice is down.
    pub(crate) reject_when_down: fn(&str) -> String,
    /// Writes a replica in the syntax of the file, with its number, where two names must differ,
    /// and its address.
    replica: fn(&str, &str) -> String,
    /// The text between two replicas.
    between: &'static str,
    /// Whether the response to an allowed request has the rate limit headers.
    pub(crate) sends_headers_when_allowed: bool,
}

pub(crate) const NGINX: Example = Example {
    kind: ProxyKind::Nginx,
    file: include_str!("../../../deploy/examples/nginx/sluice.conf"),
    sluice_yaml: include_str!("../../../deploy/examples/nginx/sluice.yaml"),
    reject_when_down: |file| {
        once(
            file,
            "replace this line by: return 503;\n        proxy_pass http://api;",
            "\n        return 503;",
        )
    },
    replica: |_, address| format!("server {address};"),
    between: " ",
    sends_headers_when_allowed: true,
};

pub(crate) const CADDY: Example = Example {
    kind: ProxyKind::Caddy,
    file: include_str!("../../../deploy/examples/caddy/Caddyfile"),
    sluice_yaml: include_str!("../../../deploy/examples/caddy/sluice.yaml"),
    reject_when_down: |file| {
        let (before, block) = file.split_once("\thandle_errors {").unwrap();
        let (_, after) = block.split_once("\n\t}\n").unwrap();
        format!("{before}{after}")
    },
    replica: |_, address| address.to_owned(),
    between: " ",
    sends_headers_when_allowed: true,
};

pub(crate) const TRAEFIK: Example = Example {
    kind: ProxyKind::Traefik,
    file: include_str!("../../../deploy/examples/traefik/traefik.yaml"),
    sluice_yaml: include_str!("../../../deploy/examples/traefik/sluice.yaml"),
    reject_when_down: |file| once(file, "service: sluice-or-allow }", "service: sluice }"),
    replica: |_, address| format!("{{ url: \"http://{address}\" }}"),
    between: ", ",
    sends_headers_when_allowed: false,
};

pub(crate) const HAPROXY: Example = Example {
    kind: ProxyKind::HaProxy,
    file: include_str!("../../../deploy/examples/haproxy/haproxy.cfg"),
    sluice_yaml: include_str!("../../../deploy/examples/haproxy/sluice.yaml"),
    reject_when_down: |file| once(file, "# http-request deny", "http-request deny"),
    replica: |number, address| format!("server sluice{number} {address}"),
    between: "\n    ",
    sends_headers_when_allowed: true,
};

impl Example {
    /// Returns the file with a timeout that even a busy machine does not exceed.
    pub(crate) fn with_long_timeout(&self) -> String {
        let file = once(self.file, "100ms", "60s");
        once(&file, "250ms", "60s")
    }

    /// Returns the configuration of Sluice, with `limits`.
    pub(crate) fn sluice(&self, limits: &str) -> String {
        format!("{}\n{limits}\n", self.sluice_yaml)
    }

    /// Returns `file` with the addresses of this test; `inner` is the port of the proxy's internal
    /// listener.
    pub(crate) fn with_addresses(
        &self,
        file: &str,
        address: &ReservedPort,
        inner: &ReservedPort,
        sluices: &[SocketAddr],
        api: SocketAddr,
    ) -> String {
        let each: Vec<_> = (1..)
            .zip(sluices)
            .map(|(number, sluice)| (self.replica)(&number.to_string(), &sluice.to_string()))
            .collect();
        let file = once(file, &(self.replica)("", "127.0.0.1:8000"), &each.join(self.between));
        let file = once(&file, ":8080", &format!(":{}", address.number()));
        let file = file.replace("127.0.0.1:9000", &api.to_string());
        let file = file.replace("127.0.0.1:8081", &format!("127.0.0.1:{}", inner.number()));
        file.replace("abns@sluice", &format!("abns@sluice-{}", inner.number()))
    }
}

/// Replaces `from`, which occurs once in `text`, by `to`.
#[track_caller]
pub(crate) fn once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` occurs once in\n{text}");
    text.replace(from, to)
}
