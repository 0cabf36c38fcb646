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

const UNKNOWN_TIERS: Metric = Metric {
    name: "sluice_unknown_tiers_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[],
    help: "Counts requests that name a tier that the configuration does not have, so that they get \
           the limits of clients without a tier.",
    query: "rate(sluice_unknown_tiers_total[5m])",
};

pub(crate) const METRICS: &[Metric] = &[UNTRUSTED_FORWARDING, UNKNOWN_TIERS];

/// Records requests whose client may not be who it seems.
#[derive(Clone, Debug)]
pub struct ClientRecorder {
    untrusted_forwarding: BoundCounter<u64>,
    unknown_tiers: BoundCounter<u64>,
}

// === impl ClientRecorder ===

impl ClientRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            untrusted_forwarding: UNTRUSTED_FORWARDING.counter(meter).bind(&[]),
            unknown_tiers: UNKNOWN_TIERS.counter(meter).bind(&[]),
        }
    }

    /// Counts one request whose forwarding fields were ignored, since its peer is no trusted proxy.
    pub fn untrusted_forwarding(&self) {
        self.untrusted_forwarding.add(1);
    }

    /// Counts one request that names a tier that the policy does not have.
    pub fn unknown_tier(&self) {
        self.unknown_tiers.add(1);
    }
}
