//! `/monitoring/metrics/summary`.

use serde::Serialize;
use sluice::stats::{FleetStats, Total};
use utoipa::ToSchema;

use super::number::Rounded;

/// What the page tells.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MetricsSummary)]
pub(crate) struct Page {
    http: Http,
    llm: Llm,
    blueprints: Blueprints,
    deployments: Deployments,
    tools: Tools,
    events: Events,
    /// When counting began, in Unix seconds.
    #[schema(required)]
    since: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HttpSummary)]
struct Http {
    total_requests: u64,
    #[schema(value_type = f64)]
    avg_latency_ms: Rounded,
    /// The share of requests answered with a 5xx status.
    #[schema(value_type = f64)]
    error_rate: Rounded,
    /// The share of requests answered with a 4xx status, those denied included.
    #[schema(value_type = f64)]
    client_error_rate: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlmSummary)]
struct Llm {
    total_generations: u64,
    /// Tokens generated.
    #[schema(value_type = f64)]
    avg_tokens_per_request: Rounded,
    total_tokens_generated: u64,
    total_tokens_consumed: u64,
    /// Of those generations whose time was told.
    #[schema(value_type = f64)]
    avg_generation_ms: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlueprintSummary)]
struct Blueprints {
    total_created: u64,
    /// Of those blueprints whose resources were told.
    #[schema(value_type = f64)]
    avg_resources: Rounded,
    validation_errors: u64,
    total_operations: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeploymentSummary)]
struct Deployments {
    active: u64,
    total_operations: u64,
    /// Of those whose time was told.
    #[schema(value_type = f64)]
    avg_duration_ms: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolSummary)]
struct Tools {
    total_executions: u64,
    /// Of those whose time was told.
    #[schema(value_type = f64)]
    avg_duration_ms: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventSummary)]
struct Events {
    accepted: u64,
    refused: u64,
}

/// The page.
pub(super) fn page(figures: &FleetStats) -> Page {
    let get = |total| figures.totals.get(total);
    Page {
        http: Http {
            total_requests: get(Total::HttpRequests),
            avg_latency_ms: Rounded::mean_ms(get(Total::HttpMicros), get(Total::HttpRequests)),
            error_rate: Rounded::ratio(get(Total::HttpServerErrors), get(Total::HttpRequests)),
            client_error_rate: Rounded::ratio(
                get(Total::HttpClientErrors),
                get(Total::HttpRequests),
            ),
        },
        llm: Llm {
            total_generations: get(Total::LlmRequests),
            avg_tokens_per_request: Rounded::ratio(
                get(Total::LlmTokensGenerated),
                get(Total::LlmRequests),
            ),
            total_tokens_generated: get(Total::LlmTokensGenerated),
            total_tokens_consumed: get(Total::LlmTokensConsumed),
            avg_generation_ms: Rounded::mean_ms(get(Total::LlmMicros), get(Total::LlmTimed)),
        },
        blueprints: Blueprints {
            total_created: get(Total::BlueprintsCreated),
            avg_resources: mean(figures, "blueprint_resources_count"),
            validation_errors: get(Total::BlueprintValidationErrors),
            total_operations: get(Total::BlueprintOperations),
        },
        deployments: Deployments {
            active: figures.gauges.active_deployments,
            total_operations: get(Total::DeploymentOperations),
            avg_duration_ms: Rounded::mean_ms(
                get(Total::DeploymentMicros),
                get(Total::DeploymentsTimed),
            ),
        },
        tools: Tools {
            total_executions: get(Total::ToolExecutions),
            avg_duration_ms: Rounded::mean_ms(get(Total::ToolMicros), get(Total::ToolsTimed)),
        },
        events: Events { accepted: get(Total::EventsAccepted), refused: get(Total::EventsRefused) },
        since: figures.since.map(|since| since.unix_micros().div_euclid(1_000_000)),
    }
}

/// The mean of all that was reported for `metric`; 0 of nothing.
pub(super) fn mean(figures: &FleetStats, metric: &str) -> Rounded {
    let values = figures
        .gauges
        .reported
        .iter()
        .filter(|(key, _)| key.metric() == metric)
        .map(|(_, value)| *value);
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    Rounded::new(if count > 0.0 { sum / count } else { 0.0 })
}
