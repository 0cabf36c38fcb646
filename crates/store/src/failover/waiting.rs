//! Callers that wait for the store.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{breaker::AdmittedCall, guarded_store::GuardedStore, timeout::with_timeout};
use crate::{Store, StoreError, StoreFuture};

impl<S: Store> GuardedStore<S> {
    /// Waits for a result, for at most `limit`, and records it if none comes. A caller that gives
    /// up before that is noticed too.
    pub(super) async fn wait<T>(
        self: &Arc<Self>,
        call: AdmittedCall,
        limit: Duration,
        future: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let mut caller = WaitingCaller { guarded: self, call, since: Instant::now(), waits: true };
        let result = with_timeout(limit, future).await;
        caller.waits = false;
        result.inspect_err(|error| self.record_unanswered(call, limit, error))
    }
}

/// A caller that waits for the store.
///
/// Callers have deadlines of their own, often shorter ones, which not all of them tell; they drop
/// the future. If that did not count, a store that hangs would never be found unavailable.
struct WaitingCaller<'a, S: Store> {
    guarded: &'a Arc<GuardedStore<S>>,
    call: AdmittedCall,
    since: Instant,
    waits: bool,
}

impl<S: Store> Drop for WaitingCaller<'_, S> {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        let waited = self.since.elapsed();
        let Self { guarded, call, .. } = *self;
        guarded.record_unanswered(call, waited, &StoreError::Timeout { within: waited });
        if guarded.had_time(waited) {
            guarded.start_recovery(call.node);
        }
    }
}
