//! Buckets in Redis, shared by a fleet.
//!
//! One script call decides a batch of checks at the server's own time ([`scripts`],
//! `lua/check.lua`). Checks gather while a call is in flight ([`lanes`]). Keys hold no client in
//! the clear ([`keys`]). Sentinel and Cluster will be further ways to find the connection for a
//! tag; what lies above and below that choice stays as it is.

mod connections;
mod fleet;
mod handle;
mod keys;
mod lanes;
mod plan;
mod reply;
mod scripts;
mod span;
mod state;

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use sluice_core::{Check, Decision};
use smallvec::smallvec;

use self::{
    connections::Connections,
    keys::Keys,
    lanes::{Lanes, Route},
};
pub use self::{handle::RedisHandle, keys::PrefixError, scripts::RedisScript};
use crate::{Fleet, ObserveRoundTrips, Replica, Store, StoreError, StoreFuture};

/// Where a Redis is, and how it is spoken to.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: String,
    /// A file that holds the password, read again for every new connection; instead of one in the
    /// URL.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the authorities that vouch for the server's certificate; without one, the
    /// system's.
    pub ca_file: Option<PathBuf>,
    /// What every key begins with.
    pub prefix: String,
    /// How long one call may take.
    pub timeout: Duration,
    /// How many calls may be in flight at once, each on a connection of its own.
    pub connections: usize,
}

impl RedisSettings {
    /// The defaults: prefix `sluice`, 25 ms a call, two connections.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password_file: None,
            ca_file: None,
            prefix: "sluice".to_owned(),
            timeout: Duration::from_millis(25),
            // A second call in flight keeps the server busy while the first one's answers are read;
            // more gain nothing.
            connections: 2,
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold the password.
        f.debug_struct("RedisSettings")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("connections", &self.connections)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// Why a Redis store cannot be made, or cannot log in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL cannot be read.
    #[error("this is no URL of a Redis: write redis://host:6379, or rediss:// for TLS")]
    Url(#[source] redis::RedisError),
    /// The file of authorities holds no certificates, or the URL does not ask for TLS.
    #[error(
        "TLS cannot be set up: a file of authorities goes with a rediss:// URL, and holds certificates in PEM form"
    )]
    Tls(#[source] redis::RedisError),
    /// The prefix cannot begin a key.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// No connection at all was asked for.
    #[error("a Redis store needs at least 1 connection")]
    NoConnections,
    /// Made outside of a tokio runtime.
    #[error("a Redis store is made inside of a tokio runtime")]
    NoRuntime,
    /// The password file, or that of the authorities, cannot be read.
    #[error("the file {} cannot be read", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Keeps buckets in a Redis 6.2 or later, or a Valkey.
///
/// Clones share connections. Dropping the last one closes them.
#[derive(Debug)]
pub struct RedisStore {
    lanes: Lanes,
    connections: Arc<Connections>,
    keys: Keys,
    timeout: Duration,
}

impl RedisStore {
    /// A store at `settings`; `observer` is told of every round trip. Nothing is sent yet: a Redis
    /// that is away shows in the first answers.
    ///
    /// # Errors
    /// When the settings are impossible, or outside of a tokio runtime, on which the store's tasks
    /// run.
    pub fn new(
        settings: &RedisSettings,
        observer: impl ObserveRoundTrips,
    ) -> Result<Self, RedisError> {
        let keys = Keys::new(&settings.prefix)?;
        if settings.connections == 0 {
            return Err(RedisError::NoConnections);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(RedisError::NoRuntime);
        }
        let connections = Arc::new(Connections::new(settings)?);
        let route = Route {
            connections: Arc::clone(&connections),
            keys: keys.clone(),
            timeout: settings.timeout,
            observer: Box::new(observer),
        };
        Ok(Self {
            lanes: Lanes::start(settings.connections, route),
            connections,
            keys,
            timeout: settings.timeout,
        })
    }

    /// How many connections are open, at work or idle.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.open()
    }

    fn error(&self, error: redis::RedisError) -> StoreError {
        store_error(error, self.timeout)
    }
}

impl Store for RedisStore {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let answers = self.lanes.decide(smallvec![check.clone()]);
        StoreFuture::pending(async { answers.await.pop().expect("one check has one answer") })
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        StoreFuture::pending(self.lanes.decide_all(checks))
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        // A write, for a primary that became read-only answers a ping as if nothing were wrong.
        StoreFuture::pending(async {
            let mut connection = self.connections.get().await?;
            let mut command = redis::cmd("SET");
            command.arg(self.keys.probe()).arg(1).arg("PX").arg(1_000);
            command.query_async::<()>(&mut *connection).await.map_err(|error| self.error(error))
        })
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        StoreFuture::pending(async {
            let mut connection = self.connections.get().await?;
            let answer = fleet::announce(&mut connection, &self.keys, replica)
                .await
                .map_err(|error| self.error(error))?;
            fleet::read(answer).ok_or_else(|| StoreError::Unreadable {
                what: "announce.lua answered no list of replicas".to_owned(),
            })
        })
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::pending(async {
            let mut connection = self.connections.get().await?;
            let mut command = redis::cmd("HDEL");
            command.arg(self.keys.fleet()).arg(&replica.id);
            command.query_async::<()>(&mut *connection).await.map_err(|error| self.error(error))
        })
    }
}

/// What a failure of Redis means to the caller of a store.
fn store_error(error: redis::RedisError, timeout: Duration) -> StoreError {
    if error.is_timeout() {
        StoreError::Timeout { within: timeout }
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal()
    {
        StoreError::Unreachable(Arc::new(error))
    } else {
        StoreError::Refused(Arc::new(error))
    }
}
