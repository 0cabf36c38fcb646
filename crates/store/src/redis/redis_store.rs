//! The store itself: lanes for checks, and a few commands beside them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use sluice_core::{Check, Decision};
use smallvec::smallvec;

use super::{
    announce,
    connections::Connections,
    keys::{self, Keys},
    lanes::{Lanes, Route},
    redis_error::RedisError,
    redis_settings::RedisSettings,
    server_memory::{self, ServerMemory},
};
use crate::{Fleet, Formats, ObserveRoundTrips, Replica, Store, StoreError, StoreFuture};

/// Keeps buckets in Redis 6.2 or later, or in Valkey.
///
/// Dropping the store closes its connections.
#[derive(Debug)]
pub struct RedisStore {
    lanes: Lanes,
    connections: Arc<Connections>,
    keys: Keys,
    timeout: Duration,
    formats: Formats,
    /// The newest layout that every live replica reads.
    newest_layout: Arc<AtomicU8>,
    expected_replicas: usize,
}

impl RedisStore {
    /// Makes a store in the Redis at `settings`, which reports every round trip of checks to
    /// `observer`. Nothing is sent yet: whether Redis can be reached shows in the first decisions.
    ///
    /// # Errors
    /// When the settings are invalid, or outside of a Tokio runtime, on which the store's tasks
    /// run.
    pub fn new(
        settings: &RedisSettings,
        observer: impl ObserveRoundTrips,
    ) -> Result<Self, RedisError> {
        let keys = Keys::new(&settings.prefix)?;
        let connections = Arc::new(Connections::of(settings)?);
        // Until the first announcement is answered, replicas of any build may be live.
        let newest_layout =
            Arc::new(AtomicU8::new(settings.formats.newest_written([Formats::BASELINE])));
        let route = Route {
            connections: Arc::clone(&connections),
            keys: keys.clone(),
            observer: Box::new(observer),
            formats: settings.formats,
            newest_layout: Arc::clone(&newest_layout),
        };
        Ok(Self {
            lanes: Lanes::start(settings.connections, route),
            connections,
            keys,
            timeout: settings.timeout,
            formats: settings.formats,
            newest_layout,
            expected_replicas: settings.expected_replicas,
        })
    }

    /// Returns how many connections are open, busy or idle.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.connections.open()
    }

    /// Asks the server what it does when its memory is full; `None` if it does not say, as when
    /// this user may not call `INFO`.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn server_memory(&self) -> Result<Option<ServerMemory>, StoreError> {
        let mut connection = self.connections.get().await?;
        match server_memory::call(&mut connection).await {
            Err(error) if server_memory::is_forbidden(&error) => {
                self.connections.give_back(connection);
                Ok(None)
            }
            reply => self.connections.finish(connection, reply),
        }
    }

    /// Returns the fewest replicas among which limits are divided while Redis is away.
    #[must_use]
    pub const fn expected_replicas(&self) -> usize {
        self.expected_replicas
    }

    /// Returns how long one call may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Store for RedisStore {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let results = self.lanes.decide(smallvec![check.clone()]);
        StoreFuture::pending(async { results.await.pop().expect("one check has one result") })
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        StoreFuture::pending(self.lanes.decide_all(checks))
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        // A write, since a primary that has become read-only still responds to a ping.
        StoreFuture::pending(async {
            let mut connection = self.connections.get().await?;
            let mut command = redis::cmd("SET");
            command.arg(self.keys.probe(keys::SHARED)).arg(1).arg("PX").arg(1_000);
            let reply = command.query_async::<()>(&mut *connection).await;
            self.connections.finish(connection, reply)
        })
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        StoreFuture::pending(async {
            let mut connection = self.connections.get().await?;
            let reply = announce::call(&mut connection, &self.keys, replica, self.formats).await;
            let fleet =
                announce::parse(self.connections.finish(connection, reply)?).ok_or_else(|| {
                    StoreError::unreadable("announce.lua returned no list of replicas")
                })?;
            let live = fleet.replicas.iter().map(|live| live.formats);
            self.newest_layout.store(self.formats.newest_written(live), Ordering::Relaxed);
            Ok(fleet)
        })
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::pending(async {
            let mut connection = self.connections.get().await?;
            let mut command = redis::cmd("HDEL");
            command.arg(self.keys.fleet()).arg(&replica.id);
            let reply = command.query_async::<()>(&mut *connection).await;
            self.connections.finish(connection, reply)
        })
    }
}
