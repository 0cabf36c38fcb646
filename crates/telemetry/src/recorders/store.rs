//! Round trips to the store, their errors, and the circuit breaker in front of it.

use std::time::Duration;

use opentelemetry::metrics::{BoundCounter, BoundGauge, BoundHistogram, Meter};

use crate::{
    labels::label_values,
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// How a round trip ended.
    pub enum RoundTripResult {
        /// The store sent a usable reply.
        Success => "success",
        /// The store sent no reply, or an unusable one.
        Failure => "failure",
    }
}

label_values! {
    /// The kind of a store error.
    pub enum StoreErrorLabel {
        /// No reply came before the deadline of the round trip, or of a caller.
        Timeout => "timeout",
        /// There was no connection, or it broke.
        Unreachable => "unreachable",
        /// The circuit breaker is open, so no request was sent.
        BreakerOpen => "breaker_open",
        /// The store refused the command: it is read-only, out of memory or loading, or it grants
        /// no permission.
        Refused => "refused",
        /// The reply could not be understood.
        Unreadable => "unreadable",
    }
}

label_values! {
    /// The state of the circuit breaker in front of the store.
    pub enum BreakerLabel {
        /// Checks go to the store.
        Closed => "closed",
        /// One check at a time goes to the store, to find out whether it is available again.
        HalfOpen => "half_open",
        /// No check goes to the store.
        Open => "open",
    }
}

const RESULT: Label = Label::fixed("result", RoundTripResult::TEXTS);
const KIND: Label = Label::fixed("kind", StoreErrorLabel::TEXTS);
const STATE: Label = Label::fixed("state", BreakerLabel::TEXTS);

const ROUND_TRIPS: Metric = Metric {
    name: "sluice_store_round_trips_total",
    kind: MetricKind::Counter,
    unit: "{round_trip}",
    labels: &[RESULT],
    help: "Counts round trips to the store, by result.",
    query: "sum by (result) (rate(sluice_store_round_trips_total[5m]))",
};

const ROUND_TRIP_DURATION: Metric = Metric {
    name: "sluice_store_round_trip_duration_seconds",
    kind: MetricKind::Histogram(&[
        1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 1e-1, 2.5e-1, 1.0,
    ]),
    unit: "s",
    labels: &[],
    help: "Measures the duration of round trips to the store, failed ones included.",
    query: "histogram_quantile(0.99, \
            sum by (le) (rate(sluice_store_round_trip_duration_seconds_bucket[5m])))",
};

const BATCH_CHECKS: Metric = Metric {
    name: "sluice_store_batch_checks",
    kind: MetricKind::Histogram(&[
        1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0,
    ]),
    unit: "{check}",
    labels: &[],
    help: "Measures how many checks one round trip to the store carries.",
    query: "rate(sluice_store_batch_checks_sum[5m]) / rate(sluice_store_batch_checks_count[5m])",
};

const ERRORS: Metric = Metric {
    name: "sluice_store_errors_total",
    kind: MetricKind::Counter,
    unit: "{error}",
    labels: &[KIND],
    help: "Counts errors of the store, by kind: once for each round trip that failed, for each \
           check of a bucket that cannot be read (unreadable), and for each caller that waited no \
           longer for its reply (timeout) or was not let through to the store (breaker_open).",
    query: "sum by (kind) (rate(sluice_store_errors_total[5m]))",
};

const BREAKER_STATE: Metric = Metric {
    name: "sluice_store_breaker_state",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[STATE],
    help: "Is 1 for the current state of the circuit breaker in front of the store, and 0 for the \
           other states. Each node of a cluster has a breaker: this is the one that is worst off.",
    query: "max by (instance) (sluice_store_breaker_state{state=\"open\"}) == 1",
};

const UNAVAILABLE_NODES: Metric = Metric {
    name: "sluice_store_unavailable_nodes",
    kind: MetricKind::Gauge,
    unit: "{node}",
    labels: &[],
    help: "Shows the number of the store's nodes whose circuit breaker is not closed. Their \
           clients are decided locally; those of other nodes are not affected.",
    query: "max by (instance) (sluice_store_unavailable_nodes) > 0",
};

const OWED_BUCKETS: Metric = Metric {
    name: "sluice_store_owed_buckets",
    kind: MetricKind::Gauge,
    unit: "{bucket}",
    labels: &[],
    help: "Shows the number of buckets in the store that this replica has yet to charge for tokens \
           that it admitted while the store was not available.",
    query: "sum(sluice_store_owed_buckets)",
};

