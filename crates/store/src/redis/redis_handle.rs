//! Access to the same Redis for other crates that keep state there.

use std::{fmt, time::Duration};

use redis::{Pipeline, Value, aio::MultiplexedConnection};

use super::{
    connections::Connections,
    error_meaning::is_no_script,
    keys::{self, Keys},
    redis_error::RedisError,
    redis_settings::RedisSettings,
    scripts::RedisScript,
};
use crate::StoreError;

/// Runs scripts and pipelines on the Redis that holds the buckets.
///
/// A handle has a small pool of connections of its own, so that no decision waits behind what it
/// sends. It builds keys below the store's prefix, and reports failures as the store does.
pub struct RedisHandle {
    connections: Connections,
    keys: Keys,
    timeout: Duration,
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
        Ok(Self {
            connections: Connections::of(&settings)?,
            keys: Keys::new(&settings.prefix)?,
            timeout,
        })
    }

    /// Returns the key `prefix:{PP}:name`. All these keys share a slot of a cluster, so that one
    /// pipeline and one script may use them together.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        self.keys.named(keys::SHARED, name)
    }

    /// Sends `pipeline` in one round trip and returns a reply for each of its commands.
    ///
    /// # Errors
    /// When a command fails, or no reply arrives within the timeout. It is then unknown which
    /// commands took effect.
    pub async fn run(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let mut connection = self.connections.get().await?;
        let replies = send(&mut connection, pipeline).await;
        self.connections.finish(connection, replies)
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
        let mut connection = self.connections.get().await?;
        let mut replies = send(&mut connection, pipeline).await;
        if replies.as_ref().is_err_and(is_no_script) {
            let mut load = redis::pipe();
            load.add_command(script.load());
            replies = match send(&mut connection, &load).await {
                Ok(_) => send(&mut connection, pipeline).await,
                Err(error) => Err(error),
            };
        }
        self.connections.finish(connection, replies)
    }

    /// Returns how many connections are open, busy or idle.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.open()
    }
}

async fn send(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
) -> Result<Vec<Value>, redis::RedisError> {
    pipeline.query_async(connection).await
}

impl fmt::Debug for RedisHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisHandle")
            .field("connections", &self.connections)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
