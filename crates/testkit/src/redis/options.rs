//! The options of a Redis server.

use std::path::PathBuf;

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
}

#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
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
