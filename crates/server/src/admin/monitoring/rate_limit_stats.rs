//! `/monitoring/rate-limit/stats`.

use std::collections::BTreeMap;

use serde::Serialize;
use sluice::{
    Algorithm, Policy,
    response::headers,
    stats::{EndpointStats, FleetStats, SLICE, SLICES},
};
use sluice_telemetry::OTHER;
use utoipa::ToSchema;

/// The name of the limit for requests that no endpoint of the policy matches.
const DEFAULT: &str = "default";

/// Clients of the last hour, and requests and denials by endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RateLimitStats<'a> {
    /// Distinct clients of the last hour.
    total_clients: u64,
    /// Distinct clients of the last hour with at least one denied request.
    rate_limited_clients: u64,
    endpoint_stats: BTreeMap<&'a str, EndpointRateLimit>,
    /// The clients that were denied most often in the last hour, by hashed names.
    top_limited_clients: Vec<LimitedClient<'a>>,
    total_requests: u64,
    rejected_requests: u64,
    /// The length of the time in which clients are counted.
    client_window_seconds: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EndpointStats)]
struct EndpointRateLimit {
    /// Tokens per period of a client without a tier, or the burst if larger: 20 of `20/minute`;
    /// `null` if the endpoint is not limited.
    #[schema(required)]
    limit: Option<u64>,
    /// The rate and the burst of a client without a tier, as text: `20/minute, burst 10`; `null` if
    /// the endpoint is not limited.
    #[schema(required)]
    rate: Option<String>,
    active_clients: u64,
    total_requests: u64,
    rejected_requests: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct LimitedClient<'a> {
    client: &'a str,
    rejected_requests: u64,
}

impl<'a> RateLimitStats<'a> {
    pub(super) fn new(stats: &'a FleetStats, policy: &'a Policy) -> Self {
        let top_limited_clients = stats
            .top_limited
            .iter()
            .map(|(client, denials)| LimitedClient { client, rejected_requests: *denials });
        Self {
            total_clients: stats.clients,
            rate_limited_clients: stats.limited_clients,
            endpoint_stats: endpoint_stats(stats, policy),
            top_limited_clients: top_limited_clients.collect(),
            total_requests: stats.requests(),
            rejected_requests: stats.rejected(),
            client_window_seconds: SLICE.as_secs() * SLICES,
        }
    }
}

/// The endpoints of the policy, but for those that are neither limited nor counted.
fn endpoint_stats<'a>(
    stats: &FleetStats,
    policy: &'a Policy,
) -> BTreeMap<&'a str, EndpointRateLimit> {
    let mut endpoints = BTreeMap::new();
    for endpoint in policy.endpoints() {
        let counted = stats.endpoints.get(&**endpoint).copied().unwrap_or_default();
        let rate = rate(policy, endpoint);
        let limit = rate.map(headers::shown_limit);
        if limit.is_some() || counted != EndpointStats::default() {
            let entry = EndpointRateLimit {
                limit,
                rate: rate.map(ToString::to_string),
                active_clients: counted.active_clients,
                total_requests: counted.requests,
                rejected_requests: counted.rejected,
            };
            endpoints.insert(&**endpoint, entry);
        }
    }
    endpoints
}

fn rate<'a>(policy: &'a Policy, endpoint: &str) -> Option<&'a Algorithm> {
    let name = if endpoint == OTHER { DEFAULT } else { endpoint };
    policy.limits().iter().find(|limit| limit.name() == name).map(|limit| limit.algorithm())
}
