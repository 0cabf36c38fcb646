//! Records a store's round trips.

use sluice_store::{ObserveTrips, StoreErrorKind, Trip};
use sluice_telemetry::{RoundTrip, StoreFault, StoreRecorder};

/// Hands every round trip of a store to the recorder of round trips.
#[derive(Clone, Debug)]
pub struct MeteredTrips {
    recorder: StoreRecorder,
}

impl MeteredTrips {
    /// Records with `recorder`.
    #[must_use]
    pub const fn new(recorder: StoreRecorder) -> Self {
        Self { recorder }
    }
}

impl ObserveTrips for MeteredTrips {
    fn observe(&self, trip: &Trip<'_>) {
        let result = if trip.error.is_some() { RoundTrip::Failure } else { RoundTrip::Success };
        self.recorder.round_trip(result, trip.took, trip.checks as u64);
        if let Some(error) = trip.error {
            self.recorder.error(fault(error.kind()));
        }
    }
}

fn fault(kind: StoreErrorKind) -> StoreFault {
    match kind {
        StoreErrorKind::Timeout => StoreFault::Timeout,
        StoreErrorKind::BreakerOpen => StoreFault::BreakerOpen,
        StoreErrorKind::Refused => StoreFault::Refused,
        StoreErrorKind::Unreadable => StoreFault::Unreadable,
        _ => StoreFault::Unreachable,
    }
}
