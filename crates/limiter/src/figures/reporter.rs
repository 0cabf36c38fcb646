//! Tells the fleet what this process has counted, and reads what the fleet has.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_store::{Figures, FleetFigures, Flush, StoreError};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};

use super::tally::Tally;

/// How often a replica tells what it has counted.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How long a replica that stops tries to tell the last of it.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Tells [`Figures`] what a [`Tally`] has counted, and reads the figures of the fleet. Cheap to
/// clone.
///
/// While the store is away, nothing counted is lost: sums go on, and lists of clients, deployments
/// and gauges are kept up to a bound. What was sent and not answered is sent again as it was, and
/// is not added twice.
#[derive(Clone, Debug)]
pub struct Reporter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    tally: Tally,
    figures: Arc<dyn Figures>,
    replica: Arc<str>,
    /// Held while a flush is under way: they go one after another.
    outbox: Mutex<Outbox>,
    status: parking_lot::Mutex<ReporterStatus>,
}

#[derive(Debug, Default)]
struct Outbox {
    last_number: u64,
    /// What was sent, and may or may not have arrived.
    in_doubt: Option<Flush>,
}

/// How telling goes.
#[derive(Clone, Debug, Default)]
pub struct ReporterStatus {
    /// When a flush last arrived; `None` if none did yet.
    pub last_flush: Option<Instant>,
    /// Why the last one did not; `None` when it did.
    pub error: Option<StoreError>,
}

/// Flushes every second, until it is [stopped](Self::stop) or dropped.
#[derive(Debug)]
pub struct Flushing {
    reporter: Reporter,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

// === impl Reporter ===

impl Reporter {
    /// Tells `figures` what `tally` counts, as `replica`: a name unlike any other's, and new with
    /// every start.
    #[must_use]
    pub fn new(tally: Tally, figures: Arc<dyn Figures>, replica: &str) -> Self {
        let inner = Inner {
            tally,
            figures,
            replica: replica.into(),
            outbox: Mutex::default(),
            status: parking_lot::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Flushes about once a second from now on, on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start(&self) -> Flushing {
        let (stop, mut stopped) = watch::channel(false);
        let reporter = self.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(FLUSH_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => reporter.flush_and_note().await,
                    _ = stopped.changed() => return,
                }
            }
        });
        Flushing { reporter: self.clone(), stop, task }
    }

    /// Tells what was counted since the last time, now.
    ///
    /// # Errors
    /// When the store cannot be told; what was counted is kept, and told with a later flush.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let result = self.send().await;
        let mut status = self.inner.status.lock();
        status.error = result.as_ref().err().cloned();
        if result.is_ok() {
            status.last_flush = Some(Instant::now());
        }
        result
    }

    async fn send(&self) -> Result<(), StoreError> {
        let Inner { tally, figures, replica, outbox, .. } = &*self.inner;
        let mut outbox = outbox.lock().await;
        if let Some(flush) = &mut outbox.in_doubt {
            flush.held = tally.held();
            tally.show(figures.flush(flush).await?);
        }
        let number = outbox.last_number + 1;
        outbox.last_number = number;
        // Kept before it is sent: whoever waits for the answer may give up.
        let flush = outbox.in_doubt.insert(Flush {
            replica: Arc::clone(replica),
            number,
            held: tally.held(),
            deltas: tally.take(),
        });
        tally.show(figures.flush(flush).await?);
        outbox.in_doubt = None;
        Ok(())
    }

    /// Everything the fleet has counted, with what this process has until now.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn read(&self) -> Result<FleetFigures, StoreError> {
        self.flush().await?;
        self.inner.figures.read().await
    }

    /// How telling goes.
    #[must_use]
    pub fn status(&self) -> ReporterStatus {
        self.inner.status.lock().clone()
    }

    async fn flush_and_note(&self) {
        let was_well = self.status().error.is_none();
        match self.flush().await {
            Err(error) if was_well => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the fleet cannot be told what was counted: it is kept for later"
                );
            }
            Ok(()) if !was_well => tracing::info!("the fleet was told what was counted meanwhile"),
            _ => {}
        }
    }
}

