//! Flushes what this process has counted, and reads the statistics of the fleet.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_slo::Slo;
use sluice_store::StoreError;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use crate::{
    costs::CostReport, counters::StatsCounters, fleet::FleetStats, flush::Flush, history::History,
    slos::SloReport, stats_store::StatsStore,
};

/// How often a replica flushes.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How often a replica reads the hourly sums, from which its metrics have the costs of the month.
const HISTORY_INTERVAL: Duration = Duration::from_secs(60);
/// How long a replica that stops waits for its last flush.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Flushes [`StatsCounters`] to a [`StatsStore`], and reads the statistics of the fleet from it.
/// Cheap to clone.
///
/// While the store is away, sums are not lost: counting goes on, and lists of clients, deployments
/// and gauges are kept up to a limit. A flush without a response is sent again unchanged, and is
/// added once.
#[derive(Clone, Debug)]
pub struct Reporter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    counters: StatsCounters,
    store: Arc<dyn StatsStore>,
    replica: Arc<str>,
    /// Locked during a flush: flushes run one after another.
    outbox: Mutex<Outbox>,
    status: parking_lot::Mutex<ReporterStatus>,
}

#[derive(Debug, Default)]
struct Outbox {
    last_number: u64,
    /// A flush that was sent and not confirmed.
    unconfirmed: Option<Flush>,
}

/// Whether flushes succeed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReporterStatus {
    /// When a flush last succeeded; `None` if none has yet.
    pub last_flush: Option<Instant>,
    /// Why the last flush failed; `None` if it succeeded.
    pub error: Option<StoreError>,
}

/// A task that flushes every second, until it is [stopped](Self::stop) or dropped.
#[derive(Debug)]
pub struct FlushTask {
    reporter: Reporter,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Reporter {
    /// Makes a reporter that flushes `counters` to `store` in the name of `replica`: an id that is
    /// unique, and new with every start.
    #[must_use]
    pub fn new(counters: StatsCounters, store: Arc<dyn StatsStore>, replica: &str) -> Self {
        let inner = Inner {
            counters,
            store,
            replica: replica.into(),
            outbox: Mutex::default(),
            status: parking_lot::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts a task on the current runtime that flushes about once a second.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(&self) -> FlushTask {
        let (stop, mut stopped) = watch::channel(false);
        let reporter = self.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
            let mut readings = tokio::time::interval(HISTORY_INTERVAL);
            for interval in [&mut ticks, &mut readings] {
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
            let mut had_failed = false;
            loop {
                tokio::select! {
                    _ = ticks.tick() => drop(reporter.flush().await),
                    _ = readings.tick() => had_failed = reporter.read_and_log(had_failed).await,
                    _ = stopped.changed() => return,
                }
            }
        });
        FlushTask { reporter: self.clone(), stop, task }
    }

    /// Flushes what was counted since the last flush. The first failure is logged, and the first
    /// success after it.
    ///
    /// # Errors
    /// When the store does not confirm the flush. What was counted is kept, and sent with the next
    /// flush.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let result = self.send().await;
        let mut status = self.inner.status.lock();
        let had_failed = status.error.is_some();
        status.error = result.as_ref().err().cloned();
        match &result {
            Ok(()) => {
                status.last_flush = Some(Instant::now());
                if had_failed {
                    tracing::info!("the stats that were kept have been flushed to the store");
                }
            }
            Err(error) if !had_failed => tracing::warn!(
                error = error as &dyn std::error::Error,
                "the stats could not be flushed to the store: they are kept and sent later"
            ),
            Err(_) => {}
        }
        result
    }

    async fn send(&self) -> Result<(), StoreError> {
        let Inner { counters, store, replica, outbox, .. } = &*self.inner;
        counters.tick();
        let mut outbox = outbox.lock().await;
        if let Some(flush) = &mut outbox.unconfirmed {
            flush.connections = counters.open_connections();
            counters.record_gauges(store.flush(flush).await?);
        }
        outbox.last_number += 1;
        let flush = Flush::new(
            Arc::clone(replica),
            outbox.last_number,
            counters.open_connections(),
            counters.take(),
        );
        // Kept before it is sent, because the caller may drop this future.
        let flush = outbox.unconfirmed.insert(flush);
        counters.record_gauges(store.flush(flush).await?);
        outbox.unconfirmed = None;
        Ok(())
    }

    /// Flushes, and returns the statistics of the fleet.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn read(&self) -> Result<FleetStats, StoreError> {
        self.flush().await?;
        self.inner.store.read().await
    }

