//! Three stores that share one Redis.

use std::{sync::Arc, time::Duration};

use sluice_core::Partition;
use sluice_store::{
    BreakerState, ColdStart, Denials, Failover, Leasing, NodeId, RedisSettings, RedisStore,
    Replica, Store,
};
use sluice_testkit::eventually_async_within;
use tokio::task::JoinHandle;

/// The number of stores.
pub(crate) const STORES: usize = 3;

/// A timeout that even a busy machine does not exceed, for faults that Redis does not hide: a
/// connection that is refused needs no timeout.
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(10);

/// Far more than any recovery takes, so that only one that never comes exceeds it.
pub(crate) const NEVER: Duration = Duration::from_secs(60);

const ANNOUNCEMENTS: Duration = Duration::from_millis(500);

/// The fallback that replicas have, over Redis.
pub(crate) type OverRedis = Failover<RedisStore>;

/// All layers that replicas have.
pub(crate) type AllLayers = Leasing<Denials<OverRedis>>;

/// A store whose local decisions are those of replicas.
pub(crate) trait Layers: Store + Sized + 'static {
    fn over(failover: OverRedis) -> Self;
    fn failover(&self) -> &OverRedis;
}

/// The stores of a fleet of three, which announce themselves.
#[derive(Debug)]
pub(crate) struct Stores<S: Layers = OverRedis> {
    all: Vec<Arc<S>>,
    announcers: Vec<JoinHandle<()>>,
}

impl Layers for OverRedis {
    fn over(failover: OverRedis) -> Self {
        failover
    }

    fn failover(&self) -> &OverRedis {
        self
    }
}

impl Layers for AllLayers {
    fn over(failover: OverRedis) -> Self {
        Leasing::over(Denials::over(failover))
    }

    fn failover(&self) -> &OverRedis {
        self.inner().inner()
    }
}

impl<S: Layers> Stores<S> {
    /// Connects to the Redis at `url`, and waits until each of the stores knows the others.
    pub(crate) async fn connect(url: &str, timeout: Duration, cold_start: ColdStart) -> Self {
        let settings = RedisSettings::new(url)
            .timeout(timeout)
            .cold_start(cold_start)
            .expected_replicas(STORES);
        let open = || {
            let store = RedisStore::new(&settings, ()).unwrap();
            Arc::new(S::over(Failover::over(store, timeout).expecting(STORES)))
        };
        let all: Vec<Arc<S>> = (0..STORES).map(|_| open()).collect();
        let announcers = all.iter().enumerate().map(|(number, store)| {
            let (store, replica) = (Arc::clone(store), Replica::new(format!("{number}"), "1"));
            tokio::spawn(async move {
                loop {
                    // One that fails is repeated, as by a replica.
                    let _ = store.announce(&replica).await;
                    tokio::time::sleep(ANNOUNCEMENTS).await;
                }
            })
        });
        let stores = Self { announcers: announcers.collect(), all };
        eventually_async_within(NEVER, "the stores know each other", async || {
            for store in &stores.all {
                store.probe().await.map_err(|error| error.to_string())?;
            }
            let known = stores.all.iter().map(|store| store.failover().state().live_replicas);
            let known: Vec<_> = known.collect();
            if known == [STORES; STORES] { Ok(()) } else { Err(format!("{known:?}")) }
        })
        .await;
        stores
    }

    pub(crate) fn all(&self) -> &[Arc<S>] {
        &self.all
    }

    /// Returns the node that has a partition.
    pub(crate) fn node(&self, partition: Partition) -> NodeId {
        self.all[0].node(partition)
    }

    /// Returns how often a breaker has opened, in all stores.
    pub(crate) fn opened(&self) -> u64 {
        self.all.iter().map(|store| store.failover().state().opened).sum()
    }

    /// Returns how many calls have waited for the timeout in vain, in all stores.
    pub(crate) fn unanswered(&self) -> u64 {
        self.all.iter().map(|store| store.failover().state().unanswered).sum()
    }

    /// Returns how many partitions have lost their memory as far as every store knows.
    pub(crate) fn lost_partitions(&self) -> u64 {
        let lost = self.all.iter().map(|store| store.failover().inner().lost_partitions());
        lost.min().unwrap_or_default()
    }

    /// Waits until all breakers are closed and all that was admitted without Redis is charged.
    pub(crate) async fn wait_until_recovered(&self) {
        eventually_async_within(
            NEVER,
            "all breakers are closed, and nothing is owed",
            async || {
                for store in &self.all {
                    let state = store.failover().state();
                    if state.breaker != BreakerState::Closed || state.owed_buckets > 0 {
                        return Err(format!("{state:?}"));
                    }
                }
                Ok(())
            },
        )
        .await;
    }
}

impl<S: Layers> Drop for Stores<S> {
    fn drop(&mut self) {
        self.announcers.iter().for_each(JoinHandle::abort);
    }
}