// === impl Flushing ===

impl Flushing {
    /// Tells the last of what was counted, and that this process holds nothing any more. Gives up
    /// after two seconds.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let Inner { figures, replica, .. } = &*self.reporter.inner;
        let last = async {
            self.reporter.flush_and_note().await;
            if let Err(error) = figures.depart(replica).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the figures could not be told that this replica departs"
                );
            }
        };
        if tokio::time::timeout(LAST_PATIENCE, last).await.is_err() {
            tracing::warn!("the store did not take the last figures in time: they are lost");
        }
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use sluice_store::{Gauges, MemoryFigures, Phase, StoreFuture, Total};
    use sluice_telemetry::Recorders;

    use super::*;

    /// Takes every flush, and answers only some.
    #[derive(Debug, Default)]
    struct Deaf {
        inner: MemoryFigures,
        unanswered: AtomicUsize,
    }

    impl Figures for Deaf {
        fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>> {
            let answer = self.inner.flush(flush);
            let goes_unanswered = self
                .unanswered
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            if goes_unanswered {
                StoreFuture::ready(Err(StoreError::Timeout { within: FLUSH_EVERY }))
            } else {
                answer
            }
        }

        fn read(&self) -> StoreFuture<'_, Result<FleetFigures, StoreError>> {
            self.inner.read()
        }

        fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>> {
            self.inner.depart(replica)
        }
    }

    fn reporter(figures: &Arc<Deaf>) -> (Tally, Reporter) {
        let tally = Tally::new(&Recorders::disabled());
        (tally.clone(), Reporter::new(tally, Arc::clone(figures) as Arc<dyn Figures>, "one"))
    }

    async fn requests(figures: &Deaf) -> u64 {
        figures.read().await.unwrap().totals.get(Total::HttpRequests)
    }

    #[tokio::test]
    async fn what_was_not_answered_is_told_again_and_counts_once() {
        let figures = Arc::new(Deaf::default());
        let (tally, reporter) = reporter(&figures);
        figures.unanswered.store(3, Ordering::SeqCst);
        for _ in 0..5 {
            tally.add(Total::HttpRequests, 1);
            tally.deployment(None, Phase::Started);
            let told = reporter.flush().await;
            assert_eq!(told.is_err(), reporter.status().error.is_some());
        }
        let fleet = figures.read().await.unwrap();
        assert_eq!(
            (fleet.totals.get(Total::HttpRequests), fleet.gauges.active_deployments),
            (5, 5)
        );
        assert!(reporter.status().last_flush.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_flushes_every_second_and_once_more_when_it_stops() {
        let figures = Arc::new(Deaf::default());
        let (tally, reporter) = reporter(&figures);
        let flushing = reporter.start();
        tally.add(Total::HttpRequests, 1);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(requests(&figures).await, 1);
        tally.add(Total::HttpRequests, 1);
        assert_eq!(requests(&figures).await, 1, "nobody is told at once");
        flushing.stop().await;
        assert_eq!(requests(&figures).await, 2);
        assert!(figures.read().await.unwrap().replicas.is_empty());
    }

    #[tokio::test]
    async fn a_reader_sees_what_was_counted_until_then() {
        let figures = Arc::new(Deaf::default());
        let (tally, reporter) = reporter(&figures);
        tally.http_answered(200, Duration::from_millis(2));
        tally.http_answered(404, Duration::from_millis(3));
        tally.http_answered(503, Duration::ZERO);
        let totals = reporter.read().await.unwrap().totals;
        let told = [
            Total::HttpRequests,
            Total::HttpMicros,
            Total::HttpClientErrors,
            Total::HttpServerErrors,
        ]
        .map(|total| totals.get(total));
        assert_eq!(told, [3, 5_000, 1, 1]);
    }
}
