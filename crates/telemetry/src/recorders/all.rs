//! All recorders together.

use opentelemetry::metrics::{Meter, MeterProvider, NoopMeterProvider};

#[cfg(target_os = "linux")]
use super::process;
use super::{
    blueprint::BlueprintRecorder,
    certificates::CertificateRecorder,
    clients::ClientRecorder,
    cost::CostRecorder,
    custom::CustomRecorder,
    decisions::DecisionRecorder,
    deployment::DeploymentRecorder,
    exports::ExportRecorder,
    history::HistoryRecorder,
    holds::HoldRecorder,
    http::HttpRecorder,
    http_exempt::ExemptRecorder,
    llm::LlmRecorder,
    models::ModelRecorder,
    rate_limit::RateLimitRecorder,
    replica::{BuildInfo, ReplicaRecorder},
    rls::RlsRecorder,
    slo::SloRecorder,
    slots::SlotRecorder,
    store::StoreRecorder,
    system::SystemRecorder,
    tool::ToolRecorder,
    upstream::UpstreamRecorder,
};

/// All recorders. Cheap to clone; clones record into the same series.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorders {
    /// HTTP requests to the API.
    pub http: HttpRecorder,
    /// HTTP requests to Sluice's own endpoints.
    pub own_http: HttpRecorder,
    /// Endpoints of the API that are exempt from limits.
    pub exempt: ExemptRecorder,
    /// Requests to language models.
    pub llm: LlmRecorder,
    /// Operations on blueprints.
    pub blueprint: BlueprintRecorder,
    /// Deployments.
    pub deployment: DeploymentRecorder,
    /// What models and deployments cost.
    pub cost: CostRecorder,
    /// Executions of tools.
    pub tool: ToolRecorder,
    /// Metrics that the configuration declares.
    pub custom: CustomRecorder,
    /// Denied requests, by endpoint.
    pub rate_limit: RateLimitRecorder,
    /// Connections and caches.
    pub system: SystemRecorder,
    /// The certificates of the ports.
    pub certificates: CertificateRecorder,
    /// Requests whose client may not be who it seems.
    pub clients: ClientRecorder,
    /// Decisions, by limit.
    pub decisions: DecisionRecorder,
    /// Holds, by limit.
    pub holds: HoldRecorder,
    /// Slots of requests in flight, by limit.
    pub slots: SlotRecorder,
    /// Service level objectives.
    pub slo: SloRecorder,
    /// Round trips to the store.
    pub store: StoreRecorder,
    /// Calls of Envoy's rate limit service.
    pub rls: RlsRecorder,
    /// How the usage of models behind the gateway became known.
    pub models: ModelRecorder,
    /// Requests to the gateway's upstreams.
    pub upstream: UpstreamRecorder,
    /// This replica and its fleet.
    pub replica: ReplicaRecorder,
    /// Hourly sums of the fleet.
    pub history: HistoryRecorder,
    /// Exports to an OTLP collector.
    pub exports: ExportRecorder,
}

impl Recorders {
    /// Creates recorders that record on `meter`, for a program that sets up OpenTelemetry itself.
    /// Every other program uses [`Telemetry`](crate::Telemetry), which also bounds the memory that
    /// each metric can take.
    #[must_use]
    pub fn new(meter: &Meter, build: &BuildInfo) -> Self {
        #[cfg(target_os = "linux")]
        process::observe(meter);
        Self {
            http: HttpRecorder::of_api(meter),
            own_http: HttpRecorder::of_own(meter),
            exempt: ExemptRecorder::new(meter),
            llm: LlmRecorder::new(meter),
            blueprint: BlueprintRecorder::new(meter),
            deployment: DeploymentRecorder::new(meter),
            cost: CostRecorder::new(meter),
            tool: ToolRecorder::new(meter),
            custom: CustomRecorder::new(meter),
            rate_limit: RateLimitRecorder::new(meter),
            system: SystemRecorder::new(meter),
            certificates: CertificateRecorder::new(meter),
            clients: ClientRecorder::new(meter),
            decisions: DecisionRecorder::new(meter),
            holds: HoldRecorder::new(meter),
            slots: SlotRecorder::new(meter),
            slo: SloRecorder::new(meter),
            store: StoreRecorder::new(meter),
            rls: RlsRecorder::new(meter),
            models: ModelRecorder::new(meter),
            upstream: UpstreamRecorder::new(meter),
            replica: ReplicaRecorder::new(meter, build),
            history: HistoryRecorder::new(meter),
            exports: ExportRecorder::new(meter),
        }
    }

    /// Creates recorders that record nothing.
    #[must_use]
    pub fn disabled() -> Self {
        Self::new(&NoopMeterProvider::new().meter("disabled"), &BuildInfo::default())
    }
}
