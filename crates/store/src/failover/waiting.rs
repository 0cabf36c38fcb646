//! Callers that wait for the store.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{sync::futures::Notified, time::Instant};

use super::{breaker::AdmittedCall, guarded_store::GuardedStore, timeout::with_deadline};
use crate::{Store, StoreError};

impl<S: Store> GuardedStore<S> {
    /// Waits for a result, for at most `limit`, and records it if none comes. A caller that gives
    /// up before that is noticed too.
    pub(super) async fn wait<T>(
        self: &Arc<Self>,
        call: AdmittedCall,
        limit: Duration,
        mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    ) -> Result<T, StoreError> {
        let since = Instant::now();
        let mut caller = WaitingCaller { guarded: self, call, since, waits: true };
        let early = match self.slow_calls.wait(limit) {
            Some(told) => unless_slow(future.as_mut(), told).await,
            None => None,
        };
        let result = match early {
            Some(result) => Ok(result),
            // Rare, and its timers are large: they would be in the future of every caller.
            None => Box::pin(with_deadline(since + limit, limit, future)).await,
        };
        caller.waits = false;
        result.inspect_err(|error| self.record_unanswered(call, limit, error))
    }
}

/// Waits for a result until the caller is told that the store is slow.
async fn unless_slow<T>(
    mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    told: Notified<'_>,
) -> Option<T> {
    let mut told = pin!(told);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending => told.as_mut().poll(context).map(|()| None),
    })
    .await
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
