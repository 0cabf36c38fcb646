//! `/monitoring/rate-limit/stats`.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice::{
    Policy,
    stats::{EndpointStats, FleetStats, SLICE, SLICES},
};
use sluice_telemetry::OTHER;
use utoipa::ToSchema;

/// The name of the limit that speaks for what no other does.
const DEFAULT: &str = "default";

/// What the page tells.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RateLimitStats)]
pub(crate) struct Page<'a> {
    /// Distinct clients of the last hour.
    total_clients: u64,
    /// Those of them that were limited.
    rate_limited_clients: u64,
    endpoint_stats: BTreeMap<&'a str, Endpoint>,
    /// Who was limited most often in the last hour, by hashed names.
    top_limited_clients: Vec<Limited<'a>>,
    total_requests: u64,
    rejected_requests: u64,
    /// The time that clients are counted in.
    client_window_seconds: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointStats)]
struct Endpoint {
    /// Requests per minute of a client without a tier; `null` where nothing is limited.
    #[schema(required)]
    limit: Option<u64>,
    active_clients: u64,
    total_requests: u64,
    rejected_requests: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LimitedClient)]
struct Limited<'a> {
    client: &'a str,
    rejected_requests: u64,
}

/// The page: the endpoints of `policy`, and what the fleet has counted.
pub(super) fn page<'a>(figures: &'a FleetStats, policy: &'a Policy) -> Page<'a> {
    let limit = |endpoint: &str| {
        let name = if endpoint == OTHER { DEFAULT } else { endpoint };
        let limit = policy.limits().iter().find(|limit| limit.name() == name)?;
        Some(limit.rate().refill_rate().tokens_per_minute())
    };
    let mut endpoint_stats = BTreeMap::new();
    for endpoint in policy.endpoints() {
        let counted = figures.endpoints.get(&**endpoint).copied().unwrap_or_default();
        let limit = limit(endpoint);
        // Of what is never limited there is nothing to tell.
        if limit.is_some() || counted != EndpointStats::default() {
            let EndpointStats { requests, rejected, active_clients, .. } = counted;
            let stats = Endpoint {
                limit,
                active_clients,
                total_requests: requests,
                rejected_requests: rejected,
            };
            endpoint_stats.insert(&**endpoint, stats);
        }
    }
    let sum = |of: fn(&EndpointStats) -> u64| {
        figures.endpoints.values().map(of).fold(0, u64::saturating_add)
    };
    Page {
        total_clients: figures.clients,
        rate_limited_clients: figures.limited_clients,
        endpoint_stats,
        top_limited_clients: figures
            .top_limited
            .iter()
            .map(|(client, times)| Limited { client, rejected_requests: *times })
            .collect(),
        total_requests: sum(|endpoint| endpoint.requests),
        rejected_requests: sum(|endpoint| endpoint.rejected),
        client_window_seconds: SLICE.as_secs() * SLICES,
    }
}
