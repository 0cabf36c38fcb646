//! What a bucket holds as far as a replica knows.

use std::time::Duration;

use sluice_core::{Rate, Timestamp};

/// What a bucket holds as far as the replica knows: within a block of what it does hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// The tokens in the replica's leases, and in the bucket at the last round trip.
    pub(crate) remaining: u64,
    /// How long the bucket needs until it is full.
    pub(crate) reset_in: Duration,
    /// The store's time.
    pub(crate) at: Timestamp,
}

impl Estimate {
    /// Estimates a bucket of `rate` that holds `remaining` tokens, its burst at most.
    pub(super) fn new(rate: &Rate, remaining: u64, at: Timestamp) -> Self {
        let remaining = remaining.min(rate.burst());
        Self { remaining, reset_in: refilled_in(rate, rate.burst() - remaining), at }
    }

    /// Returns the estimate after `tokens` were put back.
    pub(super) fn with(self, rate: &Rate, tokens: u64) -> Self {
        Self::new(rate, self.remaining.saturating_add(tokens), self.at)
    }
}

/// Returns the time in which `tokens` come back, in whole microseconds, rounded up.
pub(super) fn refilled_in(rate: &Rate, tokens: u64) -> Duration {
    let span = rate.span_of(tokens);
    let micros = u64::try_from(span.micros).unwrap_or(0);
    Duration::from_micros(micros + u64::from(span.fraction > 0))
}
