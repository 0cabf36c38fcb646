//! What a round trip to a store was like, for whoever measures.

use std::time::Duration;

use crate::StoreError;

/// A round trip to a store that has ended.
#[derive(Debug)]
pub struct RoundTrip<'a> {
    /// How many checks it carried.
    pub checks: usize,
    /// From leaving to coming back, or to giving up.
    pub duration: Duration,
    /// Why it brought no answer.
    pub error: Option<&'a StoreError>,
}

/// Is told of every round trip. Called on the request's way: it must be quick.
pub trait ObserveRoundTrips: Send + Sync + 'static {
    /// `trip` has ended.
    fn observe(&self, trip: &RoundTrip<'_>);
}

/// Nobody measures.
impl ObserveRoundTrips for () {
    fn observe(&self, _: &RoundTrip<'_>) {}
}

impl<F: Fn(&RoundTrip<'_>) + Send + Sync + 'static> ObserveRoundTrips for F {
    fn observe(&self, trip: &RoundTrip<'_>) {
        self(trip);
    }
}
