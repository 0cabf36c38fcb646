//! Three stores that share one Redis.

use std::{sync::Arc, time::Duration};

use sluice_core::Partition;
use sluice_store::{
    BreakerState, ColdStart, Failover, NodeId, RedisSettings, RedisStore, Replica, Store,
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

/// A store as replicas have it.
pub(crate) type OneStore = Arc<Failover<RedisStore>>;

/// The stores of a fleet of three, which announce themselves.
#[derive(Debug)]
pub(crate) struct Stores {
    all: Vec<OneStore>,
    announcers: Vec<JoinHandle<()>>,
}

impl Stores {
    /// Connects to the Redis at `url`, and waits until each of the stores knows the others.
    pub(crate) async fn connect(url: &str, timeout: Duration, cold_start: ColdStart) -> Self {
        let settings = RedisSettings::new(url)
            .timeout(timeout)
            .cold_start(cold_start)
            .expected_replicas(STORES);
        let open = || {
            let store = RedisStore::new(&settings, ()).unwrap();
            Arc::new(Failover::over(store, timeout).expecting(STORES))
        };
        let all: Vec<OneStore> = (0..STORES).map(|_| open()).collect();
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
            let known = stores.all.iter().map(|store| store.state().live_replicas);
            let known: Vec<_> = known.collect();
            if known == [STORES; STORES] { Ok(()) } else { Err(format!("{known:?}")) }
        })
        .await;
        stores
    }

    pub(crate) fn all(&self) -> &[OneStore] {
        &self.all
    }

    /// Returns the node that has a partition.
    pub(crate) fn node(&self, partition: Partition) -> NodeId {
        self.all[0].node(partition)
    }

    /// Returns how often a breaker has opened, in all stores.
    pub(crate) fn opened(&self) -> u64 {
        self.all.iter().map(|store| store.state().opened).sum()
    }

    /// Returns how many calls have waited for the timeout in vain, in all stores.
    pub(crate) fn unanswered(&self) -> u64 {
        self.all.iter().map(|store| store.state().unanswered).sum()
    }

    /// Returns how many partitions have lost their memory as far as every store knows.
    pub(crate) fn lost_partitions(&self) -> u64 {
        self.all.iter().map(|store| store.inner().lost_partitions()).min().unwrap_or_default()
    }

    /// Waits until all breakers are closed and all that was admitted without Redis is charged.
    pub(crate) async fn wait_until_recovered(&self) {
        eventually_async_within(
            NEVER,
            "all breakers are closed, and nothing is owed",
            async || {
                for store in &self.all {
                    let state = store.state();
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

impl Drop for Stores {
    fn drop(&mut self) {
        self.announcers.iter().for_each(JoinHandle::abort);
    }
}
