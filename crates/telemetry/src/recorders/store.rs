//! Round trips to the store, what went wrong with them, and the breaker before it.

use std::time::Duration;

use opentelemetry::metrics::{BoundCounter, BoundGauge, BoundHistogram, Meter};

use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, label_values},
};

label_values! {
    /// How a round trip ended.
    pub enum RoundTripResult {
        /// The store answered.
        Success => "success",
        /// It did not, or not usefully.
        Failure => "failure",
    }
}

label_values! {
    /// What was wrong when the store failed.
    pub enum StoreErrorLabel {
        /// No answer within the deadline.
        Timeout => "timeout",
        /// No connection, or one that broke.
        Unreachable => "unreachable",
        /// Known to be away, so it was not asked.
        BreakerOpen => "breaker_open",
        /// It answers, but refuses: read-only, out of memory, loading, no permission.
        Refused => "refused",
        /// Its answer made no sense.
        Unreadable => "unreadable",
    }
}

label_values! {
    /// The breaker before the store.
    pub enum BreakerLabel {
        /// Checks go to the store.
        Closed => "closed",
        /// One check at a time asks whether the store is back.
        HalfOpen => "half_open",
        /// The store is left alone.
        Open => "open",
    }
}

const RESULT: Label = Label::fixed("result", RoundTripResult::WORDS);
const KIND: Label = Label::fixed("kind", StoreErrorLabel::WORDS);
const STATE: Label = Label::fixed("state", BreakerLabel::WORDS);

const ROUND_TRIPS: Metric = Metric {
    name: "sluice_store_round_trips_total",
    kind: MetricKind::Counter,
    unit: "{round_trip}",
    labels: &[RESULT],
    help: "Round trips to the store, by result.",
    query: "sum by (result) (rate(sluice_store_round_trips_total[5m]))",
};

const ROUND_TRIP_DURATION: Metric = Metric {
    name: "sluice_store_round_trip_duration_seconds",
    kind: MetricKind::Histogram(&[
        1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 1e-1, 2.5e-1, 1.0,
    ]),
    unit: "s",
    labels: &[],
    help: "Time of a round trip to the store, failed ones included.",
    query: "histogram_quantile(0.99, sum by (le) (rate(sluice_store_round_trip_duration_seconds_bucket[5m])))",
};

const BATCH_CHECKS: Metric = Metric {
    name: "sluice_store_batch_checks",
    kind: MetricKind::Histogram(&[
        1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0,
    ]),
    unit: "{check}",
    labels: &[],
    help: "Checks carried by one round trip to the store.",
    query: "rate(sluice_store_batch_checks_sum[5m]) / rate(sluice_store_batch_checks_count[5m])",
};

const ERRORS: Metric = Metric {
    name: "sluice_store_errors_total",
    kind: MetricKind::Counter,
    unit: "{error}",
    labels: &[KIND],
    help: "Failures of the store, by kind.",
    query: "sum by (kind) (rate(sluice_store_errors_total[5m]))",
};

const BREAKER_STATE: Metric = Metric {
    name: "sluice_store_breaker_state",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[STATE],
    help: "1 for the state the breaker before the store is in, 0 for the others.",
    query: r#"max by (instance) (sluice_store_breaker_state{state="open"}) == 1"#,
};

const OWED_BUCKETS: Metric = Metric {
    name: "sluice_store_owed_buckets",
    kind: MetricKind::Gauge,
    unit: "{bucket}",
    labels: &[],
    help: "Buckets in the store that this replica has still to charge for what it admitted while the store was away.",
    query: "sum(sluice_store_owed_buckets)",
};

const CHARGED_TOKENS: Metric = Metric {
    name: "sluice_store_charged_tokens_total",
    kind: MetricKind::Counter,
    unit: "{token}",
    labels: &[],
    help: "Tokens admitted while the store was away and charged to its buckets afterwards.",
    query: "sum(increase(sluice_store_charged_tokens_total[1h]))",
};

