//! What can be seen of a failover from outside.

use std::sync::atomic::{AtomicU64, Ordering};

use sluice_core::Timestamp;

use super::breaker::BreakerState;
use crate::{StoreError, StoreErrorKind};

/// How a [`Failover`](super::Failover) stands: for readiness, metrics and people.
///
/// Numbers that count only ever grow, so that a reader can take differences.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailoverState {
    /// Whether checks go to the store.
    pub breaker: BreakerState,
    /// Since when the breaker is closed, or since when it is not.
    pub since: Timestamp,
    /// How often the breaker has opened.
    pub opened: u64,
    /// The store's last failure, and when; it may be long over.
    pub last_failure: Option<(Timestamp, StoreError)>,
    /// Failures by kind: one for each call, however many checks were in it. Calls that an open
    /// breaker kept from the store count as [`StoreErrorKind::BreakerOpen`].
    pub errors: [(StoreErrorKind, u64); KINDS.len()],
    /// Replicas among which limits are shared while the store is away.
    pub live_replicas: usize,
    /// Buckets in the store that are still to be charged for what was admitted without it.
    pub owed_buckets: usize,
    /// Tokens charged afterwards.
    pub charged_tokens: u64,
    /// Tokens that were admitted without the store and will never be charged, since the ledger was
    /// full or the store could not read a bucket.
    pub dropped_tokens: u64,
}

const KINDS: [StoreErrorKind; 5] = [
    StoreErrorKind::Timeout,
    StoreErrorKind::Unreachable,
    StoreErrorKind::BreakerOpen,
    StoreErrorKind::Refused,
    StoreErrorKind::Unreadable,
];

/// Failures counted by kind.
#[derive(Debug, Default)]
pub(super) struct ErrorCounts([AtomicU64; KINDS.len()]);

impl ErrorCounts {
    pub(super) fn count(&self, error: &StoreError) {
        let kind = error.kind();
        if let Some(place) = KINDS.iter().position(|known| *known == kind) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> [(StoreErrorKind, u64); KINDS.len()] {
        std::array::from_fn(|place| (KINDS[place], self.0[place].load(Ordering::Relaxed)))
    }
}

impl FailoverState {
    /// How many failures of this kind there were.
    #[must_use]
    pub fn errors_of(&self, kind: StoreErrorKind) -> u64 {
        self.errors.iter().find(|(known, _)| *known == kind).map_or(0, |(_, count)| *count)
    }
}
