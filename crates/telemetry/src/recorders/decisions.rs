//! Decisions by limit, and how long a check takes.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Meter},
};

use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, LabelSet, label_values},
};

label_values! {
    /// What a limit said.
    pub enum OutcomeLabel {
        /// The tokens were there.
        Allowed => "allowed",
        /// The tokens were not there, and the request was denied.
        Denied => "denied",
        /// The tokens were not there, and the request passed since the limit is in shadow mode.
        ShadowDenied => "shadow_denied",
        /// The limit could not be decided.
        Error => "error",
    }
}

label_values! {
    /// Who said it.
    pub enum SourceLabel {
        /// The store, of whichever kind.
        Store => "store",
        /// The replica alone, since the store could not be reached.
        Local => "local",
    }
}

const LIMIT: Label = Label::capped("limit", 500);
const OUTCOME: Label = Label::fixed("outcome", OutcomeLabel::WORDS);
const SOURCE: Label = Label::fixed("source", SourceLabel::WORDS);

const DECISIONS: Metric = Metric {
    name: "sluice_decisions_total",
    kind: MetricKind::Counter,
    unit: "{decision}",
    labels: &[LIMIT, OUTCOME, SOURCE],
    help: "Decisions by limit, outcome and source; a check of several limits counts once for each.",
    query: "sum by (limit, outcome) (rate(sluice_decisions_total[5m]))",
};

const CHECK_DURATION: Metric = Metric {
    name: "sluice_check_duration_seconds",
    kind: MetricKind::Histogram(&[
        1e-6, 1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 1e-1,
    ]),
    unit: "s",
    labels: &[SOURCE],
    help: "Time from a check to its decision, by who decided, where it had to be waited for; in memory it is there within a microsecond.",
    query: "histogram_quantile(0.99, sum by (le) (rate(sluice_check_duration_seconds_bucket[5m])))",
};

pub(crate) const METRICS: &[Metric] = &[DECISIONS, CHECK_DURATION];

/// Counts decisions and times checks.
#[derive(Clone, Debug)]
pub struct DecisionRecorder {
    decisions: Counter<u64>,
    limits: LabelSet,
    durations: [BoundHistogram<f64>; SOURCES],
}

/// The decisions of one limit, ready to be counted. Cheap to clone; keep it with the limit.
#[derive(Clone, Debug)]
pub struct BoundDecisions {
    inner: Arc<Bound>,
}

#[derive(Debug)]
struct Bound {
    decisions: Counter<u64>,
    limit: StringValue,
    counters: [OnceLock<BoundCounter<u64>>; OUTCOMES * SOURCES],
}

const OUTCOMES: usize = OutcomeLabel::ALL.len();
const SOURCES: usize = SourceLabel::ALL.len();

// === impl DecisionRecorder ===

impl DecisionRecorder {
    /// A recorder on `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let durations = CHECK_DURATION.durations(meter);
        Self {
            decisions: DECISIONS.counter(meter),
            limits: LabelSet::new(meter, LIMIT),
            durations: std::array::from_fn(|place| {
                durations.bind(&[SOURCE.with(SourceLabel::WORDS[place])])
            }),
        }
    }

    /// The decisions of the limit with this name.
    #[must_use]
    pub fn bind(&self, limit: &str) -> BoundDecisions {
        let bound = BoundDecisions {
            inner: Arc::new(Bound {
                decisions: self.decisions.clone(),
                limit: self.limits.value(limit),
                counters: std::array::from_fn(|_| OnceLock::new()),
            }),
        };
        // These two are there before their first decision, so that `rate` sees it.
        bound.inner.counter(OutcomeLabel::Allowed, SourceLabel::Store);
        bound.inner.counter(OutcomeLabel::Denied, SourceLabel::Store);
        bound
    }

    /// A check took `took`, answered by `source`.
    pub fn check_duration(&self, source: SourceLabel, took: Duration) {
        self.durations[source.place()].record(took.as_secs_f64());
    }
}

// === impl BoundDecisions ===

impl BoundDecisions {
    /// The limit said `outcome`, as known by `source`.
    pub fn record(&self, outcome: OutcomeLabel, source: SourceLabel) {
        self.inner.counter(outcome, source).add(1);
    }

    /// The tokens were there.
    pub fn allowed(&self, source: SourceLabel) {
        self.record(OutcomeLabel::Allowed, source);
    }

    /// The tokens were not there.
    pub fn denied(&self, source: SourceLabel) {
        self.record(OutcomeLabel::Denied, source);
    }

    /// The tokens were not there, but the limit is in shadow mode.
    pub fn shadow_denied(&self, source: SourceLabel) {
        self.record(OutcomeLabel::ShadowDenied, source);
    }

    /// The limit could not be decided.
    pub fn error(&self, source: SourceLabel) {
        self.record(OutcomeLabel::Error, source);
    }
}

impl Bound {
    fn counter(&self, outcome: OutcomeLabel, source: SourceLabel) -> &BoundCounter<u64> {
        self.counters[outcome.place() * SOURCES + source.place()].get_or_init(|| {
            self.decisions.bind(&[
                LIMIT.with(self.limit.clone()),
                OUTCOME.with(outcome.as_str()),
                SOURCE.with(source.as_str()),
            ])
        })
    }
}
