//! The wrapped store with its timeout, breaker and fallback, shared with the recovery task.

use std::{sync::Arc, time::Duration};

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

    /// Records that a call failed for a reason that concerns the store as a whole.
    pub(super) fn record_failure(&self, call: AdmittedCall, error: &StoreError) {
        self.errors.count(error);
        self.breaker.call_failed(call, error, self.clock.now());
    }
}

/// Returns whether an error concerns the whole store, and not only a bucket that another version or
/// another program wrote.
fn concerns_store(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unreadable { .. })
}

/// Returns whether a decision needed a write. Denials and peeks do not: they succeed on a primary
/// that has become read-only.
fn proves_writes(check: &Check, decision: &Decision) -> bool {
    decision.is_allowed() && check.action() != Action::Peek
}
