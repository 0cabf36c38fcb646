//! Observes the store, and records its state as metrics.

use std::time::Duration;

use sluice_store::{BreakerState, ColdStart, StoreErrorKind};
use sluice_telemetry::{BreakerLabel, Recorders, StoreErrorLabel};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::store::OpenStore;

/// How often the state of the store is recorded: several times between two scrapes.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// How often the server is asked what it does when its memory is full.
const READ_MEMORY_EVERY: Duration = Duration::from_secs(5);
/// How long it may take to respond to that.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(5);

/// Records the state of `store` periodically, until the future is dropped.
pub(crate) async fn observe(store: OpenStore, recorders: Recorders) {
    tokio::join!(
        record_state(&store, &recorders),
        watch_memory(&store, &recorders),
        store.watch.wait_for_listing()
    );
}

async fn record_state(store: &OpenStore, recorders: &Recorders) {
    let mut interval = every(RECORD_EVERY);
    let mut recorded = Recorded::default();
    loop {
        interval.tick().await;
        recorded.update(store, recorders);
    }
}

/// Watches whether the server evicts buckets, and logs each change.
async fn watch_memory(store: &OpenStore, recorders: &Recorders) {
    let OpenStore { watched, watch, .. } = store;
    let mut interval = every(READ_MEMORY_EVERY);
    let mut logged = None;
    loop {
        interval.tick().await;
        // While the server does not respond, what it said last stands.
        let Ok(Ok(memory)) = timeout(MEMORY_TIMEOUT, watched.server_memory()).await else {
            continue;
        };
        watch.contacted();
        let evicted = watch.memory_read(memory);
        let risk = watch.eviction_risk();
        recorders.store.add_evicted_keys(evicted);
        recorders.store.set_may_evict(risk.is_some());
        if risk != logged {
            let policy = watch.policy();
            match risk {
                Some(risk) => tracing::warn!(policy, "{}", risk.as_str()),
                None => tracing::info!(policy, "the server does not evict buckets any more"),
            }
            logged = risk;
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The totals that were recorded last, so that only their increase is recorded next.
#[derive(Debug, Default)]
struct Recorded {
    /// Calls that the circuit breaker did not let through to the store.
    blocked_calls: u64,
    /// Calls that ended before their round trip did.
    unanswered: u64,
    charged_tokens: u64,
    dropped_tokens: u64,
    lost_partitions: u64,
}

impl Recorded {
    /// Records the state of the store.
    fn update(&mut self, store: &OpenStore, recorders: &Recorders) {
        if let Some(failover) = store.watched.observe() {
            recorders.store.set_breaker(breaker_label(failover.breaker));
            recorders.store.set_unavailable_nodes(failover.unavailable_nodes as u64);
            // Errors that a round trip ended with are recorded with it. Here are those that no
            // round trip knows of.
            recorders.store.errors(
                StoreErrorLabel::Timeout,
                increase(&mut self.unanswered, failover.unanswered),
            );
            recorders.store.errors(
                StoreErrorLabel::BreakerOpen,
                increase(&mut self.blocked_calls, failover.errors_of(StoreErrorKind::BreakerOpen)),
            );
            recorders.store.set_owed_buckets(failover.owed_buckets as u64);
            recorders
                .store
                .add_charged_tokens(increase(&mut self.charged_tokens, failover.charged_tokens));
            recorders
                .store
                .add_dropped_tokens(increase(&mut self.dropped_tokens, failover.dropped_tokens));
        }
        if let Some((lost, cold_start)) = store.watched.lost_memory() {
            let lost = increase(&mut self.lost_partitions, lost);
            recorders.store.add_lost_partitions(lost);
            if lost > 0 {
                tracing::warn!(partitions = lost, "{}", what_a_loss_means(cold_start));
            }
        }
        if let Some(denials) = store.watched.denials() {
            recorders.store.set_cached_denials(denials.entries as u64);
            recorders.store.set_reported_partitions(denials.reported_partitions as u64);
        }
        if let Some(open) = store.watched.open_connections() {
            recorders.system.set_database_connections(open as u64);
        }
    }
}

/// Returns the increase of a total since `last`, and updates `last`.
fn increase(last: &mut u64, now: u64) -> u64 {
    now - std::mem::replace(last, now)
}

fn what_a_loss_means(cold_start: ColdStart) -> &'static str {
    match cold_start {
        ColdStart::Full => {
            "the store has lost its memory, as after a flush or a restart without its data: every \
             client has a full bucket now"
        }
        ColdStart::Empty => {
            "the store has lost its memory, as after a flush or a restart without its data: every \
             client has an empty bucket now, which refills"
        }
    }
}

fn breaker_label(breaker: BreakerState) -> BreakerLabel {
    match breaker {
        BreakerState::Closed => BreakerLabel::Closed,
        BreakerState::HalfOpen => BreakerLabel::HalfOpen,
        BreakerState::Open => BreakerLabel::Open,
    }
}
