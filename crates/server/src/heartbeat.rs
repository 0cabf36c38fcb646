//! Tells the fleet that this replica lives, and the metrics how the store and the fleet are.

use std::time::Duration;

use sluice_store::{BreakerState, Replica, StoreErrorKind};
use sluice_telemetry::{Breaker, Recorders, Scope, StoreFault};
use tokio::time::{MissedTickBehavior, interval};

use crate::store::OpenStore;

/// How often a replica announces itself. Three in a row may be lost before it counts as gone.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(4);
/// How often the store is looked at: several times between two scrapes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Announces `replica` in `store`, and again and again, until it is dropped. The store's answer, the size of the fleet, also tells what stands
/// in for the store how large this replica's share is.
pub(crate) async fn beat(store: OpenStore, replica: Replica, recorders: Recorders) {
    let mut announce = interval(ANNOUNCE_EVERY);
    let mut look = interval(LOOK_EVERY);
    for interval in [&mut announce, &mut look] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut untried = 0;
    loop {
        tokio::select! {
            _ = announce.tick() => match store.store.announce(&replica).await {
                Ok(fleet) => recorders.replica.replicas_live(fleet.size() as u64),
                // Whatever keeps it away is logged once, where it is first noticed.
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "the replica could not announce itself"),
            },
            _ = look.tick() => record(&store, &recorders, &mut untried),
        }
    }
}

/// Records how the store is; `untried` is how many calls the breaker had kept from it when that was last recorded.
fn record(store: &OpenStore, recorders: &Recorders, untried: &mut u64) {
    if let Some(observation) = store.watched.observe() {
        recorders.store.breaker(state(observation.breaker));
        // Failures of calls that were made are recorded with their round trips.
        let now = observation.errors_of(StoreErrorKind::BreakerOpen);
        recorders.store.errors(StoreFault::BreakerOpen, now - *untried);
        *untried = now;
    }
    if let Some(open) = store.watched.open_connections() {
        recorders.system.database_connections(Scope::Replica, open as u64);
    }
}

fn state(breaker: BreakerState) -> Breaker {
    match breaker {
        BreakerState::Closed => Breaker::Closed,
        BreakerState::HalfOpen => Breaker::HalfOpen,
        _ => Breaker::Open,
    }
}
