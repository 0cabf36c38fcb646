//! Requests to language models that the gateway forwards: how their usage became known.

use opentelemetry::metrics::{Counter, Meter};

use crate::{
    labels::label_values,
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// Whose wire format a request speaks.
    pub enum ModelVendor {
        /// `OpenAI`, and all that is compatible with it.
        OpenAi => "openai",
        /// Anthropic.
        Anthropic => "anthropic",
        /// Gemini.
        Gemini => "gemini",
    }
}

label_values! {
    /// Why a request to a model was refused before it was forwarded.
    pub enum ModelRefusal {
        /// Its body cannot be read, or says something impossible.
        BadRequest => "bad_request",
        /// A limit counts money, and what the request costs cannot be known.
        NoPrice => "no_price",
    }
}

const VENDOR: Label = Label::fixed("vendor", ModelVendor::TEXTS);
const REASON: Label = Label::fixed("reason", ModelRefusal::TEXTS);

const USAGE_MISSING: Metric = Metric {
    name: "sluice_llm_usage_missing_total",
    kind: MetricKind::Counter,
    unit: "{response}",
    labels: &[VENDOR],
    help: "Counts complete responses of language models that report no usage, or that cannot be \
           read, so that the estimate stands, by vendor.",
    query: "sum by (vendor) (rate(sluice_llm_usage_missing_total[5m]))",
};

const USAGE_ESTIMATED: Metric = Metric {
    name: "sluice_llm_usage_estimated_total",
    kind: MetricKind::Counter,
    unit: "{response}",
    labels: &[VENDOR],
    help: "Counts responses of language models that did not come to their end, so that their usage \
           is estimated from what passed, by vendor.",
    query: "sum by (vendor) (rate(sluice_llm_usage_estimated_total[5m]))",
};

const USAGE_IGNORED: Metric = Metric {
    name: "sluice_llm_usage_ignored_total",
    kind: MetricKind::Counter,
    unit: "{report}",
    labels: &[VENDOR],
    help: "Counts reports of usage that are not believed: they go down, are negative, no whole \
           numbers, or above 10^12, by vendor.",
    query: "sum by (vendor) (rate(sluice_llm_usage_ignored_total[5m])) > 0",
};

const REFUSED: Metric = Metric {
    name: "sluice_llm_requests_refused_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[REASON, VENDOR],
    help: "Counts requests to language models that were refused because their body cannot be read, \
           or because they have no price, by reason and vendor. Denials are not counted here.",
    query: "sum by (reason) (rate(sluice_llm_requests_refused_total[5m]))",
};

pub(crate) const METRICS: &[Metric] = &[USAGE_MISSING, USAGE_ESTIMATED, USAGE_IGNORED, REFUSED];

/// Records how the usage of requests to language models became known.
#[derive(Clone, Debug)]
pub struct ModelRecorder {
    usage_missing: Counter<u64>,
    usage_estimated: Counter<u64>,
    usage_ignored: Counter<u64>,
    refused: Counter<u64>,
}

impl ModelRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            usage_missing: USAGE_MISSING.counter(meter),
            usage_estimated: USAGE_ESTIMATED.counter(meter),
            usage_ignored: USAGE_IGNORED.counter(meter),
            refused: REFUSED.counter(meter),
        }
    }

    /// Counts a complete response without usage.
    pub fn usage_missing(&self, vendor: ModelVendor) {
        self.usage_missing.add(1, &[VENDOR.with(vendor.as_str())]);
    }

    /// Counts a response that did not come to its end.
    pub fn usage_estimated(&self, vendor: ModelVendor) {
        self.usage_estimated.add(1, &[VENDOR.with(vendor.as_str())]);
    }

    /// Counts reports of usage that are not believed.
    pub fn usage_ignored(&self, vendor: ModelVendor, reports: u64) {
        self.usage_ignored.add(reports, &[VENDOR.with(vendor.as_str())]);
    }

    /// Counts a request that was refused.
    pub fn refused(&self, vendor: ModelVendor, reason: ModelRefusal) {
        self.refused.add(1, &[REASON.with(reason.as_str()), VENDOR.with(vendor.as_str())]);
    }
}
