//! Tells the fleet that this replica lives, and the metrics how the store and the fleet are.

use std::time::Duration;

use sluice_store::{BreakerState, Replica, StoreErrorKind};
use sluice_telemetry::{BreakerLabel, Recorders, StoreErrorLabel};
use tokio::time::{MissedTickBehavior, interval};

use crate::store::OpenStore;

/// How often a replica announces itself. Three in a row may be lost before it counts as gone.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(4);
/// How often the store is looked at: several times between two scrapes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Announces `replica` in `store`, and again and again, until it is dropped. The store's answer,
/// the size of the fleet, also tells what stands in for the store how large this replica's share
/// is.
pub(crate) async fn beat(store: OpenStore, replica: Replica, recorders: Recorders) {
    let mut announce = interval(ANNOUNCE_EVERY);
    let mut look = interval(LOOK_EVERY);
    for interval in [&mut announce, &mut look] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut recorded = Recorded::default();
    loop {
        tokio::select! {
            _ = announce.tick() => match store.store.announce(&replica).await {
                Ok(fleet) => recorders.replica.set_live_replicas(fleet.size() as u64),
                // Whatever keeps it away is logged once, where it is first noticed.
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the \
                    replica could not announce itself"),
            },
            _ = look.tick() => recorded.bring_up_to_date(&store, &recorders),
        }
    }
}

/// What is recorded of sums that only grow.
#[derive(Debug, Default)]
struct Recorded {
    /// Calls that the breaker kept from the store.
    untried: u64,
    charged_tokens: u64,
    dropped_tokens: u64,
}

impl Recorded {
    /// Records how the store is.
    fn bring_up_to_date(&mut self, store: &OpenStore, recorders: &Recorders) {
        if let Some(seen) = store.watched.observe() {
            recorders.store.set_breaker(state(seen.breaker));
            // Failures of calls that were made are recorded with their round trips.
            recorders.store.errors(
                StoreErrorLabel::BreakerOpen,
                grown(&mut self.untried, seen.errors_of(StoreErrorKind::BreakerOpen)),
            );
            recorders.store.set_owed_buckets(seen.owed_buckets as u64);
            recorders
                .store
                .add_charged_tokens(grown(&mut self.charged_tokens, seen.charged_tokens));
            recorders
                .store
                .add_dropped_tokens(grown(&mut self.dropped_tokens, seen.dropped_tokens));
        }
        if let Some(open) = store.watched.open_connections() {
            recorders.system.set_database_connections(open as u64);
        }
    }
}

/// By how much a sum is larger `now` than it was.
fn grown(then: &mut u64, now: u64) -> u64 {
    now - std::mem::replace(then, now)
}

fn state(breaker: BreakerState) -> BreakerLabel {
    match breaker {
        BreakerState::Closed => BreakerLabel::Closed,
        BreakerState::HalfOpen => BreakerLabel::HalfOpen,
        BreakerState::Open => BreakerLabel::Open,
    }
}
