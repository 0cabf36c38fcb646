//! Reports on round trips to a store, for metrics.

use std::time::Duration;

use crate::StoreError;

/// A round trip to a store that has ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct RoundTrip<'a> {
    /// The number of checks that it carried.
    pub checks: usize,
    /// The time from sending the call until its reply arrived or the store gave up.
    pub duration: Duration,
    /// The error, if the round trip failed.
    pub error: Option<&'a StoreError>,
    /// The checks that were not decided since a bucket's state cannot be read: another version of
    /// the program wrote it. The round trip itself did not fail.
    pub unreadable: usize,
}

impl<'a> RoundTrip<'a> {
    /// Makes the report of a round trip that carried `checks` checks.
    #[must_use]
    pub const fn new(checks: usize, duration: Duration, error: Option<&'a StoreError>) -> Self {
        Self { checks, duration, error, unreadable: 0 }
    }
}

/// Receives a report of every round trip to a store.
///
/// Closures implement it, and so does `()`, which ignores the reports.
pub trait ObserveRoundTrips: Send + Sync + 'static {
    /// Receives the report of one round trip. Requests wait while it runs, so it must be quick.
    fn observe(&self, round_trip: &RoundTrip<'_>);
}

impl ObserveRoundTrips for () {
    fn observe(&self, _: &RoundTrip<'_>) {}
}

impl<F: Fn(&RoundTrip<'_>) + Send + Sync + 'static> ObserveRoundTrips for F {
    fn observe(&self, round_trip: &RoundTrip<'_>) {
        self(round_trip);
    }
}
