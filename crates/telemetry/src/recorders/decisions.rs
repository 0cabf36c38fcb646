//! Decisions by limit, and the time that a check takes.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Meter},
};

use crate::{
    labels::{CappedValues, label_values},
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// What a limit decided.
    pub enum OutcomeLabel {
        /// The bucket held enough tokens.
        Allowed => "allowed",
        /// The bucket held too few tokens, and the request was denied.
        Denied => "denied",
        /// The bucket held too few tokens, but the limit is in shadow mode and denies nothing.
        ShadowDenied => "shadow_denied",
        /// The limit could not be decided.
        Error => "error",
    }
}

label_values! {
    /// Where a decision was made.
    pub enum SourceLabel {
        /// In the store, in memory or in Redis.
        Store => "store",
        /// In the replica, with tokens that the store had lent it.
        Lease => "lease",
        /// In the replica, because the store had denied the same bucket a moment before.
        Cache => "cache",
        /// In the replica alone, because the store was not available.
        Local => "local",
    }
}

const LIMIT: Label = Label::capped("limit", 500);
const OUTCOME: Label = Label::fixed("outcome", OutcomeLabel::TEXTS);
const SOURCE: Label = Label::fixed("source", SourceLabel::TEXTS);

const DECISIONS: Metric = Metric {
    name: "sluice_decisions_total",
    kind: MetricKind::Counter,
    unit: "{decision}",
    labels: &[LIMIT, OUTCOME, SOURCE],
    help: "Counts decisions, by limit, outcome and source; a check of several limits counts once \
           for each of them.",
    query: "sum by (limit, outcome) (rate(sluice_decisions_total[5m]))",
};

const CHECK_DURATION: Metric = Metric {
    name: "sluice_check_duration_seconds",
    kind: MetricKind::Histogram(&[
        1e-6, 1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 1e-1,
    ]),
    unit: "s",
    labels: &[SOURCE],
    help: "Measures the time from a check to its decision, by source, for checks that had to \
           wait; a decision in memory takes less than a microsecond.",
    query: "histogram_quantile(0.99, sum by (le) (rate(sluice_check_duration_seconds_bucket[5m])))",
};

pub(crate) const METRICS: &[Metric] = &[DECISIONS, CHECK_DURATION];

/// Counts decisions and measures the duration of checks.
#[derive(Clone, Debug)]
pub struct DecisionRecorder {
    decisions: Counter<u64>,
    limits: CappedValues,
    durations: [BoundHistogram<f64>; SOURCES],
}

/// Counts the decisions of one limit. Cheap to clone; keep it with the limit.
#[derive(Clone, Debug)]
pub struct BoundDecisions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    decisions: Counter<u64>,
    limit: StringValue,
    counters: [OnceLock<BoundCounter<u64>>; OUTCOMES * SOURCES],
}

const OUTCOMES: usize = OutcomeLabel::ALL.len();
const SOURCES: usize = SourceLabel::ALL.len();

// === impl DecisionRecorder ===

impl DecisionRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        let durations = CHECK_DURATION.durations(meter);
        Self {
            decisions: DECISIONS.counter(meter),
            limits: CappedValues::new(meter, LIMIT),
            durations: std::array::from_fn(|index| {
                durations.bind(&[SOURCE.with(SourceLabel::TEXTS[index])])
            }),
        }
    }

    /// Returns the counters of the limit with this name.
    #[must_use]
    pub fn bind(&self, limit: &str) -> BoundDecisions {
        let bound = BoundDecisions {
            inner: Arc::new(Inner {
                decisions: self.decisions.clone(),
                limit: self.limits.value(limit),
                counters: std::array::from_fn(|_| OnceLock::new()),
            }),
        };
        // These two series exist before their first decision, so that `rate` counts it.
        bound.inner.counter(OutcomeLabel::Allowed, SourceLabel::Store);
        bound.inner.counter(OutcomeLabel::Denied, SourceLabel::Store);
        bound
    }

    /// Records how long a check waited for its decision, and where it was decided.
    pub fn check_duration(&self, source: SourceLabel, duration: Duration) {
        self.durations[source.index()].record(duration.as_secs_f64());
    }
}

// === impl BoundDecisions ===

impl BoundDecisions {
    /// Counts one decision with this outcome and source.
    pub fn record(&self, outcome: OutcomeLabel, source: SourceLabel) {
        self.inner.counter(outcome, source).add(1);
    }

    /// Counts one decision that allowed the request.
    pub fn allowed(&self, source: SourceLabel) {
        self.record(OutcomeLabel::Allowed, source);
    }

    /// Counts one decision that denied the request.
    pub fn denied(&self, source: SourceLabel) {
        self.record(OutcomeLabel::Denied, source);
    }

    /// Counts one decision of a limit in shadow mode that would have denied the request.
    pub fn shadow_denied(&self, source: SourceLabel) {
        self.record(OutcomeLabel::ShadowDenied, source);
    }

    /// Counts one check that could not be decided.
    pub fn error(&self, source: SourceLabel) {
        self.record(OutcomeLabel::Error, source);
    }
}

// === impl Inner ===

impl Inner {
    fn counter(&self, outcome: OutcomeLabel, source: SourceLabel) -> &BoundCounter<u64> {
        self.counters[outcome.index() * SOURCES + source.index()].get_or_init(|| {
            self.decisions.bind(&[
                LIMIT.with(self.limit.clone()),
                OUTCOME.with(outcome.as_str()),
                SOURCE.with(source.as_str()),
            ])
        })
    }
}
