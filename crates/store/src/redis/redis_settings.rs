//! The address of a Redis and how to use it.

use std::{fmt, path::PathBuf, time::Duration};

use crate::Formats;

/// The address of a Redis and how to use it.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// use sluice_store::RedisSettings;
///
/// let settings = RedisSettings::new("redis://127.0.0.1:6379")
///     .prefix("staging")
///     .timeout(Duration::from_millis(50));
/// ```
#[derive(Clone)]
#[must_use]
pub struct RedisSettings {
    pub(super) url: String,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
    pub(super) formats: Formats,
    pub(super) expected_replicas: usize,
}

impl RedisSettings {
    /// Makes settings for the Redis at `url`, which is
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    ///
    /// The defaults are the prefix `sluice`, a timeout of 25 ms, and two connections.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password_file: None,
            ca_file: None,
            prefix: "sluice".to_owned(),
            timeout: Duration::from_millis(25),
            // A second call in flight keeps the server busy while the replies to the first one are
            // read. More of them gain nothing.
            connections: 2,
            formats: Formats::CURRENT,
            expected_replicas: 1,
        }
    }

    /// Reads the password from a file, for every new connection anew, instead of from the URL.
    pub fn password_file(self, file: impl Into<Option<PathBuf>>) -> Self {
        Self { password_file: file.into(), ..self }
    }

    /// Verifies the server's certificate against the authorities in this PEM file, instead of the
    /// system's.
    pub fn ca_file(self, file: impl Into<Option<PathBuf>>) -> Self {
        Self { ca_file: file.into(), ..self }
    }

    /// Sets what every key begins with: 1 to 64 letters, digits, `-`, `_`, `.` or `:`.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets how long one call may take.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Makes the store read and write as a build with `formats` does, for tests of fleets that run
    /// several versions.
    #[doc(hidden)]
    pub fn formats(self, formats: Formats) -> Self {
        Self { formats, ..self }
    }

    /// Sets how many calls may be in flight at once, each on a connection of its own: at least 1.
    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Sets the fewest replicas among which limits are divided while Redis is away: as many as are
    /// always started. For a [`Failover`](crate::Failover) over the store, which passes it to
    /// [`expecting`](crate::Failover::expecting).
    pub fn expected_replicas(self, expected_replicas: usize) -> Self {
        Self { expected_replicas, ..self }
    }
}

/// Shows everything but the URL, which may contain the password.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("connections", &self.connections)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}
