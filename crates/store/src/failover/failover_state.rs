//! The state of a failover, for readiness probes, metrics and people.

use std::sync::atomic::{AtomicU64, Ordering};

use sluice_core::Timestamp;

use super::breaker::BreakerState;
use crate::{StoreError, StoreErrorKind};

/// The state of a [`Failover`](super::Failover) at one moment.
///
/// Each node of the store has a circuit breaker of its own. What is said here of "the breaker" is
/// about all of them together.
///
/// Counters only grow, so that a reader can take differences.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailoverState {
    /// Whether checks are sent to the store: the state of the node that is worst off.
    pub breaker: BreakerState,
    /// When the breaker last closed, or left the closed state if it is not closed now: that of the
    /// first node, if several are away.
    pub since: Timestamp,
    /// How often the breaker has opened, that is how often a node became unavailable.
    pub opened: u64,
    /// The number of nodes whose breaker is not closed.
    pub unavailable_nodes: usize,
    /// The number of nodes that have buckets.
    pub nodes: usize,
    /// The time and the error of the store's last failure, which may be long over.
    pub last_failure: Option<(Timestamp, StoreError)>,
    /// Failures by kind: one for each call, however many checks were in it. Calls that an open
    /// breaker rejected count as [`StoreErrorKind::BreakerOpen`].
    pub errors: [(StoreErrorKind, u64); StoreErrorKind::ALL.len()],
    /// Those of the [timeouts](StoreErrorKind::Timeout) in which the caller did not get the store's
    /// reply in time, or gave up before that; the rest are timeouts that the store itself reported.
    pub unanswered: u64,
    /// The number of replicas that the store counted last, this one included. While the store is
    /// unavailable, limits are divided among as many, or among those that are expected if these are
    /// more.
    pub live_replicas: usize,
    /// Buckets in the store that have not yet been charged for what was admitted without it.
    pub owed_buckets: usize,
    /// Tokens charged after the fact.
    pub charged_tokens: u64,
    /// Tokens admitted without the store that will never be charged, since the ledger was full or
    /// the store could not read a bucket.
    pub dropped_tokens: u64,
}

impl FailoverState {
    /// Returns the number of failures of this kind.
    #[must_use]
    pub fn errors_of(&self, kind: StoreErrorKind) -> u64 {
        self.errors.iter().find(|(known, _)| *known == kind).map_or(0, |(_, count)| *count)
    }
}

/// Counts failures by kind.
#[derive(Debug, Default)]
pub(super) struct ErrorCounts([AtomicU64; StoreErrorKind::ALL.len()]);

impl ErrorCounts {
    pub(super) fn count(&self, error: &StoreError) {
        self.0[error.kind() as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> [(StoreErrorKind, u64); StoreErrorKind::ALL.len()] {
        StoreErrorKind::ALL.map(|kind| (kind, self.0[kind as usize].load(Ordering::Relaxed)))
    }
}
