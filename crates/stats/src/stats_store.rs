//! The trait that every stats store implements.

use std::fmt;

use sluice_store::{StoreError, StoreFuture};

use crate::{fleet::FleetStats, flush::Flush, gauges::Gauges, history::History, running::Charged};

/// Keeps the statistics of a fleet.
///
/// `tests/conformance` lists the properties that [`MemoryStats`](crate::MemoryStats) and
/// [`RedisStats`](crate::RedisStats) both have. The trait may change before version 1.0.
pub trait StatsStore: fmt::Debug + Send + Sync + 'static {
    /// Adds what a replica has counted since its previous flush, and returns the gauges of the
    /// fleet after it.
    ///
    /// # Errors
    /// When the caller cannot know whether the flush was added. It must then send the same flush
    /// again before any other.
    fn flush<'a>(&'a self, flush: &'a Flush) -> StoreFuture<'a, Result<Gauges, StoreError>>;

    /// Returns the statistics of the fleet.
    ///
    /// # Errors
    /// When the store cannot be reached, or holds what this version cannot read.
    fn read(&self) -> StoreFuture<'_, Result<FleetStats, StoreError>>;

    /// Charges the deployments that cost by the hour up to now, and adds that to the hourly sums.
    /// Each moment is charged once, whichever replicas call this.
    ///
    /// # Errors
    /// When the caller cannot know what was charged. It must not repeat the call for that: the next
    /// one charges what is left.
    fn charge_deployments(&self) -> StoreFuture<'_, Result<Charged, StoreError>>;

    /// Returns the hourly sums of the fleet over the last 35 days.
    ///
    /// # Errors
    /// As for [`StatsStore::read`].
    fn read_history(&self) -> StoreFuture<'_, Result<History, StoreError>>;

    /// Removes `replica` and its open connections, because it stops. What it has counted stays.
    ///
    /// # Errors
    /// When the store cannot be reached. The replica then expires by itself, after 15 seconds
    /// without a flush.
    fn depart<'a>(&'a self, replica: &'a str) -> StoreFuture<'a, Result<(), StoreError>>;
}