const CHARGED_TOKENS: Metric = Metric {
    name: "sluice_store_charged_tokens_total",
    kind: MetricKind::Counter,
    unit: "{token}",
    labels: &[],
    help: "Counts tokens that were admitted while the store was not available and were charged to \
           its buckets afterwards.",
    query: "sum(increase(sluice_store_charged_tokens_total[1h]))",
};

const DROPPED_TOKENS: Metric = Metric {
    name: "sluice_store_dropped_tokens_total",
    kind: MetricKind::Counter,
    unit: "{token}",
    labels: &[],
    help: "Counts tokens that were admitted while the store was not available and will never be \
           charged, because too many buckets had to be charged or the store could not read a \
           bucket.",
    query: "sum(increase(sluice_store_dropped_tokens_total[1h])) > 0",
};

const MAY_EVICT: Metric = Metric {
    name: "sluice_store_may_evict",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[],
    help: "Is 1 while the store's server may evict buckets, because its maxmemory-policy is not \
           noeviction or it has evicted keys in the last 5 minutes, and 0 otherwise or if it does \
           not say.",
    query: "max by (instance) (sluice_store_may_evict) == 1",
};

const EVICTED_KEYS: Metric = Metric {
    name: "sluice_store_evicted_keys_total",
    kind: MetricKind::Counter,
    unit: "{key}",
    labels: &[],
    help: "Counts keys that the store's server has evicted, of whatever program, since this \
           replica started. Every replica counts the same keys.",
    query: "max(increase(sluice_store_evicted_keys_total[15m])) > 0",
};

const MEMORY_LOST: Metric = Metric {
    name: "sluice_store_memory_lost_total",
    kind: MetricKind::Counter,
    unit: "{partition}",
    labels: &[],
    help: "Counts partitions of the store whose buckets it has forgotten since this replica \
           started, as after a flush or a restart without its data: 64 for each loss of a single \
           server. Every replica counts the same losses.",
    query: "max(increase(sluice_store_memory_lost_total[15m])) > 0",
};

const CACHED_BUCKETS: Metric = Metric {
    name: "sluice_denial_cache_buckets",
    kind: MetricKind::Gauge,
    unit: "{bucket}",
    labels: &[],
    help: "Shows the number of buckets that this replica knows from denials of the last 10 \
           seconds, so that clients that keep asking are denied without the store.",
    query: "sum(sluice_denial_cache_buckets)",
};

const REPORTED_PARTITIONS: Metric = Metric {
    name: "sluice_denial_cache_partitions",
    kind: MetricKind::Gauge,
    unit: "{partition}",
    labels: &[],
    help: "Shows for how many of the store's 64 partitions denials are cached: those of servers \
           that report to this replica to which buckets tokens are returned. It is 0 where the \
           store's user may not subscribe or publish.",
    query: "min by (instance) (sluice_denial_cache_partitions) < 64",
};

pub(crate) const METRICS: &[Metric] = &[
    ROUND_TRIPS,
    ROUND_TRIP_DURATION,
    BATCH_CHECKS,
    ERRORS,
    BREAKER_STATE,
    UNAVAILABLE_NODES,
    OWED_BUCKETS,
    CHARGED_TOKENS,
    DROPPED_TOKENS,
    MAY_EVICT,
    EVICTED_KEYS,
    MEMORY_LOST,
    CACHED_BUCKETS,
    REPORTED_PARTITIONS,
];

/// Records the traffic between a replica and its store.
#[derive(Clone, Debug)]
pub struct StoreRecorder {
    round_trips: [BoundCounter<u64>; RoundTripResult::ALL.len()],
    duration: BoundHistogram<f64>,
    batch_checks: BoundHistogram<u64>,
    errors: [BoundCounter<u64>; StoreErrorLabel::ALL.len()],
    breaker: [BoundGauge<u64>; BreakerLabel::ALL.len()],
    unavailable_nodes: BoundGauge<u64>,
    owed_buckets: BoundGauge<u64>,
    charged_tokens: BoundCounter<u64>,
    dropped_tokens: BoundCounter<u64>,
    may_evict: BoundGauge<u64>,
    evicted_keys: BoundCounter<u64>,
    memory_lost: BoundCounter<u64>,
    cached_buckets: BoundGauge<u64>,
    reported_partitions: BoundGauge<u64>,
}

