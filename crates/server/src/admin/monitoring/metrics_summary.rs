//! `/monitoring/metrics/summary`.

use serde::Serialize;
use sluice::stats::{FleetStats, Total, Totals, costs::CostReport};
use utoipa::ToSchema;

use super::{cost_summary::CostSummary, rounded::Rounded};

/// Totals and means of everything that the fleet counts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MetricsSummary {
    http: HttpSummary,
    llm: LlmSummary,
    blueprints: BlueprintSummary,
    deployments: DeploymentSummary,
    tools: ToolSummary,
    events: EventSummary,
    costs: CostSummary,
    /// When the first replica flushed, in Unix seconds.
    #[schema(required)]
    since: Option<i64>,
}

/// Requests to the API, without exempt paths.
#[derive(Debug, Serialize, ToSchema)]
struct HttpSummary {
    total_requests: u64,
    #[schema(value_type = f64)]
    avg_latency_ms: Rounded,
    /// The share of responses with a 5xx status.
    #[schema(value_type = f64)]
    error_rate: Rounded,
    /// The share of responses with a 4xx status, including denials.
    #[schema(value_type = f64)]
    client_error_rate: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
struct LlmSummary {
    total_generations: u64,
    /// Tokens generated.
    #[schema(value_type = f64)]
    avg_tokens_per_request: Rounded,
    total_tokens_generated: u64,
    total_tokens_consumed: u64,
    /// The mean of the reported durations.
    #[schema(value_type = f64)]
    avg_generation_ms: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
struct BlueprintSummary {
    total_created: u64,
    /// The mean of the blueprints whose resources were reported.
    #[schema(value_type = f64)]
    avg_resources: Rounded,
    validation_errors: u64,
    total_operations: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct DeploymentSummary {
    active: u64,
    total_operations: u64,
    /// The mean of the reported durations.
    #[schema(value_type = f64)]
    avg_duration_ms: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
struct ToolSummary {
    total_executions: u64,
    /// The mean of the reported durations.
    #[schema(value_type = f64)]
    avg_duration_ms: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
struct EventSummary {
    accepted: u64,
    refused: u64,
}

impl MetricsSummary {
    pub(super) fn new(stats: &FleetStats, costs: &CostReport) -> Self {
        let totals = &stats.totals;
        Self {
            http: HttpSummary::new(totals),
            llm: LlmSummary::new(totals),
            blueprints: BlueprintSummary::new(stats),
            deployments: DeploymentSummary::new(stats),
            tools: ToolSummary {
                total_executions: totals.get(Total::ToolExecutions),
                avg_duration_ms: mean_ms(totals, Total::ToolMicros, Total::ToolsTimed),
            },
            events: EventSummary {
                accepted: totals.get(Total::EventsAccepted),
                refused: totals.get(Total::EventsRefused),
            },
            costs: CostSummary::new(costs),
            since: stats.since.map(|since| since.unix_micros().div_euclid(1_000_000)),
        }
    }
}

impl HttpSummary {
    fn new(totals: &Totals) -> Self {
        let requests = totals.get(Total::HttpRequests);
        Self {
            total_requests: requests,
            avg_latency_ms: mean_ms(totals, Total::HttpMicros, Total::HttpRequests),
            error_rate: Rounded::ratio(totals.get(Total::HttpServerErrors), requests),
            client_error_rate: Rounded::ratio(totals.get(Total::HttpClientErrors), requests),
        }
    }
}

impl LlmSummary {
    fn new(totals: &Totals) -> Self {
        let (requests, generated) =
            (totals.get(Total::LlmRequests), totals.get(Total::LlmTokensGenerated));
        Self {
            total_generations: requests,
            avg_tokens_per_request: Rounded::ratio(generated, requests),
            total_tokens_generated: generated,
            total_tokens_consumed: totals.get(Total::LlmTokensConsumed),
            avg_generation_ms: mean_ms(totals, Total::LlmMicros, Total::LlmTimed),
        }
    }
}

impl BlueprintSummary {
    fn new(FleetStats { totals, gauges, .. }: &FleetStats) -> Self {
        Self {
            total_created: totals.get(Total::BlueprintsCreated),
            avg_resources: Rounded::new(gauges.mean_blueprint_resources().unwrap_or_default()),
            validation_errors: totals.get(Total::BlueprintValidationErrors),
            total_operations: totals.get(Total::BlueprintOperations),
        }
    }
}

impl DeploymentSummary {
    fn new(FleetStats { totals, gauges, .. }: &FleetStats) -> Self {
        Self {
            active: gauges.active_deployments,
            total_operations: totals.get(Total::DeploymentOperations),
            avg_duration_ms: mean_ms(totals, Total::DeploymentMicros, Total::DeploymentsTimed),
        }
    }
}

fn mean_ms(totals: &Totals, micros: Total, count: Total) -> Rounded {
    Rounded::mean_ms(totals.get(micros), totals.get(count))
}
