//! A pool of connections to one server.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use deadpool_redis::{Connection, HookError, Pool, PoolError};
use parking_lot::Mutex;
use redis::{PushInfo, aio::MultiplexedConnection};
use tokio::{sync::mpsc::UnboundedSender, time::error::Elapsed};

use super::{
    access::{Access, Server},
    address::HostPort,
    at_server::at,
    error_meaning::{Meaning, store_error},
    given_up::UnlessWell,
    greeting,
    redis_error::RedisError,
    sentinels::Sentinels,
    tls,
};
use crate::StoreError;

/// Opens connections to one server and keeps them for reuse. A password in a file is read again for
/// every new connection, so that it can be rotated.
///
/// An address may lead to another server after a failover, but an open connection never does. So
/// once the server says that it is not the one to ask, all connections made before are closed, and
/// the next one resolves the name again, or asks the Sentinels again.
pub(super) struct Connections {
    access: Access,
    place: Place,
    current: Mutex<Current>,
}

/// The least time to open a connection that no decision waits for.
const LEAST_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How the server is found.
enum Place {
    Fixed { server: HostPort, certificate_name: Option<String> },
    PrimaryOf(Sentinels),
}

/// The pool, and what its connections were made with.
struct Current {
    password: Option<String>,
    /// Where the connections lead; `None` until Sentinels have named a primary.
    pool: Option<(HostPort, Pool)>,
    /// Whether the server has to be found anew for the next connection.
    is_in_doubt: bool,
    /// How many pools there were before this one, apart from those with other passwords.
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

impl Access {
    /// Makes the pool of one server. Nothing is sent yet.
    ///
    /// # Errors
    /// When no certificate can have the server's name.
    pub(super) fn connections(&self, server: Server) -> Result<Connections, RedisError> {
        self.check_name(&server)?;
        Ok(Connections::new(self.clone(), server))
    }
}

impl Connections {
    fn new(access: Access, server: Server) -> Self {
        let place = match server {
            Server::At { host, port, certificate_name } => {
                Place::Fixed { server: HostPort { host, port }, certificate_name }
            }
            Server::PrimaryOf(sentinels) => Place::PrimaryOf(sentinels),
        };
        let current =
            Mutex::new(Current { password: None, pool: None, is_in_doubt: true, generation: 0 });
        Self { access, place, current }
    }

    /// Returns a connection for its owner to keep: a new one, or an idle one that responded to a
    /// ping. Whoever keeps it asks [`is_current`](Self::is_current) before each use.
    ///
    /// If there is none, or the caller waits no longer for it, the next one is looked for anew.
    pub(super) async fn get(&self) -> Result<OwnedConnection, StoreError> {
        let (pool, generation) = self.pool().await?;
        let wait = self.access.connect_timeout();
        let doubt = UnlessWell::new(|| self.doubt(generation));
        let error = match tokio::time::timeout(wait, pool.get()).await {
            Ok(Ok(connection)) => {
                doubt.end();
                return Ok(OwnedConnection { connection: Some(connection), generation });
            }
            // A login that fails says nothing about connections that are open: they may go on with
            // a password that is being replaced.
            Ok(Err(PoolError::Backend(error))) => self.connect_error(error),
            Ok(Err(PoolError::PostCreateHook(error))) => self.greeting_error(error),
            Ok(Err(error)) => StoreError::unreachable(error),
            Err(elapsed) => self.no_connection_within(wait, elapsed),
        };
        Err(at(self.server(), error))
    }

    /// Opens a connection beside those of the pool, to the same server, that hands what the server
    /// sends unasked to `pushes`. Returns it with its [generation](Self::generation).
    pub(super) async fn open_with_pushes(
        &self,
        pushes: UnboundedSender<PushInfo>,
    ) -> Result<(MultiplexedConnection, u64), StoreError> {
        let (_, generation) = self.pool().await?;
        let (password, server) = {
            let current = self.current.lock();
            let server = current.pool.as_ref().map(|(server, _)| server.clone());
            (current.password.clone(), server)
        };
        let certificate_name = match &self.place {
            Place::Fixed { certificate_name, .. } => certificate_name.as_deref(),
            Place::PrimaryOf(_) => None,
        };
        let Some(server) = server else {
            // Another caller has just found that it is the wrong one.
            return Err(StoreError::Timeout { within: Duration::ZERO });
        };
        let wait = self.access.connect_timeout().max(LEAST_CONNECT_TIMEOUT);
        let doubt = UnlessWell::new(|| self.doubt(generation));
        let opened =
            self.access.open_with_pushes(&server, certificate_name, password.as_deref(), pushes);
        let error = match tokio::time::timeout(wait, opened).await {
            Ok(Ok(connection)) => {
                doubt.end();
                return Ok((connection, generation));
            }
            Ok(Err(error)) => self.greeting_error(error),
            Err(elapsed) => self.no_connection_within(wait, elapsed),
        };
        Err(at(Some(server), error))
    }

    fn greeting_error(&self, error: HookError) -> StoreError {
        match error {
            HookError::Backend(error) => self.connect_error(error),
            HookError::Message(what) => greeting::error(what),
        }
    }

    fn no_connection_within(&self, wait: Duration, elapsed: Elapsed) -> StoreError {
        if self.access.is_encrypted() {
            StoreError::unreachable(RedisError::NoHandshake(elapsed.into()))
        } else {
            StoreError::Timeout { within: wait }
        }
    }

