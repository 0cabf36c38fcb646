//! Conversions between the numbers of counters, gauges and stores.

use std::time::{Duration, Instant};

use sluice_core::Timestamp;

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds since the Unix epoch.
pub(crate) const fn unix_millis(time: Timestamp) -> i64 {
    time.unix_micros().div_euclid(1_000)
}

/// The nearest integer that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is out of range becomes the nearest integer in range"
)]
pub(crate) fn nearest(value: f64) -> u64 {
    value.round() as u64
}

/// A count that a store keeps as a signed integer; negative ones read as 0.
pub(crate) fn not_negative(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// When `instant` was, by a store's clock that shows `now`.
pub(crate) fn store_time(now: Timestamp, instant: Instant) -> Timestamp {
    let age = i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(now.unix_micros().saturating_sub(age))
}
