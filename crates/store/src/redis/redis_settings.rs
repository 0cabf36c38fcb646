//! The address of a Redis and how to use it.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{ColdStart, Formats};

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
    pub(super) client_certificate: Option<PathBuf>,
    pub(super) client_key: Option<PathBuf>,
    pub(super) tls_name: Option<String>,
    pub(super) sentinel: SentinelSettings,
    pub(super) cold_start: ColdStart,
    pub(super) prefix: String,
    pub(super) timeout: Duration,
    pub(super) connections: usize,
    pub(super) formats: Formats,
    pub(super) expected_replicas: usize,
}

/// How to log in to Sentinels, which have users and passwords of their own. By default, no login is
/// sent, and certificates are verified as those of the servers are.
///
/// # Examples
/// ```
/// use sluice_store::{RedisSettings, SentinelSettings};
///
/// let sentinel = SentinelSettings::new().user("sluice".to_owned()).password("secret".to_owned());
/// let settings = RedisSettings::new("redis+sentinel://h1,h2,h3/mymaster").sentinel(sentinel);
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct SentinelSettings {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
}

impl SentinelSettings {
    /// Makes settings without a login.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the user.
    pub fn user(self, user: impl Into<Option<String>>) -> Self {
        Self { user: user.into(), ..self }
    }

    /// Sets the password.
    pub fn password(self, password: impl Into<Option<String>>) -> Self {
        Self { password: password.into(), ..self }
    }

    /// Reads the password from a file, for every question anew.
    pub fn password_file(self, file: impl Into<Option<PathBuf>>) -> Self {
        Self { password_file: file.into(), ..self }
    }

    /// Verifies the Sentinels' certificates against the authorities in this PEM file.
    pub fn ca_file(self, file: impl Into<Option<PathBuf>>) -> Self {
        Self { ca_file: file.into(), ..self }
    }
}

impl RedisSettings {
    /// Makes settings for the Redis at `url`: one server, the primary that Sentinels name, or a
    /// cluster, as [`RedisAddress`](crate::RedisAddress) lists them.
    ///
    /// The defaults are the prefix `sluice`, a timeout of 25 ms, and two connections.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            password_file: None,
            ca_file: None,
            client_certificate: None,
            client_key: None,
            tls_name: None,
            sentinel: SentinelSettings::default(),
            cold_start: ColdStart::default(),
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

    /// Verifies the servers' certificates against the authorities in this PEM file, instead of the
    /// system's.
    pub fn ca_file(self, file: impl Into<Option<PathBuf>>) -> Self {
        Self { ca_file: file.into(), ..self }
    }

    /// Shows the certificate in the PEM file `certificate` to the servers, with its key in the PEM
    /// file `key`.
    pub fn client_certificate(
        self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        let (certificate, key) = (Some(certificate.into()), Some(key.into()));
        Self { client_certificate: certificate, client_key: key, ..self }
    }

    /// Requires the servers' certificates to have this name, instead of the host by which a server
    /// is known. For servers that are known by their IP addresses, as those that Sentinels name
    /// often are, or that are reached through a tunnel.
    pub fn tls_name(self, name: impl Into<Option<String>>) -> Self {
        Self { tls_name: name.into(), ..self }
    }

    /// Sets how to log in to Sentinels.
    pub fn sentinel(self, sentinel: SentinelSettings) -> Self {
        Self { sentinel, ..self }
    }

    /// Sets what a bucket holds that its server has not seen since its memory began.
    pub fn cold_start(self, cold_start: ColdStart) -> Self {
        Self { cold_start, ..self }
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

    /// Sets how many calls may be in flight at once at each server, each on a connection of its
    /// own: at least 1.
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
            .field("client_certificate", &self.client_certificate)
            .field("client_key", &self.client_key)
            .field("tls_name", &self.tls_name)
            .field("sentinel", &self.sentinel)
            .field("cold_start", &self.cold_start)
            .finish_non_exhaustive()
    }
}

/// Shows everything but the user and the password.
impl fmt::Debug for SentinelSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelSettings")
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}
