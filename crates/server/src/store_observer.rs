//! Observes the store, and records its state as metrics.

use std::time::Duration;

use sluice_store::{BreakerState, StoreErrorKind};
use sluice_telemetry::{BreakerLabel, Recorders, StoreErrorLabel};
use tokio::time::{MissedTickBehavior, interval};

use crate::store::OpenStore;

/// How often the state of the store is recorded: several times between two scrapes.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// Records the state of `store` periodically, until the future is dropped.
pub(crate) async fn observe(store: OpenStore, recorders: Recorders) {
    let mut interval = interval(RECORD_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut recorded = Recorded::default();
    loop {
        interval.tick().await;
        recorded.update(&store, &recorders);
    }
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
}

impl Recorded {
    /// Records the state of the store.
    fn update(&mut self, store: &OpenStore, recorders: &Recorders) {
        if let Some(failover) = store.watched.observe() {
            recorders.store.set_breaker(breaker_label(failover.breaker));
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
        if let Some(open) = store.watched.open_connections() {
            recorders.system.set_database_connections(open as u64);
        }
    }
}

/// Returns the increase of a total since `last`, and updates `last`.
fn increase(last: &mut u64, now: u64) -> u64 {
    now - std::mem::replace(last, now)
}

fn breaker_label(breaker: BreakerState) -> BreakerLabel {
    match breaker {
        BreakerState::Closed => BreakerLabel::Closed,
        BreakerState::HalfOpen => BreakerLabel::HalfOpen,
        BreakerState::Open => BreakerLabel::Open,
    }
}
