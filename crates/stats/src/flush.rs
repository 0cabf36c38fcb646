//! What a replica sends to the stats store about once a second.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use sluice_core::Tag;

use crate::{
    fleet::OpenConnections, gauges::GaugeKey, history::HistoryPeriod, running::RunningChange,
    totals::Totals,
};

/// Everything that a replica has counted since its previous flush.
///
/// The number makes a flush safe to send again: a store adds the deltas only if the number is
/// higher than that of the replica's last flush.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Flush {
    /// The replica's id: unique, and new with every start.
    pub replica: Arc<str>,
    /// One more than the number of the replica's previous flush; the first is 1.
    pub number: u64,
    /// The connections that the replica has open.
    pub connections: OpenConnections,
    /// What it has counted.
    pub deltas: Deltas,
}

/// What a replica has counted since its previous flush.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Deltas {
    /// To be added to the totals.
    pub totals: Totals,
    /// To be added to each endpoint: a configured pattern, or `other`.
    pub endpoints: BTreeMap<Arc<str>, EndpointDeltas>,
    /// The clients that were denied, each with the number of denials.
    pub limited: HashMap<Tag, u64>,
    /// Deployments that started or finished, in order.
    pub deployments: Vec<DeploymentChange>,
    /// The latest report of each gauge.
    pub gauges: BTreeMap<GaugeKey, GaugeReport>,
    /// To be added to the hourly sums.
    pub history: Vec<HistoryPeriod>,
    /// Deployments that cost by the hour and were created or deleted, in order.
    pub running: Vec<RunningChange>,
}

/// What a replica has counted for one endpoint since its previous flush.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointDeltas {
    /// Requests decided.
    pub requests: u64,
    /// Requests denied.
    pub rejected: u64,
    /// The clients that sent them. A client that was already reported in the same time slice may be
    /// missing.
    pub clients: Vec<Tag>,
}

/// A deployment that started or finished.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeploymentChange {
    /// The deployment's id, if it has one. A change that is reported twice with the same id counts
    /// once.
    pub id: Option<Box<str>>,
    /// Whether it started or finished.
    pub phase: DeploymentPhase,
    /// When it did.
    pub at: Instant,
}

/// Whether a deployment started or finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeploymentPhase {
    /// It is active from now on.
    Started,
    /// It is no longer active.
    Finished,
}

/// A report of a gauge's value.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GaugeReport {
    /// The value; `None` removes the gauge.
    pub value: Option<f64>,
    /// When it was reported. The latest of several reports is kept.
    pub at: Instant,
}

impl Flush {
    /// Makes the flush with this number of the replica with this id.
    #[must_use]
    pub const fn new(
        replica: Arc<str>,
        number: u64,
        connections: OpenConnections,
        deltas: Deltas,
    ) -> Self {
        Self { replica, number, connections, deltas }
    }
}

impl DeploymentChange {
    /// Makes the change of a deployment that started or finished at `at`.
    #[must_use]
    pub fn new(id: Option<&str>, phase: DeploymentPhase, at: Instant) -> Self {
        Self { id: id.map(Into::into), phase, at }
    }
}

impl GaugeReport {
    /// Makes a report of `value`; `None` removes the gauge.
    #[must_use]
    pub const fn new(value: Option<f64>, at: Instant) -> Self {
        Self { value, at }
    }
}
