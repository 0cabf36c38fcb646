//! Records a store's round trips and the state of its circuit breaker.

use sluice_store::{BreakerState, ObserveRoundTrips, RoundTrip, StoreErrorKind};
use sluice_telemetry::{BreakerLabel, RoundTripResult, StoreErrorLabel, StoreRecorder};

/// Records every round trip of a store as metrics.
#[derive(Clone, Debug)]
pub struct MeteredRoundTrips {
    recorder: StoreRecorder,
}

impl MeteredRoundTrips {
    /// Creates an observer that records with `recorder`.
    #[must_use]
    pub const fn new(recorder: StoreRecorder) -> Self {
        Self { recorder }
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
        metered.breaker(BreakerState::Open);
        let text = telemetry.prometheus().render().unwrap();
        for line in [
            r#"sluice_store_round_trips_total{result="success"} 1"#,
            r#"sluice_store_round_trips_total{result="failure"} 1"#,
            r#"sluice_store_errors_total{kind="timeout"} 1"#,
            r#"sluice_store_errors_total{kind="unreachable"} 0"#,
            r#"sluice_store_breaker_state{state="open"} 1"#,
            r#"sluice_store_breaker_state{state="closed"} 0"#,
            "sluice_store_batch_checks_sum 5",
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
