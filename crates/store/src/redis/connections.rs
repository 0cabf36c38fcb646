//! Pooled connections to one Redis.

use std::{fmt, fs, path::PathBuf, time::Duration};

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use super::{RedisError, RedisSettings};
use crate::StoreError;

/// A new connection may take this much longer than a call: it says hello, perhaps in TLS. Callers
/// do not wait for it beyond their own deadline.
const CONNECT_FACTOR: u32 = 20;

/// Opens and keeps connections. Where the password comes from a file, it is read again for every
/// new connection, so that it can rotate.
pub(super) struct Connections {
    target: ConnectionInfo,
    password_file: Option<PathBuf>,
    size: usize,
    timeout: Duration,
    current: Mutex<Current>,
}

/// The pool, and the password that its connections say.
struct Current {
    password: Option<String>,
    pool: Pool,
}

impl Connections {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        let mut target = settings.url.as_str().into_connection_info().map_err(RedisError::Url)?;
        if let Some(file) = &settings.ca_file {
            let authorities =
                fs::read(file).map_err(|source| RedisError::File { file: file.clone(), source })?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities) };
            target = Client::build_with_tls(target, certificates)
                .map_err(RedisError::Tls)?
                .get_connection_info()
                .clone();
        }
        // Each lane holds one; the others are for announcing and probing.
        let size = settings.connections + 2;
        let pool = pool(target.clone(), size, settings.timeout)?;
        let current = Mutex::new(Current { password: None, pool });
        Ok(Self {
            target,
            password_file: settings.password_file.clone(),
            size,
            timeout: settings.timeout,
            current,
        })
    }

    /// A connection of the caller's own until it is dropped: a new one, or an idle one that
    /// answered a ping.
    pub(super) async fn get(&self) -> Result<Connection, StoreError> {
        let pool = self.pool()?;
        let wait = self.timeout * CONNECT_FACTOR;
        match tokio::time::timeout(wait, pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Backend(error))) => Err(super::store_error(error, self.timeout)),
            Ok(Err(error)) => Err(StoreError::Unreachable(std::sync::Arc::new(error))),
            Err(_) => Err(StoreError::Timeout { within: wait }),
        }
    }

    /// How many are open, at work or idle.
    pub(super) fn open(&self) -> usize {
        self.current.lock().pool.status().size
    }

    fn pool(&self) -> Result<Pool, StoreError> {
        let Some(file) = &self.password_file else { return Ok(self.current.lock().pool.clone()) };
        let unreachable = |error: RedisError| StoreError::Unreachable(std::sync::Arc::new(error));
        let password = fs::read_to_string(file)
            .map_err(|source| unreachable(RedisError::File { file: file.clone(), source }))?
            .trim_end_matches(['\r', '\n'])
            .to_owned();
        let mut current = self.current.lock();
        if current.password.as_deref() != Some(&password) {
            let settings = self.target.redis_settings().clone().set_password(&password);
            let pool =
                pool(self.target.clone().set_redis_settings(settings), self.size, self.timeout)
                    .map_err(unreachable)?;
            *current = Current { password: Some(password), pool };
        }
        Ok(current.pool.clone())
    }
}

fn pool(target: ConnectionInfo, size: usize, timeout: Duration) -> Result<Pool, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout * CONNECT_FACTOR))
        .set_response_timeout(Some(timeout));
    let manager = Manager::new_with_config(target, config).map_err(RedisError::Url)?;
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|_| RedisError::NoRuntime)
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The target holds the password.
        f.debug_struct("Connections")
            .field("address", self.target.addr())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
