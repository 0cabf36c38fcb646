//! What a stats store knows of a fleet.

use std::{collections::BTreeMap, time::Duration};

use sluice_core::Timestamp;

use crate::{gauges::Gauges, totals::Totals};

/// The most clients in [`FleetStats::top_limited`].
pub(crate) const TOP_LIMITED: usize = 10;

/// The statistics of a whole fleet.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct FleetStats {
    /// When the first replica flushed, by the store's clock; `None` if none has yet.
    pub since: Option<Timestamp>,
    /// Sums over everything that any replica has ever counted.
    pub totals: Totals,
    /// The statistics of each endpoint: a configured pattern, or `other`.
    pub endpoints: BTreeMap<Box<str>, EndpointStats>,
    /// Distinct clients of the last hour, estimated to about 1 %.
    pub clients: u64,
    /// Distinct clients of the last hour with at least one denied request.
    pub limited_clients: u64,
    /// The tags of the clients that were denied most often in the last hour, with the number of
    /// denials, in descending order.
    pub top_limited: Vec<(Box<str>, u64)>,
    /// Gauges that have one value for the whole fleet.
    pub gauges: Gauges,
    /// Live replicas, by their ids.
    pub replicas: BTreeMap<Box<str>, ReplicaStats>,
}

/// The statistics of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Requests decided.
    pub requests: u64,
    /// Requests denied.
    pub rejected: u64,
    /// Distinct clients of the last hour, estimated to about 1 %.
    pub active_clients: u64,
}

/// The statistics of a live replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStats {
    /// The connections that the replica had open at its last flush.
    pub connections: OpenConnections,
    /// How long ago its last flush was, by the store's clock.
    pub flushed_ago: Duration,
}

/// The connections that a replica has open. They end with the replica, so a store keeps them beside
/// the replica's id and not in a total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenConnections {
    /// HTTP connections.
    pub http: u64,
    /// `WebSocket` connections.
    pub websocket: u64,
    /// gRPC connections.
    pub grpc: u64,
    /// Connections to the store.
    pub database: u64,
}

impl FleetStats {
    /// Returns how many requests were decided at all endpoints.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.endpoints.values().map(|endpoint| endpoint.requests).fold(0, u64::saturating_add)
    }

    /// Returns how many requests were denied at all endpoints.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.endpoints.values().map(|endpoint| endpoint.rejected).fold(0, u64::saturating_add)
    }

    /// Returns the connections that all live replicas have open.
    #[must_use]
    pub fn open_connections(&self) -> OpenConnections {
        let add = |sum: OpenConnections, replica: &ReplicaStats| OpenConnections {
            http: sum.http + replica.connections.http,
            websocket: sum.websocket + replica.connections.websocket,
            grpc: sum.grpc + replica.connections.grpc,
            database: sum.database + replica.connections.database,
        };
        self.replicas.values().fold(OpenConnections::default(), add)
    }
}

/// Returns the clients that were denied most often, in descending order.
pub(crate) fn top_limited(
    denials: impl IntoIterator<Item = (Box<str>, u64)>,
) -> Vec<(Box<str>, u64)> {
    let mut top: Vec<_> = denials.into_iter().collect();
    top.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    top.truncate(TOP_LIMITED);
    top
}
