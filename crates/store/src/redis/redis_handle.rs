//! Access to the same Redis for other crates that keep state there.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use redis::{Pipeline, Value};

use super::{
    cluster::{Cluster, Kept},
    connections::Connections,
    keys::{self, Keys},
    redis_error::RedisError,
    redis_settings::RedisSettings,
    scripts::RedisScript,
    topology::Topology,
};
use crate::StoreError;

/// Runs scripts and pipelines on the Redis that holds the buckets; in a cluster, on the server that
/// has the keys which belong to no client.
///
/// A handle has a small pool of connections of its own, so that no decision waits behind what it
/// sends. It builds keys below the store's prefix, and reports failures as the store does.
pub struct RedisHandle {
    topology: Topology<Arc<Connections>>,
    keys: Keys,
    timeout: Duration,
}

impl Kept for Arc<Connections> {
    type Shared = ();

    fn single(connections: Self, (): &()) -> Self {
        connections
    }

    fn in_cluster(connections: Self, (): &(), _: &Weak<Cluster<Self>>) -> Self {
        connections
    }

    fn connections(&self) -> &Self {
        self
    }
}

impl RedisHandle {
    /// Makes a handle to the Redis at `settings`. A call may take as long as the settings say, but
    /// at least `min_timeout`. Nothing is sent yet.
    ///
    /// # Errors
    /// When the settings are invalid, or outside of a Tokio runtime.
    pub fn new(settings: &RedisSettings, min_timeout: Duration) -> Result<Self, RedisError> {
        let timeout = settings.timeout.max(min_timeout);
        let settings = settings.clone().timeout(timeout).connections(1);
        let keys = Keys::new(&settings.prefix)?;
        Ok(Self { topology: Topology::open(&settings, ())?, keys, timeout })
    }

    /// Returns the key `prefix:{PP}:name`. All these keys share a slot of a cluster, so that one
    /// pipeline and one script may use them together.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        self.keys.named(keys::SHARED, name)
    }

    /// Sends `pipeline` in one round trip and returns a reply for each of its commands. Its keys
    /// are [`key`](Self::key)s.
    ///
    /// # Errors
    /// When a command fails, or no reply arrives within the timeout. It is then unknown which
    /// commands took effect.
    pub async fn run(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        self.topology.run(keys::SHARED, pipeline, None).await
    }

    /// Sends `pipeline`, which [calls](RedisScript::command_by_digest) `script`.
    ///
    /// A server that does not know the script is sent its text, and then the **whole pipeline
    /// again**: the commands beside the script must be safe to repeat.
    ///
    /// # Errors
    /// As for [`RedisHandle::run`].
    pub async fn run_with_script(
        &self,
        pipeline: &Pipeline,
        script: &RedisScript,
    ) -> Result<Vec<Value>, StoreError> {
        self.topology.run(keys::SHARED, pipeline, Some(script)).await
    }

    /// Returns how many connections are open, busy or idle.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.topology.open_connections()
    }
}

impl fmt::Debug for RedisHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisHandle")
            .field("topology", &self.topology)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
