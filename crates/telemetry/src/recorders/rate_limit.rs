//! The seed document's counter of denied requests.

use opentelemetry::metrics::{BoundCounter, Counter, Meter};

use super::shared_labels::ENDPOINT;
use crate::{
    labels::CappedValues,
    metric::{Metric, MetricKind},
};

const HITS: Metric = Metric {
    name: "rate_limit_hits_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[ENDPOINT],
    help: "Counts requests that a limit denied, by endpoint.",
    query: "topk(5, sum by (endpoint) (rate(rate_limit_hits_total[5m])))",
};

pub(crate) const METRICS: &[Metric] = &[HITS];

/// Counts requests that a limit denied.
#[derive(Clone, Debug)]
pub struct RateLimitRecorder {
    hits: Counter<u64>,
    endpoints: CappedValues,
}

/// Counts the denied requests of one endpoint. Cheap to clone; keep it with the endpoint.
#[derive(Clone, Debug)]
pub struct BoundHits {
    hits: BoundCounter<u64>,
}

// === impl RateLimitRecorder ===

impl RateLimitRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self { hits: HITS.counter(meter), endpoints: CappedValues::new(meter, ENDPOINT) }
    }

    /// Returns the counter of `endpoint`, which is a configured pattern or `other`, never a raw
    /// path. The series exists from now on, with the value 0.
    #[must_use]
    pub fn bind(&self, endpoint: &str) -> BoundHits {
        BoundHits { hits: self.hits.bind(&[ENDPOINT.with(self.endpoints.value(endpoint))]) }
    }
}

// === impl BoundHits ===

impl BoundHits {
    /// Counts one denied request.
    pub fn hit(&self) {
        self.hits.add(1);
    }
}
