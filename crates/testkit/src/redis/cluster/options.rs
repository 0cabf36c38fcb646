//! The options of a Redis cluster.

use std::path::PathBuf;

use crate::redis::options::User;

/// The options of a [`RedisCluster`](super::RedisCluster).
///
/// ```
/// use sluice_testkit::ClusterOptions;
///
/// let cluster = ClusterOptions::new(3).replicas(1).start();
/// assert_eq!(cluster.nodes().len(), 6);
/// assert!(cluster.url().starts_with("redis+cluster://127.0.0.1:"));
/// ```
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    pub(super) primaries: usize,
    pub(super) replicas: usize,
    pub(super) node_timeout: u32,
    pub(super) program: Option<PathBuf>,
    pub(super) args: Vec<String>,
    pub(super) user: Option<User>,
    pub(super) tls: bool,
}

/// A node that is slow on a busy machine must not count as failed.
const NODE_TIMEOUT: u32 = 1_000;

impl ClusterOptions {
    /// Makes the options of a cluster without replicas, TLS and passwords. `primaries` should be
    /// three or more if one is to be killed: a majority of them has to agree on its end.
    #[must_use]
    pub fn new(primaries: usize) -> Self {
        Self {
            primaries,
            replicas: 0,
            node_timeout: NODE_TIMEOUT,
            program: None,
            args: Vec::new(),
            user: None,
            tls: false,
        }
    }

    /// Gives each primary so many replicas.
    #[must_use]
    pub fn replicas(mut self, each: usize) -> Self {
        self.replicas = each;
        self
    }

    /// Sets after how many milliseconds a node that does not reply counts as failed; 1,000 if not
    /// set. A replica takes over after one to three times as long.
    #[must_use]
    pub fn node_timeout(mut self, millis: u32) -> Self {
        self.node_timeout = millis;
        self
    }

    /// Runs this program, such as that of a [`RedisProgram`](crate::RedisProgram), instead of the
    /// redis-server that is installed.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Adds arguments of every node, which override those of this crate.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Lets every node accept only this user, as
    /// [`RedisOptions::user`](crate::RedisOptions::user) does.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some(User { name: name.to_owned(), password: password.to_owned() });
        self
    }

    /// Uses only TLS, also between the nodes; clients trust
    /// [`RedisCluster::ca_file`](super::RedisCluster::ca_file).
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }
}
