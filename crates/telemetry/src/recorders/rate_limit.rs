//! The document's count of limited requests.

use opentelemetry::metrics::{BoundCounter, Counter, Meter};

use super::http::ENDPOINT;
use crate::{
    catalogue::{Metric, MetricKind},
    labels::LabelSet,
};

const HITS: Metric = Metric {
    name: "rate_limit_hits_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[ENDPOINT],
    help: "Requests denied by a limit, by endpoint.",
    query: "topk(5, sum by (endpoint) (rate(rate_limit_hits_total[5m])))",
};

pub(crate) const METRICS: &[Metric] = &[HITS];

/// Counts requests that were denied by a limit.
#[derive(Clone, Debug)]
pub struct RateLimitRecorder {
    hits: Counter<u64>,
    endpoints: LabelSet,
}

/// The denied requests of one endpoint, ready to be counted. Cheap to clone; keep it with the
/// endpoint.
#[derive(Clone, Debug)]
pub struct BoundHits {
    hits: BoundCounter<u64>,
}

// === impl RateLimitRecorder ===

impl RateLimitRecorder {
    /// A recorder on `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self { hits: HITS.counter(meter), endpoints: LabelSet::new(meter, ENDPOINT) }
    }

    /// The denied requests of `endpoint`: a configured pattern or `other`, never a raw path. There
    /// from now on, at 0.
    #[must_use]
    pub fn bind(&self, endpoint: &str) -> BoundHits {
        BoundHits { hits: self.hits.bind(&[ENDPOINT.with(self.endpoints.value(endpoint))]) }
    }
}

// === impl BoundHits ===

impl BoundHits {
    /// A request was denied.
    pub fn hit(&self) {
        self.hits.add(1);
    }
}
