//! One typed recorder per subject, each with its metrics written beside it.

pub(crate) mod blueprint;
pub(crate) mod custom;
pub(crate) mod decisions;
pub(crate) mod deployment;
pub(crate) mod http;
pub(crate) mod llm;
#[cfg(target_os = "linux")]
mod process;
pub(crate) mod rate_limit;
pub(crate) mod replica;
mod status;
pub(crate) mod store;
pub(crate) mod system;
pub(crate) mod tool;
pub(crate) mod upstream;

use opentelemetry::metrics::{Meter, MeterProvider, NoopMeterProvider};

use self::{
    blueprint::BlueprintRecorder,
    custom::CustomRecorder,
    decisions::DecisionRecorder,
    deployment::DeploymentRecorder,
    http::HttpRecorder,
    llm::LlmRecorder,
    rate_limit::RateLimitRecorder,
    replica::{BuildInfo, ReplicaRecorder},
    store::StoreRecorder,
    system::SystemRecorder,
    tool::ToolRecorder,
    upstream::UpstreamRecorder,
};
use crate::{
    catalogue::Metric,
    labels::{self, Label},
};

/// How something an application did has ended, in the application's words.
const STATUS: Label = Label::capped("status", 6);

/// Every recorder there is. Cheap to clone; clones record into the same series.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorders {
    /// Requests answered over HTTP.
    pub http: HttpRecorder,
    /// Requests to language models.
    pub llm: LlmRecorder,
    /// Work on blueprints.
    pub blueprint: BlueprintRecorder,
    /// Deployments.
    pub deployment: DeploymentRecorder,
    /// Executions of tools.
    pub tool: ToolRecorder,
    /// What the configuration declares.
    pub custom: CustomRecorder,
    /// Requests that were limited, by endpoint.
    pub rate_limit: RateLimitRecorder,
    /// Connections and caches.
    pub system: SystemRecorder,
    /// Decisions by limit.
    pub decisions: DecisionRecorder,
    /// Round trips to the store.
    pub store: StoreRecorder,
    /// The gateway's upstreams.
    pub upstream: UpstreamRecorder,
    /// This replica and its fleet.
    pub replica: ReplicaRecorder,
}

/// The metrics of all recorders, in the order of their documentation.
pub(crate) const METRICS: &[&[Metric]] = &[
    http::METRICS,
    llm::METRICS,
    blueprint::METRICS,
    deployment::METRICS,
    tool::METRICS,
    rate_limit::METRICS,
    system::METRICS,
    #[cfg(target_os = "linux")]
    process::METRICS,
    decisions::METRICS,
    store::METRICS,
    upstream::METRICS,
    replica::METRICS,
    labels::METRICS,
];

impl Recorders {
    /// Recorders that record on `meter`.
    #[must_use]
    pub fn new(meter: &Meter, build: &BuildInfo) -> Self {
        #[cfg(target_os = "linux")]
        process::observe(meter);
        Self {
            http: HttpRecorder::new(meter),
            llm: LlmRecorder::new(meter),
            blueprint: BlueprintRecorder::new(meter),
            deployment: DeploymentRecorder::new(meter),
            tool: ToolRecorder::new(meter),
            custom: CustomRecorder::new(meter),
            rate_limit: RateLimitRecorder::new(meter),
            system: SystemRecorder::new(meter),
            decisions: DecisionRecorder::new(meter),
            store: StoreRecorder::new(meter),
            upstream: UpstreamRecorder::new(meter),
            replica: ReplicaRecorder::new(meter, build),
        }
    }

    /// Recorders that keep nothing, for a limiter whose metrics nobody reads.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(&NoopMeterProvider::new().meter("disabled"), &BuildInfo::default())
    }
}
