//! The files of `deploy/examples`, and what a person changes in them.

use std::net::SocketAddr;

use sluice_testkit::{ProxyKind, ReservedPort};

/// One proxy's example, and what its page promises.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    pub(crate) kind: ProxyKind,
    pub(crate) file: &'static str,
    pub(crate) sluice_yaml: &'static str,
    /// How a person changes the file so that requests are refused while Sluice is away.
    pub(crate) refuse: fn(&str) -> String,
    /// How the file names a replica: by a number, where two must differ, and an address.
    replica: fn(&str, &str) -> String,
    /// What stands between two replicas.
    between: &'static str,
    /// Whether the client of an allowed request sees where it stands.
    pub(crate) sends_headers_when_allowed: bool,
}

pub(crate) const NGINX: Example = Example {
    kind: ProxyKind::Nginx,
    file: include_str!("../../../deploy/examples/nginx/sluice.conf"),
    sluice_yaml: include_str!("../../../deploy/examples/nginx/sluice.yaml"),
    refuse: |file| {
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
    refuse: |file| {
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
    refuse: |file| once(file, "service: sluice-or-allow }", "service: sluice }"),
    replica: |_, address| format!("{{ url: \"http://{address}\" }}"),
    between: ", ",
    sends_headers_when_allowed: false,
};

pub(crate) const HAPROXY: Example = Example {
    kind: ProxyKind::HaProxy,
    file: include_str!("../../../deploy/examples/haproxy/haproxy.cfg"),
    sluice_yaml: include_str!("../../../deploy/examples/haproxy/sluice.yaml"),
    refuse: |file| once(file, "# http-request deny", "http-request deny"),
    replica: |number, address| format!("server sluice{number} {address}"),
    between: "\n    ",
    sends_headers_when_allowed: true,
};

impl Example {
    /// The file with so much patience that a busy machine is not taken for a Sluice that is away.
    pub(crate) fn with_long_timeout(&self) -> String {
        let file = once(self.file, "100ms", "60s");
        once(&file, "250ms", "60s")
    }

    /// The configuration of a Sluice, with `limits`.
    pub(crate) fn sluice(&self, limits: &str) -> String {
        format!("{}\n{limits}\n", self.sluice_yaml)
    }

    /// `file` with addresses of the test's own in place of the example's; `inner` is for what the
    /// proxy asks itself.
    pub(crate) fn placed(
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

/// `text` with `to` in place of `from`, which it holds once.
#[track_caller]
pub(crate) fn once(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` stands once in\n{text}");
    text.replace(from, to)
}
