//! A pool of connections to one Redis.

use std::{fmt, fs, path::PathBuf, time::Duration};

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use super::{
    redis_error::{RedisError, store_error},
    redis_settings::RedisSettings,
};
use crate::StoreError;

/// A new connection may take this many times as long as a call, since it has to log in and perhaps
/// to set up TLS. Callers with a shorter deadline of their own do not wait for it.
const CONNECT_FACTOR: u32 = 20;

/// Opens connections and keeps them for reuse. A password in a file is read again for every new
/// connection, so that it can be rotated.
pub(super) struct Connections {
    target: ConnectionInfo,
    password_file: Option<PathBuf>,
    size: usize,
    timeout: Duration,
    current: Mutex<Current>,
}

/// The pool, and the password with which its connections log in.
struct Current {
    password: Option<String>,
    pool: Pool,
}

impl Connections {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisError> {
        if settings.connections == 0 {
            return Err(RedisError::NoConnections);
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(RedisError::NoRuntime);
        }
        let mut target =
            settings.url.as_str().into_connection_info().map_err(|e| RedisError::Url(e.into()))?;
        if let Some(file) = &settings.ca_file {
            let authorities =
                fs::read(file).map_err(|source| RedisError::File { file: file.clone(), source })?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities) };
            target = Client::build_with_tls(target, certificates)
                .map_err(|e| RedisError::Tls(e.into()))?
                .get_connection_info()
                .clone();
        }
        // Each lane holds one connection. The others are for announcements and probes.
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

    /// Returns a connection that is the caller's until it is dropped: a new one, or an idle one
    /// that responded to a ping.
    pub(super) async fn get(&self) -> Result<Connection, StoreError> {
        let pool = self.pool()?;
        let wait = self.timeout * CONNECT_FACTOR;
        match tokio::time::timeout(wait, pool.get()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Backend(error))) => Err(store_error(error, self.timeout)),
            Ok(Err(error)) => Err(StoreError::unreachable(error)),
            Err(_) => Err(StoreError::Timeout { within: wait }),
        }
    }

    /// Returns how many connections are open, busy or idle.
    pub(super) fn open(&self) -> usize {
        self.current.lock().pool.status().size
    }

    /// Returns the pool, or a new one if the password has changed.
    fn pool(&self) -> Result<Pool, StoreError> {
        let Some(file) = &self.password_file else { return Ok(self.current.lock().pool.clone()) };
        let password = fs::read_to_string(file)
            .map_err(|source| RedisError::File { file: file.clone(), source })
            .map_err(StoreError::unreachable)?
            .trim_end_matches(['\r', '\n'])
            .to_owned();
        let mut current = self.current.lock();
        if current.password.as_deref() != Some(&password) {
            let settings = self.target.redis_settings().clone().set_password(&password);
            let pool =
                pool(self.target.clone().set_redis_settings(settings), self.size, self.timeout)
                    .map_err(StoreError::unreachable)?;
            *current = Current { password: Some(password), pool };
        }
        Ok(current.pool.clone())
    }
}

/// Closes a connection that failed instead of returning it to the pool: a late reply on it could be
/// taken for the reply to a later command.
pub(super) fn close(connection: Connection) {
    drop(Connection::take(connection));
}

fn pool(target: ConnectionInfo, size: usize, timeout: Duration) -> Result<Pool, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(timeout * CONNECT_FACTOR))
        .set_response_timeout(Some(timeout));
    let manager =
        Manager::new_with_config(target, config).map_err(|e| RedisError::Url(e.into()))?;
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|_| RedisError::NoRuntime)
}

/// Shows the address, but not the password.
impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("address", self.target.addr())
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
