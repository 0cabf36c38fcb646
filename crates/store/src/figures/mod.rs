//! What is known of the whole fleet: totals that outlive every replica, distinct clients of the
//! last hour, and gauges that all replicas tell alike.
//!
//! A replica counts for itself, and hands what has come together to [`Figures`] about once a second
//! ([`Flush`]). No request waits for it. A flush carries a number: one that is sent again, since
//! nobody knows whether it had arrived, adds nothing twice.
//!
//! Distinct clients are counted by a `HyperLogLog` in [`SLICES`] slices of [`SLICE`]. The hour they
//! cover ends now, and begins up to a slice short of an hour ago: a client gone for an hour is not
//! in it.

mod deltas;
mod fleet;
mod memory;
mod slice;

use std::fmt;

pub use self::{
    deltas::{Deltas, DeploymentChange, EndpointDeltas, Flush, GaugeReport, Held, Phase},
    fleet::{EndpointFigures, FleetFigures, GaugeKey, Gauges, ReplicaFigures, Total, Totals},
    memory::MemoryFigures,
    slice::{SLICE, SLICES},
};
pub(crate) use self::{
    fleet::{
        LATE_START, MAX_DEPLOYMENT_AGE, MAX_ENDPOINTS, MAX_GAUGES, MAX_TOP, REPORT_KEPT, TOP_TOLD,
    },
    memory::{at, most},
    slice::Slice,
};
use crate::{StoreError, StoreFuture};

/// Keeps the figures of a fleet.
///
/// Both implementations pass the same tests: `tests/figures`.
pub trait Figures: fmt::Debug + Send + Sync + 'static {
    /// Adds what a replica has counted since its last flush, and tells the gauges of the fleet as
    /// they are then.
    ///
    /// # Errors
    /// When it is not known whether the flush was added: it is then to be sent again as it is,
    /// before any other.
    fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>>;

    /// Everything that is known of the fleet.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn read(&self) -> StoreFuture<'_, Result<FleetFigures, StoreError>>;

    /// Forgets what `replica` holds, as it stops on purpose. What it counted stays.
    ///
    /// # Errors
    /// When the store cannot be reached; what it holds is then forgotten after a while.
    fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>>;
}
