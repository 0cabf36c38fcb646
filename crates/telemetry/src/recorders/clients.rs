//! Requests whose client may not be who it seems.

use opentelemetry::metrics::{BoundCounter, Meter};

use crate::metric::{Metric, MetricKind};

const UNTRUSTED_FORWARDING: Metric = Metric {
    name: "sluice_untrusted_forwarding_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[],
    help: "Counts requests with X-Forwarded-For or Forwarded from a peer that is no trusted proxy, \
           so that these fields were ignored.",
    query: "rate(sluice_untrusted_forwarding_total[5m])",
};

pub(crate) const METRICS: &[Metric] = &[UNTRUSTED_FORWARDING];

/// Records requests whose client may not be who it seems.
#[derive(Clone, Debug)]
pub struct ClientRecorder {
    untrusted_forwarding: BoundCounter<u64>,
}

// === impl ClientRecorder ===

impl ClientRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self { untrusted_forwarding: UNTRUSTED_FORWARDING.counter(meter).bind(&[]) }
    }

    /// Counts one request whose forwarding fields were ignored, since its peer is no trusted proxy.
    pub fn untrusted_forwarding(&self) {
        self.untrusted_forwarding.add(1);
    }
}
