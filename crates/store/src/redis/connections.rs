//! A pool of connections to one Redis.

use std::{
    collections::HashMap,
    fmt, fs,
    ops::{Deref, DerefMut},
    path::PathBuf,
    time::Duration,
};

use deadpool_redis::{Connection, Hook, HookError, Manager, Pool, PoolError, Runtime};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, TlsCertificates, Value,
    aio::MultiplexedConnection,
};

use super::{
    error_meaning::{Meaning, store_error},
    redis_error::RedisError,
    redis_settings::RedisSettings,
};
use crate::StoreError;

/// A new connection may take this many times as long as a call, since it has to log in and perhaps
/// to set up TLS. Callers with a shorter deadline of their own do not wait for it.
const CONNECT_FACTOR: u32 = 20;

/// The first line of a certificate.
const PEM_CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Opens connections and keeps them for reuse. A password in a file is read again for every new
/// connection, so that it can be rotated.
///
/// An address may lead to another server after a failover, but an open connection never does. So
/// once the server says that it is not the one to ask, all connections made before are closed, and
/// the next one resolves the name again.
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
    /// How many pools there were before this one.
    generation: u64,
}

/// A connection that is its owner's. It is closed when it is dropped: a call may be in flight, or
/// have failed. Only [`Connections::give_back`] returns one to its pool.
pub(super) struct OwnedConnection {
    /// `None` only while it is dropped.
    connection: Option<Connection>,
    /// The pool that it came from.
    generation: u64,
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
            // A file without any would leave nobody to trust, and every connection would fail.
            if !authorities.windows(PEM_CERTIFICATE.len()).any(|text| text == PEM_CERTIFICATE) {
                return Err(RedisError::NoCertificate { file: file.clone() });
            }
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(authorities) };
            target = Client::build_with_tls(target, certificates)
                .map_err(|e| RedisError::Tls(e.into()))?
                .get_connection_info()
                .clone();
        }
        // Each lane holds one connection. The others are for announcements and probes.
        let size = settings.connections + 2;
        let pool = pool(target.clone(), size, settings.timeout)?;
        let current = Mutex::new(Current { password: None, pool, generation: 0 });
        Ok(Self {
            target,
            password_file: settings.password_file.clone(),
            size,
            timeout: settings.timeout,
            current,
        })
    }

    /// Returns a connection for its owner to keep: a new one, or an idle one that responded to a
    /// ping. Whoever keeps it asks [`is_current`](Self::is_current) before each use.
    pub(super) async fn get(&self) -> Result<OwnedConnection, StoreError> {
        let (pool, generation) = self.pool()?;
        let wait = self.timeout * CONNECT_FACTOR;
        match tokio::time::timeout(wait, pool.get()).await {
            Ok(Ok(connection)) => Ok(OwnedConnection { connection: Some(connection), generation }),
            // A login that fails says nothing about connections that are open: they may go on with
            // a password that is being replaced.
            Ok(Err(PoolError::Backend(error))) => Err(store_error(error, self.timeout)),
            Ok(Err(PoolError::PostCreateHook(HookError::Message(what)))) => {
                Err(StoreError::wrong_settings(RedisError::Topology { what }))
            }
            Ok(Err(error)) => Err(StoreError::unreachable(error)),
            Err(_) => Err(StoreError::Timeout { within: wait }),
        }
    }

    /// Ends the use of a connection: it returns to the pool if the call succeeded, and is closed
    /// otherwise.
    pub(super) fn finish<T>(
        &self,
        connection: OwnedConnection,
        result: Result<T, redis::RedisError>,
    ) -> Result<T, StoreError> {
        match result {
            Ok(value) => {
                self.give_back(connection);
                Ok(value)
            }
            Err(error) => Err(self.close(connection, error)),
        }
    }

    /// Returns a connection to the pool, which tests it before it hands it out again. One that
    /// leads to the wrong server is closed.
    pub(super) fn give_back(&self, mut connection: OwnedConnection) {
        if self.is_current(&connection) {
            // Dropping the pool's own value returns it.
            drop(connection.connection.take());
        }
    }

    /// Closes a connection on which a call failed, and every other one if the error is about the
    /// server. Returns the error as a store's.
    pub(super) fn close(
        &self,
        connection: OwnedConnection,
        error: redis::RedisError,
    ) -> StoreError {
        let generation = connection.generation;
        drop(connection);
        self.learn(generation, &error);
        store_error(error, self.timeout)
    }

    /// Returns whether no error has spoken against the server since this connection was made.
    pub(super) fn is_current(&self, connection: &OwnedConnection) -> bool {
        self.current.lock().generation == connection.generation
    }

    /// Replaces the pool if `error`, on a connection of the pool with this generation, is about the
    /// server: its idle connections are closed, and those in use are not used again.
    fn learn(&self, generation: u64, error: &redis::RedisError) {
        if !Meaning::of(error).concerns_all_connections() {
            return;
        }
        let mut current = self.current.lock();
        if current.generation != generation {
            return;
        }
        if let Ok(pool) = self.pool_with(current.password.as_deref()) {
            tracing::debug!(
                error = error as &dyn std::error::Error,
                "the server refuses to serve: opening new connections"
            );
            current.pool = pool;
            current.generation += 1;
        }
    }

    /// Returns how many connections are open, busy or idle.
    pub(super) fn open(&self) -> usize {
        self.current.lock().pool.status().size
    }

    /// Returns the pool and its generation; a new pool if the password has changed.
    fn pool(&self) -> Result<(Pool, u64), StoreError> {
        let Some(file) = &self.password_file else {
            let current = self.current.lock();
            return Ok((current.pool.clone(), current.generation));
        };
        let password = fs::read_to_string(file)
            .map_err(|source| RedisError::File { file: file.clone(), source })
            .map_err(StoreError::unreachable)?
            .trim_end_matches(['\r', '\n'])
            .to_owned();
        let mut current = self.current.lock();
        if current.password.as_deref() != Some(&password) {
            let pool = self.pool_with(Some(&password)).map_err(StoreError::unreachable)?;
            // Connections that logged in with the old password still work: the server may get the
            // new one later than the file.
            let generation = current.generation;
            *current = Current { password: Some(password), pool, generation };
        }
        Ok((current.pool.clone(), current.generation))
    }

    /// Makes a pool whose connections log in with `password`, or as the URL says.
    fn pool_with(&self, password: Option<&str>) -> Result<Pool, RedisError> {
        let mut target = self.target.clone();
        if let Some(password) = password {
            let settings = target.redis_settings().clone().set_password(password);
            target = target.set_redis_settings(settings);
        }
        pool(target, self.size, self.timeout)
    }
}

impl Deref for OwnedConnection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        self.connection.as_ref().expect(IS_THERE)
    }
}

impl DerefMut for OwnedConnection {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        self.connection.as_mut().expect(IS_THERE)
    }
}

const IS_THERE: &str = "a connection is taken out only by the code that drops it";

impl Drop for OwnedConnection {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Connection::take(connection));
        }
    }
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
        .post_create(Hook::async_fn(|connection, _| Box::pin(refuse_other_topologies(connection))))
        .build()
        .map_err(|_| RedisError::NoRuntime)
}

/// Fails if the server says that it is of a kind that holds no buckets for us. A server or a proxy
/// that does not say what it is may be used.
async fn refuse_other_topologies(connection: &mut MultiplexedConnection) -> Result<(), HookError> {
    let facts: redis::RedisResult<HashMap<String, Value>> =
        redis::cmd("HELLO").query_async(connection).await;
    let Ok(Some(Value::BulkString(mode))) = facts.map(|mut facts| facts.remove("mode")) else {
        return Ok(());
    };
    match &*mode {
        b"cluster" => Err(HookError::message("a node of a cluster")),
        b"sentinel" => Err(HookError::message("a Sentinel")),
        _ => Ok(()),
    }
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