    /// Translates the error of a connection that could not be opened.
    fn connect_error(&self, error: redis::RedisError) -> StoreError {
        tls::mismatch(self.access.is_encrypted(), error)
            .unwrap_or_else(|error| store_error(error, self.access.timeout()))
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
        let server = self.server();
        self.learn(generation, &error);
        at(server, store_error(error, self.access.timeout()))
    }

    /// Translates an error of a call on one of these connections.
    pub(super) fn error(&self, error: redis::RedisError) -> StoreError {
        at(self.server(), store_error(error, self.access.timeout()))
    }

    /// Returns the server that the connections lead to; `None` until Sentinels have named one.
    fn server(&self) -> Option<HostPort> {
        match &self.place {
            Place::Fixed { server, .. } => Some(server.clone()),
            Place::PrimaryOf(_) => {
                self.current.lock().pool.as_ref().map(|(server, _)| server.clone())
            }
        }
    }

    /// Asks the Sentinels whether another server is the primary now, and leaves the former one if
    /// so. It serves on until the Sentinels demote it, which takes them seconds, and what it admits
    /// until then is lost: replicas that use both admit twice the limit.
    pub(super) async fn follow_sentinels(&self) {
        let Place::PrimaryOf(sentinels) = &self.place else { return };
        let Some(known) = self.server() else { return };
        let Some(primary) = sentinels.other_primary(&known).await else { return };
        let mut current = self.current.lock();
        if current.pool.as_ref().is_some_and(|(server, _)| *server == known) {
            tracing::info!(from = %known, to = %primary, "the Sentinels name another primary");
            current.pool = None;
            current.is_in_doubt = true;
            current.generation += 1;
        }
    }

    /// Returns whether no error has spoken against the server since this connection was made.
    pub(super) fn is_current(&self, connection: &OwnedConnection) -> bool {
        self.generation() == connection.generation
    }

    /// Returns how often an error has spoken against the server, or another one has taken its
    /// place.
    pub(super) fn generation(&self) -> u64 {
        self.current.lock().generation
    }

    /// Replaces the pool if `error`, on a connection of the pool with this generation, is about the
    /// server: its idle connections are closed, and those in use are not used again.
    fn learn(&self, generation: u64, error: &redis::RedisError) {
        let meaning = Meaning::of(error);
        if meaning == Meaning::Unreachable {
            self.doubt(generation);
        }
        if !meaning.concerns_all_connections() {
            return;
        }
        let mut current = self.current.lock();
        if current.generation == generation {
            tracing::debug!(
                error = error as &dyn std::error::Error,
                "the server refuses to serve: opening new connections"
            );
            current.pool = None;
            current.is_in_doubt = true;
            current.generation += 1;
        }
    }

    /// Lets the next connection ask again where the server is. Connections that are open stay, for
    /// as long as it is the same one.
    fn doubt(&self, generation: u64) {
        let mut current = self.current.lock();
        if current.generation == generation {
            current.is_in_doubt = true;
        }
    }

    /// Returns how many connections are open, busy or idle.
    pub(super) fn open(&self) -> usize {
        self.current.lock().pool.as_ref().map_or(0, |(_, pool)| pool.status().size)
    }

    /// Returns the pool and its generation; a new pool if the password or the server has changed.
    async fn pool(&self) -> Result<(Pool, u64), StoreError> {
        let password = self.access.login().password().map_err(StoreError::unreachable)?;
        match &self.place {
            Place::Fixed { server, certificate_name } => {
                self.pool_to(server, certificate_name.as_deref(), password)
            }
            Place::PrimaryOf(sentinels) => {
                if let Some(primary) = self.known_primary() {
                    return self.pool_to(&primary, None, password);
                }
                // One caller asks, and the others wait for its result.
                let mut order = sentinels.order().await;
                let primary = match self.known_primary() {
                    Some(primary) => primary,
                    None => sentinels.primary(&mut order).await?,
                };
                self.pool_to(&primary, None, password)
            }
        }
    }

    /// Returns the server that the Sentinels named, unless it is in doubt.
    fn known_primary(&self) -> Option<HostPort> {
        let current = self.current.lock();
        let server = current.pool.as_ref().map(|(server, _)| server.clone());
        server.filter(|_| !current.is_in_doubt)
    }

    /// Returns a pool of connections to `server`, and its generation.
    fn pool_to(
        &self,
        server: &HostPort,
        certificate_name: Option<&str>,
        password: Option<String>,
    ) -> Result<(Pool, u64), StoreError> {
        let mut current = self.current.lock();
        current.is_in_doubt = false;
        let is_same_server = current.pool.as_ref().is_some_and(|(known, _)| known == server);
        if let Some((_, pool)) = &current.pool
            && is_same_server
            && current.password == password
        {
            return Ok((pool.clone(), current.generation));
        }
        let pool = self
            .access
            .pool(server, certificate_name, password.as_deref())
            .map_err(StoreError::unreachable)?;
        // Connections that logged in with the old password still work: the server may get the new
        // one later than the file. Those to another server are of no use.
        if current.pool.is_some() && !is_same_server {
            current.generation += 1;
        }
        current.password = password;
        current.pool = Some((server.clone(), pool.clone()));
        Ok((pool, current.generation))
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

/// Shows the address, but not the login.
impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Connections");
        match &self.place {
            Place::Fixed { server, .. } => shown.field("server", &format_args!("{server}")),
            Place::PrimaryOf(sentinels) => shown.field("sentinels", sentinels),
        };
        shown.field("access", &self.access).finish_non_exhaustive()
    }
}
