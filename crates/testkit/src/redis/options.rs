//! The options of a Redis server.

use std::path::PathBuf;

use super::tls::TlsFiles;

/// The options of a [`RedisServer`](super::RedisServer), beyond what `RedisServer::start`,
/// `start_with` and `start_tls` cover.
///
/// ```
/// use sluice_testkit::RedisOptions;
///
/// let redis = RedisOptions::new().args(&["--appendonly", "yes"]).user("sluice", "secret").start();
/// assert!(redis.url().starts_with("redis://sluice:secret@127.0.0.1:"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    pub(super) args: Vec<String>,
    pub(super) tls: bool,
    pub(super) user: Option<User>,
    pub(super) program: Option<PathBuf>,
    pub(super) movable_clock: bool,
    /// The certificate of a server with TLS; `None` makes one for this server alone.
    pub(super) certificate: Option<TlsFiles>,
    pub(super) role: Role,
}

/// What a server is for.
#[derive(Debug, Clone, Default)]
pub(super) enum Role {
    /// A server on its own, or a replica of one.
    #[default]
    Plain,
    /// A node of a cluster.
    ClusterNode(BusPort),
    /// A sentinel, which starts with this configuration and then rewrites it.
    Sentinel(String),
}

/// The port on which the nodes of a cluster talk to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BusPort {
    /// A reserved port.
    Own,
    /// 10,000 above the port for clients: Redis 6 cannot use another.
    Above,
}

#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
}

impl User {
    /// Returns what comes before the address in a URL: `name:password@`.
    pub(super) fn login(&self) -> String {
        let name = if self.name == "default" { "" } else { &self.name };
        format!("{}:{}@", url_escaped(name), url_escaped(&self.password))
    }
}

/// Percent-encodes the characters that have a meaning in the login of a URL.
fn url_escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

impl RedisOptions {
    /// Makes the options of a plain server: no TLS, no password, no persistence.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds arguments of redis-server, which override those of this crate.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Listens only with TLS; clients trust `RedisServer::ca_file`.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Accepts only this user, who may do everything; with the name `default`, clients need only
    /// the password.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some(User { name: name.to_owned(), password: password.to_owned() });
        self
    }

    /// Gives the server a wall clock of its own, which `RedisServer::step_clock` moves. Needs a C
    /// compiler.
    #[must_use]
    pub fn movable_clock(mut self) -> Self {
        self.movable_clock = true;
        self
    }

    /// Runs this program, such as a Valkey, instead of the redis-server that is installed.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }
}
