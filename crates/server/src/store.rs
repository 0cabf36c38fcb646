//! Opens the store that the settings describe.

use std::{fmt, sync::Arc};

use sluice::{
    MemoryStore, MeteredRoundTrips, RedisStore, Store,
    stats::{MemoryStats, RedisStats, StatsStore},
};
use sluice_store::{
    ColdStart, Denials, DenialsState, Failover, FailoverState, Leasing, NodeId, RedisError,
    ServerMemory, StoreError, StoreFuture,
};
use sluice_telemetry::StoreRecorder;

use sluice_config::StoreSettings;

use crate::store_watch::StoreWatch;

/// A store whose state readiness and metrics can read.
pub trait Watched: fmt::Debug + Send + Sync + 'static {
    /// Returns the store's name: `memory` or `redis`.
    fn name(&self) -> &'static str;

    /// Returns the store of the buckets itself, without the local fallback.
    fn backing(&self) -> &dyn Store;

    /// Returns the state of the failover, or `None` if the store has no local fallback.
    fn observe(&self) -> Option<FailoverState>;

    /// Asks each server what it does when its memory is full. There is none where there is no
    /// server, or it does not say.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if no server can be reached.
    fn server_memory(&self) -> StoreFuture<'_, Result<Vec<(NodeId, ServerMemory)>, StoreError>> {
        StoreFuture::ready(Ok(Vec::new()))
    }

    /// Divides limits among at least this many replicas while the store is away, from now on.
    fn expect_replicas(&self, _fewest: usize) {}

    /// Returns how many partitions have lost their buckets since the start, and what a bucket holds
    /// after that; `None` if the store has no memory that outlives this process.
    fn lost_memory(&self) -> Option<(u64, ColdStart)> {
        None
    }

    /// Returns what is known of denied buckets, so that they need not be asked for again; `None` if
    /// the store needs no such knowledge.
    fn denials(&self) -> Option<DenialsState> {
        None
    }

    /// Returns the number of open connections, or `None` if the store needs no connections.
    fn open_connections(&self) -> Option<usize>;
}

/// An open store: the buckets, their state, and the fleet's statistics.
#[derive(Clone, Debug)]
pub struct OpenStore {
    /// The store that decides.
    pub store: Arc<dyn Store>,
    /// The state of the same store.
    pub watched: Arc<dyn Watched>,
    /// What is known about the same store beside that.
    pub watch: StoreWatch,
    /// The store of the fleet's statistics.
    pub stats: Arc<dyn StatsStore>,
}

/// Opens the store that `settings` describe, and records its round trips with `recorder`. A Redis
/// that cannot be reached is not an error, because it may start later.
///
/// # Errors
///
/// [`RedisError`] if the settings are invalid, or outside of a tokio runtime.
pub fn open(settings: &StoreSettings, recorder: &StoreRecorder) -> Result<OpenStore, RedisError> {
    let Some(redis) = settings.redis() else {
        let store = Arc::new(MemoryStore::new().cold_start(settings.cold_start));
        return Ok(OpenStore {
            store: store.clone(),
            watched: store,
            watch: StoreWatch::default(),
            stats: Arc::new(MemoryStats::new()),
        });
    };
    let stats = Arc::new(RedisStats::new(&redis)?);
    let redis = RedisStore::new(&redis, MeteredRoundTrips::new(recorder.clone()))?;
    let failover = Failover::over(redis, settings.timeout).expecting(settings.fewest_replicas());
    let store = Arc::new(Leasing::over(Denials::over(failover)));
    let watched = Arc::new(Redis { buckets: Arc::clone(&store), stats: Arc::clone(&stats) });
    Ok(OpenStore { store, watched, watch: StoreWatch::default(), stats })
}

/// The buckets and statistics in one Redis.
#[derive(Debug)]
struct Redis {
    buckets: Arc<Leasing<Denials<Failover<RedisStore>>>>,
    stats: Arc<RedisStats>,
}

impl Redis {
    fn failover(&self) -> &Failover<RedisStore> {
        self.buckets.inner().inner()
    }
}

impl Watched for MemoryStore {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn backing(&self) -> &dyn Store {
        self
    }

    fn observe(&self) -> Option<FailoverState> {
        None
    }

    fn open_connections(&self) -> Option<usize> {
        None
    }
}

impl Watched for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn backing(&self) -> &dyn Store {
        self.failover().inner()
    }

    fn observe(&self) -> Option<FailoverState> {
        Some(self.failover().state())
    }

    fn expect_replicas(&self, fewest: usize) {
        self.failover().expect_replicas(fewest);
    }

    fn server_memory(&self) -> StoreFuture<'_, Result<Vec<(NodeId, ServerMemory)>, StoreError>> {
        StoreFuture::pending(self.failover().inner().server_memory())
    }

    fn lost_memory(&self) -> Option<(u64, ColdStart)> {
        let store = self.failover().inner();
        Some((store.lost_partitions(), store.cold_start()))
    }

    fn denials(&self) -> Option<DenialsState> {
        Some(self.buckets.inner().state())
    }

    fn open_connections(&self) -> Option<usize> {
        Some(self.failover().inner().open_connections() + self.stats.open_connections())
    }
}
