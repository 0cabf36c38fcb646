//! Which endpoints of the API are exempt from limits.

use std::{collections::BTreeSet, sync::Arc};

use opentelemetry::metrics::{Gauge, Meter};
use parking_lot::Mutex;

use super::shared_labels::ENDPOINT;
use crate::{
    labels::{CappedValues, OTHER},
    metric::{Metric, MetricKind},
};

const EXEMPT: Metric = Metric {
    name: "sluice_http_exempt_endpoints",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[ENDPOINT],
    help: "Is 1 for an endpoint that the configuration exempts from limits, such as the health \
           check of an API, so that rates and alerts about the API can leave it out, and 0 for one \
           that was exempt before.",
    query: "sum(rate(http_requests_total[5m]) \
            unless on (instance, endpoint) sluice_http_exempt_endpoints == 1)",
};

pub(crate) const METRICS: &[Metric] = &[EXEMPT];

/// Shows which endpoints are exempt from limits.
#[derive(Clone, Debug)]
pub struct ExemptRecorder {
    endpoints: CappedValues,
    exempt: Gauge<u64>,
    /// The endpoints that have been exempt since the start.
    once_exempt: Arc<Mutex<BTreeSet<String>>>,
}

impl ExemptRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            endpoints: CappedValues::new(meter, ENDPOINT),
            exempt: EXEMPT.gauge(meter),
            once_exempt: Arc::default(),
        }
    }

    /// Sets which endpoints are exempt from limits. Those of an earlier call that are not among
    /// `endpoints` no longer are.
    pub fn set<'e>(&self, endpoints: impl IntoIterator<Item = &'e str>) {
        let mut once_exempt = self.once_exempt.lock();
        let exempt: BTreeSet<&str> = endpoints.into_iter().collect();
        once_exempt.extend(exempt.iter().map(|endpoint| (*endpoint).to_owned()));
        for endpoint in &*once_exempt {
            let value = self.endpoints.value(endpoint);
            // Many endpoints share the value `other`, most of which are limited.
            if value.as_str() != OTHER {
                let is_exempt = exempt.contains(endpoint.as_str());
                self.exempt.record(u64::from(is_exempt), &[ENDPOINT.with(value)]);
            }
        }
    }
}