const DROPPED_TOKENS: Metric = Metric {
    name: "sluice_store_dropped_tokens_total",
    kind: MetricKind::Counter,
    unit: "{token}",
    labels: &[],
    help: "Tokens admitted while the store was away that will never be charged: too many buckets owed some, or the store could not read one.",
    query: "sum(increase(sluice_store_dropped_tokens_total[1h])) > 0",
};

pub(crate) const METRICS: &[Metric] = &[
    ROUND_TRIPS,
    ROUND_TRIP_DURATION,
    BATCH_CHECKS,
    ERRORS,
    BREAKER_STATE,
    OWED_BUCKETS,
    CHARGED_TOKENS,
    DROPPED_TOKENS,
];

/// Records what passes between a replica and its store.
#[derive(Clone, Debug)]
pub struct StoreRecorder {
    round_trips: [BoundCounter<u64>; RoundTripResult::ALL.len()],
    duration: BoundHistogram<f64>,
    batch_checks: BoundHistogram<u64>,
    errors: [BoundCounter<u64>; StoreErrorLabel::ALL.len()],
    breaker: [BoundGauge<u64>; BreakerLabel::ALL.len()],
    owed_buckets: BoundGauge<u64>,
    charged_tokens: BoundCounter<u64>,
    dropped_tokens: BoundCounter<u64>,
}

impl StoreRecorder {
    /// A recorder on `meter`, with the breaker closed and nothing owed.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let round_trips = ROUND_TRIPS.counter(meter);
        let errors = ERRORS.counter(meter);
        let breaker = BREAKER_STATE.gauge(meter);
        let recorder = Self {
            round_trips: std::array::from_fn(|place| {
                round_trips.bind(&[RESULT.with(RoundTripResult::WORDS[place])])
            }),
            duration: ROUND_TRIP_DURATION.durations(meter).bind(&[]),
            batch_checks: BATCH_CHECKS.sizes(meter).bind(&[]),
            errors: std::array::from_fn(|place| {
                errors.bind(&[KIND.with(StoreErrorLabel::WORDS[place])])
            }),
            breaker: std::array::from_fn(|place| {
                breaker.bind(&[STATE.with(BreakerLabel::WORDS[place])])
            }),
            owed_buckets: OWED_BUCKETS.gauge(meter).bind(&[]),
            charged_tokens: CHARGED_TOKENS.counter(meter).bind(&[]),
            dropped_tokens: DROPPED_TOKENS.counter(meter).bind(&[]),
        };
        recorder.set_breaker(BreakerLabel::Closed);
        recorder.set_owed_buckets(0);
        recorder
    }

    /// A round trip that carried `checks` checks ended after `took`.
    pub fn round_trip(&self, result: RoundTripResult, took: Duration, checks: u64) {
        self.round_trips[result.place()].add(1);
        self.duration.record(took.as_secs_f64());
        self.batch_checks.record(checks);
    }

    /// The store failed.
    pub fn error(&self, fault: StoreErrorLabel) {
        self.errors[fault.place()].add(1);
    }

    /// The store failed `count` times.
    pub fn errors(&self, fault: StoreErrorLabel, count: u64) {
        self.errors[fault.place()].add(count);
    }

    /// The breaker is now in this state.
    pub fn set_breaker(&self, state: BreakerLabel) {
        for each in BreakerLabel::ALL {
            self.breaker[each.place()].record(u64::from(*each == state));
        }
    }

    /// This many buckets are to be charged once the store is back.
    pub fn set_owed_buckets(&self, buckets: u64) {
        self.owed_buckets.record(buckets);
    }

    /// This many more tokens, admitted without the store, were charged to it.
    pub fn add_charged_tokens(&self, tokens: u64) {
        self.charged_tokens.add(tokens);
    }

    /// This many more tokens, admitted without the store, will never be charged.
    pub fn add_dropped_tokens(&self, tokens: u64) {
        self.dropped_tokens.add(tokens);
    }
}
