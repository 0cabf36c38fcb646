//! Records a store's round trips and the state of its circuit breaker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sluice_store::{BreakerState, ObserveRoundTrips, RoundTrip, StoreErrorKind};
use sluice_telemetry::{BreakerLabel, RoundTripResult, StoreErrorLabel, StoreRecorder};

/// The time between two log lines about buckets that cannot be read: one cause affects many.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Records every round trip of a store as metrics, and logs that buckets cannot be read.
#[derive(Clone, Debug)]
pub struct MeteredRoundTrips {
    recorder: StoreRecorder,
    unreadable_log: Arc<UnreadableLog>,
}

/// Writes a log line at most once in [`LOG_EVERY`].
#[derive(Debug)]
struct UnreadableLog {
    started: Instant,
    /// When the next line may be written, in milliseconds since `started`.
    next_ms: AtomicU64,
    /// The checks since the last line.
    checks: AtomicU64,
}

impl MeteredRoundTrips {
    /// Creates an observer that records with `recorder`.
    #[must_use]
    pub fn new(recorder: StoreRecorder) -> Self {
        let unreadable_log = UnreadableLog {
            started: Instant::now(),
            next_ms: AtomicU64::new(0),
            checks: AtomicU64::new(0),
        };
        Self { recorder, unreadable_log: Arc::new(unreadable_log) }
    }

    /// Records that the store's circuit breaker is now in `state`.
    pub fn breaker(&self, state: BreakerState) {
        self.recorder.set_breaker(match state {
            BreakerState::Closed => BreakerLabel::Closed,
            BreakerState::HalfOpen => BreakerLabel::HalfOpen,
            BreakerState::Open => BreakerLabel::Open,
        });
    }
}

impl ObserveRoundTrips for MeteredRoundTrips {
    fn observe(&self, round_trip: &RoundTrip<'_>) {
        let result = match round_trip.error {
            Some(_) => RoundTripResult::Failure,
            None => RoundTripResult::Success,
        };
        self.recorder.round_trip(result, round_trip.duration, round_trip.checks as u64);
        if let Some(error) = round_trip.error {
            self.recorder.error(error_label(error.kind()));
        }
        if round_trip.unreadable > 0 {
            let checks = round_trip.unreadable as u64;
            self.recorder.errors(StoreErrorLabel::Unreadable, checks);
            self.unreadable_log.add(checks);
        }
    }
}

impl UnreadableLog {
    fn add(&self, checks: u64) {
        self.checks.fetch_add(checks, Ordering::Relaxed);
        let now = self.started.elapsed();
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let next = self.next_ms.load(Ordering::Relaxed);
        let then = millis(now + LOG_EVERY);
        let is_due = millis(now) >= next
            && self
                .next_ms
                .compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            tracing::error!(
                checks = self.checks.swap(0, Ordering::Relaxed),
                "buckets in the store cannot be read: a newer version of Sluice, or another \
                 program, wrote them. They are decided as `on_store_failure` says, so their \
                 clients may get more than their limits. Upgrade this replica, or stop the other \
                 version"
            );
        }
    }
}

fn error_label(kind: StoreErrorKind) -> StoreErrorLabel {
    match kind {
        StoreErrorKind::Timeout => StoreErrorLabel::Timeout,
        StoreErrorKind::Unreachable => StoreErrorLabel::Unreachable,
        StoreErrorKind::BreakerOpen => StoreErrorLabel::BreakerOpen,
        StoreErrorKind::Refused => StoreErrorLabel::Refused,
        StoreErrorKind::Unreadable => StoreErrorLabel::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_store::StoreError;
    use sluice_telemetry::Telemetry;

    use super::*;

    #[test]
    fn round_trips_failures_and_the_breaker_state_are_recorded() {
        let telemetry = Telemetry::builder().build().unwrap();
        let metered = MeteredRoundTrips::new(telemetry.recorders().store.clone());
        let within = Duration::from_millis(25);
        metered.observe(&RoundTrip::new(3, Duration::from_millis(1), None));
        metered.observe(&RoundTrip::new(2, within, Some(&StoreError::Timeout { within })));
        let mut partly_read = RoundTrip::new(4, Duration::ZERO, None);
        partly_read.unreadable = 2;
        metered.observe(&partly_read);
        metered.breaker(BreakerState::Open);
        let text = telemetry.prometheus().render().unwrap();
        for line in [
            r#"sluice_store_round_trips_total{result="success"} 2"#,
            r#"sluice_store_round_trips_total{result="failure"} 1"#,
            r#"sluice_store_errors_total{kind="timeout"} 1"#,
            r#"sluice_store_errors_total{kind="unreachable"} 0"#,
            r#"sluice_store_errors_total{kind="unreadable"} 2"#,
            r#"sluice_store_breaker_state{state="open"} 1"#,
            r#"sluice_store_breaker_state{state="closed"} 0"#,
            "sluice_store_batch_checks_sum 9",
            "sluice_store_round_trip_duration_seconds_sum 0.026",
        ] {
            assert!(text.contains(line), "{line} is missing from\n{text}");
        }
    }

    #[test]
    fn every_error_kind_keeps_its_name_as_a_label() {
        use StoreErrorKind::{BreakerOpen, Refused, Timeout, Unreachable, Unreadable};
        for kind in [Timeout, Unreachable, BreakerOpen, Refused, Unreadable] {
            assert_eq!(error_label(kind).as_str(), kind.as_str());
        }
    }
}