impl StoreRecorder {
    /// Creates a recorder whose breaker is closed and which owes nothing.
    pub(super) fn new(meter: &Meter) -> Self {
        let round_trips = ROUND_TRIPS.counter(meter);
        let errors = ERRORS.counter(meter);
        let breaker = BREAKER_STATE.gauge(meter);
        let recorder = Self {
            round_trips: std::array::from_fn(|index| {
                round_trips.bind(&[RESULT.with(RoundTripResult::TEXTS[index])])
            }),
            duration: ROUND_TRIP_DURATION.durations(meter).bind(&[]),
            batch_checks: BATCH_CHECKS.sizes(meter).bind(&[]),
            errors: std::array::from_fn(|index| {
                errors.bind(&[KIND.with(StoreErrorLabel::TEXTS[index])])
            }),
            breaker: std::array::from_fn(|index| {
                breaker.bind(&[STATE.with(BreakerLabel::TEXTS[index])])
            }),
            unavailable_nodes: UNAVAILABLE_NODES.gauge(meter).bind(&[]),
            owed_buckets: OWED_BUCKETS.gauge(meter).bind(&[]),
            charged_tokens: CHARGED_TOKENS.counter(meter).bind(&[]),
            dropped_tokens: DROPPED_TOKENS.counter(meter).bind(&[]),
            may_evict: MAY_EVICT.gauge(meter).bind(&[]),
            evicted_keys: EVICTED_KEYS.counter(meter).bind(&[]),
            memory_lost: MEMORY_LOST.counter(meter).bind(&[]),
            cached_buckets: CACHED_BUCKETS.gauge(meter).bind(&[]),
            reported_partitions: REPORTED_PARTITIONS.gauge(meter).bind(&[]),
        };
        recorder.set_breaker(BreakerLabel::Closed);
        recorder.set_unavailable_nodes(0);
        recorder.set_owed_buckets(0);
        recorder.set_may_evict(false);
        recorder
    }

    /// Records a finished round trip that carried `checks` checks.
    pub fn round_trip(&self, result: RoundTripResult, duration: Duration, checks: u64) {
        self.round_trips[result.index()].add(1);
        self.duration.record(duration.as_secs_f64());
        self.batch_checks.record(checks);
    }

    /// Counts one error of the store.
    pub fn error(&self, kind: StoreErrorLabel) {
        self.errors(kind, 1);
    }

    /// Counts `count` errors of the store.
    pub fn errors(&self, kind: StoreErrorLabel, count: u64) {
        self.errors[kind.index()].add(count);
    }

    /// Sets the state of the circuit breaker.
    pub fn set_breaker(&self, state: BreakerLabel) {
        for each in BreakerLabel::ALL {
            self.breaker[each.index()].record(u64::from(*each == state));
        }
    }

    /// Sets the number of the store's nodes whose circuit breaker is not closed.
    pub fn set_unavailable_nodes(&self, nodes: u64) {
        self.unavailable_nodes.record(nodes);
    }

    /// Sets the number of buckets to charge once the store is available again.
    pub fn set_owed_buckets(&self, buckets: u64) {
        self.owed_buckets.record(buckets);
    }

    /// Sets whether the store's server may evict buckets.
    pub fn set_may_evict(&self, may: bool) {
        self.may_evict.record(u64::from(may));
    }

    /// Adds keys that the store's server has evicted.
    pub fn add_evicted_keys(&self, keys: u64) {
        self.evicted_keys.add(keys);
    }

    /// Adds partitions whose buckets the store has forgotten.
    pub fn add_lost_partitions(&self, partitions: u64) {
        self.memory_lost.add(partitions);
    }

    /// Sets how many buckets are known from denials.
    pub fn set_cached_denials(&self, buckets: u64) {
        self.cached_buckets.record(buckets);
    }

    /// Sets for how many partitions of the store denials are cached.
    pub fn set_reported_partitions(&self, partitions: u64) {
        self.reported_partitions.record(partitions);
    }

    /// Adds tokens that were admitted without the store and have now been charged to it.
    pub fn add_charged_tokens(&self, tokens: u64) {
        self.charged_tokens.add(tokens);
    }

    /// Adds tokens that were admitted without the store and will never be charged to it.
    pub fn add_dropped_tokens(&self, tokens: u64) {
        self.dropped_tokens.add(tokens);
    }
}