    /// Flushes, charges deployments that cost by the hour, and returns the hourly sums of the
    /// fleet. The costs of the month and the state of the objectives are recorded in this
    /// replica's metrics.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn read_history(&self) -> Result<History, StoreError> {
        self.flush().await?;
        let Inner { store, counters, .. } = &*self.inner;
        counters.record_charged(&store.charge_deployments().await?);
        let history = store.read_history().await?;
        counters.record_costs(&CostReport::new(&history));
        counters.record_slos(&SloReport::new(&counters.slos(), &history));
        Ok(history)
    }

    /// Returns the service level objectives of this process.
    #[must_use]
    pub fn slos(&self) -> Arc<[Slo]> {
        self.inner.counters.slos()
    }

    /// Returns whether flushes succeed.
    #[must_use]
    pub fn status(&self) -> ReporterStatus {
        self.inner.status.lock().clone()
    }

    /// Reads the hourly sums, for the metrics that are made of them, and logs the first failure
    /// that is not that of a flush. Returns whether there was one.
    async fn read_and_log(&self, had_failed: bool) -> bool {
        let Err(error) = self.read_history().await else { return false };
        let is_of_the_flush = self.status().error.is_some();
        if !had_failed && !is_of_the_flush {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the hourly sums could not be read from the store: metrics of costs are missing"
            );
        }
        had_failed || !is_of_the_flush
    }
}

impl FlushTask {
    /// Flushes a last time, and removes this replica's open connections from the store. Gives up
    /// after two seconds.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let Inner { store, replica, .. } = &*self.reporter.inner;
        let last = async {
            drop(self.reporter.flush().await);
            if let Err(error) = store.depart(replica).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "this replica could not be removed from the stats"
                );
            }
        };
        if tokio::time::timeout(LAST_FLUSH_TIMEOUT, last).await.is_err() {
            tracing::warn!("the store did not accept the last stats in time: they are lost");
        }
    }
}

impl Drop for FlushTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sluice_store::StoreFuture;
    use sluice_telemetry::Recorders;

    use super::*;
    use crate::{
        flush::DeploymentPhase, gauges::Gauges, memory_stats::MemoryStats, running::Charged,
        totals::Total,
    };

    /// Adds every flush, and fails to confirm some.
    #[derive(Debug, Default)]
    struct Unreliable {
        inner: MemoryStats,
        /// How many further flushes are not confirmed.
        unconfirmed: AtomicUsize,
    }

    impl StatsStore for Unreliable {
        fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>> {
            let reply = self.inner.flush(flush);
            let is_lost = self
                .unconfirmed
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            if is_lost {
                StoreFuture::ready(Err(StoreError::Timeout { within: FLUSH_INTERVAL }))
            } else {
                reply
            }
        }

        fn read(&self) -> StoreFuture<'_, Result<FleetStats, StoreError>> {
            self.inner.read()
        }

        fn charge_deployments(&self) -> StoreFuture<'_, Result<Charged, StoreError>> {
            self.inner.charge_deployments()
        }

        fn read_history(&self) -> StoreFuture<'_, Result<History, StoreError>> {
            self.inner.read_history()
        }

        fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>> {
            self.inner.depart(replica)
        }
    }

    fn reporter(store: &Arc<Unreliable>) -> (StatsCounters, Reporter) {
        let counters = StatsCounters::new(&Recorders::disabled());
        (counters.clone(), Reporter::new(counters, Arc::clone(store) as Arc<dyn StatsStore>, "one"))
    }

    async fn requests(store: &Unreliable) -> u64 {
        store.read().await.unwrap().totals.get(Total::HttpRequests)
    }

    #[tokio::test]
    async fn an_unconfirmed_flush_is_sent_again_and_added_once() {
        let store = Arc::new(Unreliable::default());
        let (counters, reporter) = reporter(&store);
        store.unconfirmed.store(3, Ordering::SeqCst);
        for _ in 0..5 {
            counters.add(Total::HttpRequests, 1);
            counters.change_deployment(None, DeploymentPhase::Started);
            let flushed = reporter.flush().await;
            assert_eq!(flushed.is_err(), reporter.status().error.is_some());
        }
        let fleet = store.read().await.unwrap();
        assert_eq!(
            (fleet.totals.get(Total::HttpRequests), fleet.gauges.active_deployments),
            (5, 5)
        );
        assert!(reporter.status().last_flush.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_flushes_every_second_and_once_more_when_it_stops() {
        let store = Arc::new(Unreliable::default());
        let (counters, reporter) = reporter(&store);
        let task = reporter.start();
        counters.add(Total::HttpRequests, 1);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(requests(&store).await, 1);
        counters.add(Total::HttpRequests, 1);
        assert_eq!(requests(&store).await, 1, "it waits for the next second");
        task.stop().await;
        assert_eq!(requests(&store).await, 2);
        assert!(store.read().await.unwrap().replicas.is_empty());
    }

    #[tokio::test]
    async fn reading_includes_what_was_just_counted() {
        let store = Arc::new(Unreliable::default());
        let (counters, reporter) = reporter(&store);
        counters.count_http_response("/a", 200, Duration::from_millis(2));
        counters.count_http_response("/a", 404, Duration::from_millis(3));
        counters.count_http_response("/a", 503, Duration::ZERO);
        let totals = reporter.read().await.unwrap().totals;
        let counted = [
            Total::HttpRequests,
            Total::HttpMicros,
            Total::HttpClientErrors,
            Total::HttpServerErrors,
        ]
        .map(|total| totals.get(total));
        assert_eq!(counted, [3, 5_000, 1, 1]);
    }
}
