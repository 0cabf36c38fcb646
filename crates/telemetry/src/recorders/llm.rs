//! Requests to language models, as applications report them.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter},
};

use super::shared_labels::STATUS;
use crate::{
    labels::{BoundValues, CappedValues},
    metric::{Label, Metric, MetricKind},
};

const MODEL: Label = Label::capped("model", 40);
const OPERATION: Label = Label::capped("operation", 12);

const REQUESTS: Metric = Metric {
    name: "llm_requests_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[MODEL, OPERATION, STATUS],
    help: "Counts requests to language models, by model, operation and status.",
    query: "sum by (model, status) (rate(llm_requests_total[5m]))",
};

const DURATION: Metric = Metric {
    name: "llm_generation_duration_seconds",
    // The alert for slow generation compares with 10 s, so 10 s is a boundary.
    kind: MetricKind::Histogram(&[
        0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0,
    ]),
    unit: "s",
    labels: &[MODEL, OPERATION],
    help: "Measures the time that language models take to generate, by model and operation.",
    query: "histogram_quantile(0.95, \
            sum by (le, model) (rate(llm_generation_duration_seconds_bucket[5m])))",
};

const TOKENS_GENERATED: Metric = Metric {
    name: "llm_tokens_generated_total",
    kind: MetricKind::Counter,
    unit: "{token}",
    labels: &[MODEL, OPERATION],
    help: "Counts tokens that language models generated, by model and operation.",
    query: "sum by (model) (rate(llm_tokens_generated_total[1m]))",
};

const TOKENS_CONSUMED: Metric = Metric {
    name: "llm_tokens_consumed_total",
    kind: MetricKind::Counter,
    unit: "{token}",
    labels: &[MODEL, OPERATION],
    help: "Counts tokens that language models received as input, by model and operation.",
    query: "sum by (model) (rate(llm_tokens_consumed_total[1m]))",
};

pub(crate) const METRICS: &[Metric] = &[REQUESTS, DURATION, TOKENS_GENERATED, TOKENS_CONSUMED];

/// Records requests to language models.
#[derive(Clone, Debug)]
pub struct LlmRecorder {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    tokens_generated: Counter<u64>,
    tokens_consumed: Counter<u64>,
    models: Arc<BoundValues<BoundModel>>,
    operations: CappedValues,
    statuses: CappedValues,
}

/// What is recorded of one model, by operation.
#[derive(Debug)]
struct BoundModel {
    label: KeyValue,
    operations: BoundValues<BoundOperation>,
}

/// What is recorded of one operation of a model.
#[derive(Debug)]
struct BoundOperation {
    labels: [KeyValue; 2],
    /// By status.
    requests: BoundValues<BoundCounter<u64>>,
    /// Bound at the first request whose duration is known.
    duration: OnceLock<BoundHistogram<f64>>,
    tokens_generated: BoundCounter<u64>,
    tokens_consumed: BoundCounter<u64>,
}

/// A finished request to a language model.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LlmRequest<'a> {
    /// The model's name, such as `qwen`.
    pub model: &'a str,
    /// The kind of request, such as `chat`.
    pub operation: &'a str,
    /// How the request ended, such as `success`.
    pub status: &'a str,
    /// How long the request took, if known.
    pub duration: Option<Duration>,
    /// The number of tokens that the model generated.
    pub tokens_generated: u64,
    /// The number of tokens that the model received as input.
    pub tokens_consumed: u64,
    /// How many of these the model had in its cache.
    pub tokens_cached: u64,
    /// How many of these the model wrote to its cache.
    pub tokens_cache_written: u64,
    /// What the request cost, in units of the currency, if it was reported.
    pub cost: Option<f64>,
    /// The currency of the cost, if it was reported.
    pub currency: Option<&'a str>,
}

// === impl LlmRequest ===

impl<'a> LlmRequest<'a> {
    /// Creates a request without tokens, whose duration is unknown.
    #[must_use]
    pub const fn new(model: &'a str, operation: &'a str, status: &'a str) -> Self {
        Self {
            model,
            operation,
            status,
            duration: None,
            tokens_generated: 0,
            tokens_consumed: 0,
            tokens_cached: 0,
            tokens_cache_written: 0,
            cost: None,
            currency: None,
        }
    }

    /// Sets how long the request took.
    #[must_use]
    pub fn with_duration(self, duration: impl Into<Option<Duration>>) -> Self {
        Self { duration: duration.into(), ..self }
    }

    /// Sets the number of tokens that the model generated.
    #[must_use]
    pub const fn with_tokens_generated(self, tokens: u64) -> Self {
        Self { tokens_generated: tokens, ..self }
    }

    /// Sets the number of tokens that the model received as input.
    #[must_use]
    pub const fn with_tokens_consumed(self, tokens: u64) -> Self {
        Self { tokens_consumed: tokens, ..self }
    }

    /// Sets how many of the consumed tokens the model had in its cache, and how many it wrote to
    /// it.
    #[must_use]
    pub const fn with_cache(self, cached: u64, written: u64) -> Self {
        Self { tokens_cached: cached, tokens_cache_written: written, ..self }
    }

    /// Sets what the request cost, in units of the currency. It is used instead of a price list.
    #[must_use]
    pub fn with_cost(self, cost: impl Into<Option<f64>>) -> Self {
        Self { cost: cost.into(), ..self }
    }

    /// Sets the currency of the cost: three capital letters.
    #[must_use]
    pub fn with_currency(self, currency: impl Into<Option<&'a str>>) -> Self {
        Self { currency: currency.into(), ..self }
    }
}

// === impl LlmRecorder ===

impl LlmRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            requests: REQUESTS.counter(meter),
            duration: DURATION.durations(meter),
            tokens_generated: TOKENS_GENERATED.counter(meter),
            tokens_consumed: TOKENS_CONSUMED.counter(meter),
            models: Arc::new(BoundValues::new(CappedValues::new(meter, MODEL))),
            operations: CappedValues::new(meter, OPERATION),
            statuses: CappedValues::new(meter, STATUS),
        }
    }

    /// Records a finished request to a language model.
    pub fn request(&self, request: &LlmRequest<'_>) {
        let model = self.models.get(request.model, |name| BoundModel {
            label: MODEL.with(name),
            operations: BoundValues::new(self.operations.clone()),
        });
        let operation = model
            .operations
            .get(request.operation, |name| self.bind([model.label.clone(), OPERATION.with(name)]));
        let requests = operation.requests.get(request.status, |name| {
            let [model, operation] = operation.labels.clone();
            self.requests.bind(&[model, operation, STATUS.with(name)])
        });

        requests.add(1);
        if let Some(duration) = request.duration {
            let bind = || self.duration.bind(&operation.labels);
            operation.duration.get_or_init(bind).record(duration.as_secs_f64());
        }
        operation.tokens_generated.add(request.tokens_generated);
        operation.tokens_consumed.add(request.tokens_consumed);
    }

    fn bind(&self, labels: [KeyValue; 2]) -> BoundOperation {
        BoundOperation {
            requests: BoundValues::new(self.statuses.clone()),
            duration: OnceLock::new(),
            tokens_generated: self.tokens_generated.bind(&labels),
            tokens_consumed: self.tokens_consumed.bind(&labels),
            labels,
        }
    }
}
