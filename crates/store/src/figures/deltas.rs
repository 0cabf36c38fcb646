//! What a replica tells the fleet.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use sluice_core::Tag;

use super::fleet::{GaugeKey, Totals};

/// What a replica has counted since its last flush, under a number of its own.
#[derive(Clone, Debug, Default)]
pub struct Flush {
    /// The replica's id: unlike any other's, and new with every start.
    pub replica: Arc<str>,
    /// One more than that of the replica's last flush; the first is 1.
    pub number: u64,
    /// What the replica holds now.
    pub held: Held,
    /// What it has counted.
    pub deltas: Deltas,
}

/// What a replica holds, and what is gone with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Open HTTP connections.
    pub http: u64,
    /// Open `WebSocket`s.
    pub websocket: u64,
    /// Open gRPC connections.
    pub grpc: u64,
    /// Connections to the store.
    pub database: u64,
}

/// What has come together at a replica since its last flush.
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    /// To be added to the totals.
    pub totals: Totals,
    /// By endpoint: a configured pattern, or `other`.
    pub endpoints: BTreeMap<Arc<str>, EndpointDeltas>,
    /// The clients that were limited, each with how often.
    pub limited: HashMap<Tag, u64>,
    /// Deployments that started or finished, in their order.
    pub deployments: Vec<DeploymentChange>,
    /// The latest report of each gauge.
    pub gauges: BTreeMap<GaugeKey, GaugeReport>,
}

/// What has come together for one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointDeltas {
    /// Requests decided.
    pub requests: u64,
    /// Those of them that were denied.
    pub rejected: u64,
    /// Who sent them. A client that was told of in the same slice already may be left out.
    pub clients: Vec<Tag>,
}

/// A deployment has started or finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentChange {
    /// What tells it from others, if anything: then a change that is reported twice counts once.
    pub id: Option<Box<str>>,
    /// Which of the two.
    pub phase: Phase,
    /// When.
    pub at: Instant,
}

/// The ends of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It runs from now on.
    Started,
    /// It runs no more.
    Finished,
}

/// What somebody says a gauge shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaugeReport {
    /// The value; `None` takes the gauge away.
    pub value: Option<f64>,
    /// When it was said. Of two reports the later one holds.
    pub at: Instant,
}
