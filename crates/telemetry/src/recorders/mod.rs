//! One typed recorder per subject, each with its metrics written beside it.

pub(crate) mod decisions;
pub(crate) mod http;
pub(crate) mod rate_limit;
pub(crate) mod replica;
mod status;
pub(crate) mod store;

use opentelemetry::metrics::{Meter, MeterProvider, NoopMeterProvider};

use self::{
    decisions::DecisionRecorder,
    http::HttpRecorder,
    rate_limit::RateLimitRecorder,
    replica::{BuildInfo, ReplicaRecorder},
    store::StoreRecorder,
};
use crate::{catalogue::Metric, labels};

/// Every recorder there is. Cheap to clone; clones record into the same series.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorders {
    /// Requests answered over HTTP.
    pub http: HttpRecorder,
    /// Requests that were limited, by endpoint.
    pub rate_limit: RateLimitRecorder,
    /// Decisions by limit.
    pub decisions: DecisionRecorder,
    /// Round trips to the store.
    pub store: StoreRecorder,
    /// This replica and its fleet.
    pub replica: ReplicaRecorder,
}

/// The metrics of all recorders, in the order of their documentation.
pub(crate) const METRICS: &[&[Metric]] = &[
    http::METRICS,
    rate_limit::METRICS,
    decisions::METRICS,
    store::METRICS,
    replica::METRICS,
    labels::METRICS,
];

impl Recorders {
    /// Recorders that record on `meter`.
    #[must_use]
    pub fn new(meter: &Meter, build: &BuildInfo) -> Self {
        Self {
            http: HttpRecorder::new(meter),
            rate_limit: RateLimitRecorder::new(meter),
            decisions: DecisionRecorder::new(meter),
            store: StoreRecorder::new(meter),
            replica: ReplicaRecorder::new(meter, build),
        }
    }

    /// Recorders that keep nothing, for a limiter whose metrics nobody reads.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(
            &NoopMeterProvider::new().meter("disabled"),
            &BuildInfo::default(),
        )
    }
}
