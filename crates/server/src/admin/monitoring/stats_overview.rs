//! `/monitoring/stats/overview`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sluice::stats::{FleetStats, Total, events::ConnectionKind};
use sluice_core::Timestamp;
use utoipa::ToSchema;

use super::rounded::Rounded;
use crate::admin::health::Health;

/// The most important statistics on one page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatsOverview<'a> {
    fleet: FleetOverview,
    replica: ReplicaOverview<'a>,
    requests: RequestOverview,
    rate_limiting: RateLimitOverview,
    llm: LlmOverview,
    active_connections: FleetConnections,
    database_connections: u64,
    active_deployments: u64,
    /// The mean of all reported caches; `null` if none was reported.
    #[schema(required, value_type = Option<f64>)]
    cache_hit_rate: Option<Rounded>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Fleet)]
struct FleetOverview {
    replicas: usize,
    /// Seconds since the first replica flushed.
    #[schema(required)]
    uptime_seconds: Option<u64>,
}

/// The replica that sends this response.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnsweringReplica)]
struct ReplicaOverview<'a> {
    id: &'a str,
    version: &'a str,
    uptime_seconds: u64,
}

/// Requests to the API, without exempt paths.
#[derive(Debug, Serialize, ToSchema)]
struct RequestOverview {
    total: u64,
    #[schema(value_type = f64)]
    avg_latency_ms: Rounded,
    #[schema(value_type = f64)]
    error_rate: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
struct RateLimitOverview {
    total_clients: u64,
    rate_limited_clients: u64,
    total_requests: u64,
    rejected_requests: u64,
    #[schema(value_type = f64)]
    rejection_rate: Rounded,
}

#[derive(Debug, Serialize, ToSchema)]
struct LlmOverview {
    total_generations: u64,
    total_tokens_generated: u64,
    total_tokens_consumed: u64,
}

/// The connections of all live replicas, and those that applications report.
#[derive(Debug, Serialize, ToSchema)]
struct FleetConnections {
    http: u64,
    websocket: u64,
    grpc: u64,
}

impl<'a> StatsOverview<'a> {
    pub(super) fn new(stats: &FleetStats, health: &'a Health) -> Self {
        let FleetStats { totals, gauges, .. } = stats;
        let replica = health.replica();
        let own = stats.open_connections();
        Self {
            fleet: FleetOverview {
                replicas: stats.replicas.len(),
                uptime_seconds: stats.since.map(seconds_since),
            },
            replica: ReplicaOverview {
                id: &replica.id,
                version: &replica.version,
                uptime_seconds: health.uptime().as_secs(),
            },
            requests: RequestOverview {
                total: totals.get(Total::HttpRequests),
                avg_latency_ms: Rounded::mean_ms(
                    totals.get(Total::HttpMicros),
                    totals.get(Total::HttpRequests),
                ),
                error_rate: Rounded::ratio(
                    totals.get(Total::HttpServerErrors),
                    totals.get(Total::HttpRequests),
                ),
            },
            rate_limiting: RateLimitOverview {
                total_clients: stats.clients,
                rate_limited_clients: stats.limited_clients,
                total_requests: stats.requests(),
                rejected_requests: stats.rejected(),
                rejection_rate: Rounded::ratio(stats.rejected(), stats.requests()),
            },
            llm: LlmOverview {
                total_generations: totals.get(Total::LlmRequests),
                total_tokens_generated: totals.get(Total::LlmTokensGenerated),
                total_tokens_consumed: totals.get(Total::LlmTokensConsumed),
            },
            active_connections: FleetConnections {
                http: own.http + gauges.connections(ConnectionKind::Http),
                websocket: own.websocket + gauges.connections(ConnectionKind::WebSocket),
                grpc: own.grpc + gauges.connections(ConnectionKind::Grpc),
            },
            database_connections: own.database + gauges.database_connections(),
            active_deployments: gauges.active_deployments,
            cache_hit_rate: gauges.mean_cache_hit_rate().map(Rounded::new),
        }
    }
}

fn seconds_since(start: Timestamp) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(u64::try_from(start.unix_micros() / 1_000_000).unwrap_or(0))
}
