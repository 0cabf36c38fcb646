//! `/monitoring/stats/overview`.

use serde::Serialize;
use sluice::stats::{EndpointStats, FleetStats, OpenConnections, Total};
use utoipa::ToSchema;

use super::{number::Rounded, summary::mean};
use crate::admin::health::Health;

/// What the page tells.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatsOverview)]
pub(crate) struct Page<'a> {
    fleet: Fleet,
    replica: Replica<'a>,
    requests: Requests,
    rate_limiting: RateLimiting,
    llm: Llm,
    active_connections: Connections,
    database_connections: u64,
    active_deployments: u64,
    /// The mean over all caches that were reported; `null` when none was.
    #[schema(required, value_type = Option<f64>)]
    cache_hit_rate: Option<Rounded>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Fleet)]
struct Fleet {
    replicas: usize,
    /// Since counting began.
    #[schema(required)]
    uptime_seconds: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnsweringReplica)]
struct Replica<'a> {
    id: &'a str,
    version: &'a str,
    uptime_seconds: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RequestFigures)]
struct Requests {
    total: u64,
    #[schema(value_type = f64)]
    avg_latency_ms: Rounded,
    #[schema(value_type = f64)]
    error_rate: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RateLimitFigures)]
struct RateLimiting {
    total_clients: u64,
    rate_limited_clients: u64,
    total_requests: u64,
    rejected_requests: u64,
    #[schema(value_type = f64)]
    rejection_rate: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LlmFigures)]
struct Llm {
    total_generations: u64,
    total_tokens_generated: u64,
    total_tokens_consumed: u64,
}

/// Those of all living replicas, and those that applications report.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = FleetConnections)]
struct Connections {
    http: u64,
    websocket: u64,
    grpc: u64,
}

/// The page.
pub(super) fn page<'a>(health: &'a Health, figures: &FleetStats) -> Page<'a> {
    let get = |total| figures.totals.get(total);
    let sum = |of: fn(&EndpointStats) -> u64| {
        figures.endpoints.values().map(of).fold(0, u64::saturating_add)
    };
    let (decided, rejected) =
        (sum(|endpoint| endpoint.requests), sum(|endpoint| endpoint.rejected));
    let held = |of: fn(&OpenConnections) -> u64| {
        figures.replicas.values().map(|replica| of(&replica.connections)).sum::<u64>()
    };
    let has_caches = figures.gauges.reported.keys().any(|key| key.metric() == "cache_hit_rate");
    let replica = health.replica();
    Page {
        fleet: Fleet {
            replicas: figures.replicas.len(),
            uptime_seconds: figures.since.map(seconds_since),
        },
        replica: Replica {
            id: &replica.id,
            version: &replica.version,
            uptime_seconds: health.uptime().as_secs(),
        },
        requests: Requests {
            total: get(Total::HttpRequests),
            avg_latency_ms: Rounded::mean_ms(get(Total::HttpMicros), get(Total::HttpRequests)),
            error_rate: Rounded::ratio(get(Total::HttpServerErrors), get(Total::HttpRequests)),
        },
        rate_limiting: RateLimiting {
            total_clients: figures.clients,
            rate_limited_clients: figures.limited_clients,
            total_requests: decided,
            rejected_requests: rejected,
            rejection_rate: Rounded::ratio(rejected, decided),
        },
        llm: Llm {
            total_generations: get(Total::LlmRequests),
            total_tokens_generated: get(Total::LlmTokensGenerated),
            total_tokens_consumed: get(Total::LlmTokensConsumed),
        },
        active_connections: Connections {
            http: held(|held| held.http) + reported(figures, "active_connections", Some("http")),
            websocket: held(|held| held.websocket)
                + reported(figures, "active_connections", Some("websocket")),
            grpc: held(|held| held.grpc) + reported(figures, "active_connections", Some("grpc")),
        },
        database_connections: held(|held| held.database)
            + reported(figures, "database_connections", None),
        active_deployments: figures.gauges.active_deployments,
        cache_hit_rate: has_caches.then(|| mean(figures, "cache_hit_rate")),
    }
}

/// The sum of what was reported for `metric`, with `label` as its first label value if given.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts were reported as whole numbers"
)]
fn reported(figures: &FleetStats, metric: &str, label: Option<&str>) -> u64 {
    let is_meant = |key: &sluice::stats::GaugeKey| {
        key.metric() == metric && (label.is_none() || key.labels().next() == label)
    };
    figures
        .gauges
        .reported
        .iter()
        .filter(|(key, _)| is_meant(key))
        .map(|(_, value)| *value as u64)
        .sum()
}

fn seconds_since(began: sluice_core::Timestamp) -> u64 {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(u64::try_from(began.unix_micros() / 1_000_000).unwrap_or(0))
}
