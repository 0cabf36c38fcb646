//! Opens the store that the settings name.

use std::{fmt, sync::Arc};

use sluice::{
    MemoryStore, MeteredRoundTrips, RedisStore, Store,
    stats::{MemoryStats, RedisStats, StatsStore},
};
use sluice_store::{Failover, FailoverState, RedisError};
use sluice_telemetry::StoreRecorder;

use sluice_config::StoreSettings;

/// A store that can be looked at from outside, by readiness and by metrics.
pub trait Watched: fmt::Debug + Send + Sync + 'static {
    /// What it is called: `memory`, `redis`.
    fn name(&self) -> &'static str;

    /// Where the buckets live, without what stands in while it is away.
    fn backing(&self) -> &dyn Store;

    /// How what stands in sees it; `None` when nothing stands in.
    fn observe(&self) -> Option<FailoverState>;

    /// How many connections to it are open; `None` when it needs none.
    fn open_connections(&self) -> Option<usize>;
}

/// An open store, to decide with and to look at.
#[derive(Clone, Debug)]
pub struct OpenStore {
    /// Decides.
    pub store: Arc<dyn Store>,
    /// The same, to look at.
    pub watched: Arc<dyn Watched>,
    /// Keeps what is known of the fleet.
    pub stats: Arc<dyn StatsStore>,
}

/// Opens the store of `settings`, and records its round trips. A Redis that is away is no error: it
/// may come.
///
/// # Errors
/// When the settings are impossible, or outside of a tokio runtime.
pub fn open(settings: &StoreSettings, recorder: &StoreRecorder) -> Result<OpenStore, RedisError> {
    let Some(redis) = settings.redis() else {
        let store = Arc::new(MemoryStore::new());
        return Ok(OpenStore {
            store: store.clone(),
            watched: store,
            stats: Arc::new(MemoryStats::new()),
        });
    };
    let stats = Arc::new(RedisStats::new(&redis)?);
    let redis = RedisStore::new(&redis, MeteredRoundTrips::new(recorder.clone()))?;
    let store = Arc::new(Failover::over(redis, settings.timeout));
    let watched = Arc::new(Redis { buckets: Arc::clone(&store), stats: Arc::clone(&stats) });
    Ok(OpenStore { store, watched, stats })
}

/// All that is kept in one Redis.
#[derive(Debug)]
struct Redis {
    buckets: Arc<Failover<RedisStore>>,
    stats: Arc<RedisStats>,
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
        self.buckets.inner()
    }

    fn observe(&self) -> Option<FailoverState> {
        Some(self.buckets.state())
    }

    fn open_connections(&self) -> Option<usize> {
        Some(self.buckets.inner().open_connections() + self.stats.open_connections())
    }
}
