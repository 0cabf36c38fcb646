//! What a round trip to a store was like, for whoever measures.

use std::time::Duration;

use crate::StoreError;

/// A round trip to a store that has ended.
#[derive(Debug)]
pub struct Trip<'a> {
    /// How many checks it carried.
    pub checks: usize,
    /// From leaving to coming back, or to giving up.
    pub took: Duration,
    /// Why it brought no answer.
    pub error: Option<&'a StoreError>,
}

/// Is told of every round trip. Called on the request's way: it must be quick.
pub trait ObserveTrips: Send + Sync + 'static {
    /// `trip` has ended.
    fn observe(&self, trip: &Trip<'_>);
}

/// Nobody measures.
impl ObserveTrips for () {
    fn observe(&self, _: &Trip<'_>) {}
}

impl<F: Fn(&Trip<'_>) + Send + Sync + 'static> ObserveTrips for F {
    fn observe(&self, trip: &Trip<'_>) {
        self(trip);
    }
}
