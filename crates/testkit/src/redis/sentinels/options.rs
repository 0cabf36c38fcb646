//! The options of a Redis with sentinels.

use std::path::PathBuf;

use crate::redis::options::User;

/// The options of [`Sentinels`](super::Sentinels).
///
/// ```
/// use sluice_testkit::SentinelOptions;
///
/// let sentinels = SentinelOptions::new(1, 3).user("sluice", "secret").start();
/// assert!(sentinels.url().starts_with("redis+sentinel://sluice:secret@127.0.0.1:"));
/// assert_eq!((sentinels.servers().len(), sentinels.sentinels().len()), (2, 3));
/// ```
#[derive(Debug, Clone)]
pub struct SentinelOptions {
    pub(super) replicas: usize,
    pub(super) sentinels: usize,
    pub(super) down_after: u32,
    pub(super) program: Option<PathBuf>,
    pub(super) args: Vec<String>,
    pub(super) user: Option<User>,
    pub(super) sentinel_user: Option<User>,
    pub(super) tls: bool,
}

/// A server that is slow on a busy machine must not count as failed.
const DOWN_AFTER: u32 = 1_000;

impl SentinelOptions {
    /// Makes the options of a primary with so many replicas and sentinels, without TLS and
    /// passwords. More than half of the sentinels have to agree that the primary failed.
    #[must_use]
    pub fn new(replicas: usize, sentinels: usize) -> Self {
        Self {
            replicas,
            sentinels,
            down_after: DOWN_AFTER,
            program: None,
            args: Vec::new(),
            user: None,
            sentinel_user: None,
            tls: false,
        }
    }

    /// Sets after how many milliseconds a server that does not reply counts as failed; 1,000 if not
    /// set.
    #[must_use]
    pub fn down_after(mut self, millis: u32) -> Self {
        self.down_after = millis;
        self
    }

    /// Runs this program, such as that of a [`RedisProgram`](crate::RedisProgram), instead of the
    /// redis-server that is installed.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Adds arguments of every server, not of the sentinels, which override those of this crate.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Lets the servers accept only this user, as
    /// [`RedisOptions::user`](crate::RedisOptions::user) does.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some(User { name: name.to_owned(), password: password.to_owned() });
        self
    }

    /// Lets the sentinels accept only this user, who need not be that of the servers.
    #[must_use]
    pub fn sentinel_user(mut self, name: &str, password: &str) -> Self {
        self.sentinel_user = Some(User { name: name.to_owned(), password: password.to_owned() });
        self
    }

    /// Uses only TLS, everywhere; clients trust
    /// [`Sentinels::ca_file`](super::Sentinels::ca_file).
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }
}
