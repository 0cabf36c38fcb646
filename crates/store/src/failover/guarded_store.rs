//! The wrapped store with its timeout, breaker and fallback, shared with the recovery task.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sluice_core::{Action, Check, Decision};

use super::{
    breaker::{AdmittedCall, Breaker},
    failover_state::ErrorCounts,
    local_fallback::LocalFallback,
};
use crate::{Clock, StoreError};

/// A store behind a timeout and a breaker, and the fallback that takes its place.
pub(super) struct GuardedStore<S> {
    pub(super) store: S,
    pub(super) timeout: Duration,
    pub(super) breaker: Breaker,
    pub(super) fallback: LocalFallback,
    pub(super) errors: ErrorCounts,
    /// Calls that ended before the store replied.
    pub(super) unanswered: AtomicU64,
    pub(super) clock: Arc<dyn Clock>,
}

impl<S> GuardedStore<S> {
    pub(super) fn new(store: S, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            timeout,
            breaker: Breaker::closed(clock.now()),
            fallback: LocalFallback::new(Arc::clone(&clock)),
            errors: ErrorCounts::default(),
            unanswered: AtomicU64::new(0),
            clock,
        }
    }

    /// Records the outcome of a call that carried `checks`: as one failure, or as one success.
    pub(super) fn record(
        &self,
        call: AdmittedCall,
        checks: &[Check],
        results: &[Result<Decision, StoreError>],
    ) {
        let errors = || results.iter().filter_map(|result| result.as_ref().err());
        if let Some(error) = errors().find(|error| concerns_store(error)) {
            self.record_failure(call, error);
        } else if let Some(error) = errors().next() {
            self.errors.count(error);
        } else if checks.iter().zip(results).any(|(check, result)| {
            result.as_ref().is_ok_and(|decision| proves_writes(check, decision))
        }) {
            self.breaker.call_succeeded();
        }
    }

    /// Records that a caller went on without a reply after it had waited for `waited`.
    ///
    /// Each one counts, since it was decided without the store, or not at all. It speaks against
    /// the store only if the store had time to reply.
    pub(super) fn record_unanswered(
        &self,
        call: AdmittedCall,
        waited: Duration,
        error: &StoreError,
    ) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        if self.had_time(waited) {
            self.record_failure(call, error);
        } else {
            self.errors.count(error);
        }
    }

    /// Returns whether a store that did not reply to a caller within `waited` is to blame.
    pub(super) fn had_time(&self, waited: Duration) -> bool {
        waited >= self.timeout / 2
    }

    /// Records that a call failed for a reason that concerns the store as a whole.
    pub(super) fn record_failure(&self, call: AdmittedCall, error: &StoreError) {
        self.errors.count(error);
        self.breaker.call_failed(call, error, self.clock.now());
    }
}

/// Returns whether an error concerns the whole store, and not only a bucket that another version or
/// another program wrote.
fn concerns_store(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unreadable { .. } | StoreError::TooLarge { .. })
}

/// Returns whether a decision needed a write. Denials and peeks do not: they succeed on a primary
/// that has become read-only.
fn proves_writes(check: &Check, decision: &Decision) -> bool {
    decision.is_allowed() && check.action() != Action::Peek
}
