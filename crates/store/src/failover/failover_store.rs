//! The wrapper itself.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sluice_core::{Check, Decision, Partition};

use super::{
    breaker::AdmittedCall, breakers::BreakersReport, failover_state::FailoverState,
    guarded_store::GuardedStore, timeout::with_timeout,
};
use crate::{
    Clock, Fleet, MaybeReady, MonotonicClock, NodeId, ObserveReturns, Replica, Store, StoreError,
    StoreFuture, SubscriptionId, join_all::join_all, spanning::split,
};

type Decided = Result<Decision, StoreError>;

/// A store that responds within a timeout, also while the store that it wraps is unavailable.
///
/// # Timeout and circuit breaker
/// A caller waits at most for the timeout; for twice the timeout if this process itself did not run
/// for a while. A caller with less time says so with [`Store::decide_within`], and gets a decision
/// in that time. After three failures in a row the breaker opens: checks are no longer sent to the
/// store, and none waits. A background task probes the store, first after 100 ms and then at
/// growing intervals up to a second, and closes the breaker once the store responds.
///
/// Each [node](Store::node) of the store has a breaker and a background task of its own. While one
/// node is away, the clients of the others are decided by the store as always.
///
/// A caller that waits for less than half of the timeout, whether it said so or dropped the future,
/// is counted but says nothing about the store: a store may need that long.
///
/// A failover can be made anywhere. Calls that have to wait need a Tokio runtime with its timer
/// enabled. The background tasks run on the runtime of the call that found the store unavailable,
/// and end with the failover.
///
/// # Decisions without the store
/// A check that takes or peeks is decided by each limit's
/// [`OnStoreFailure`](sluice_core::OnStoreFailure), in this order:
///
/// 1. If a limit says `Error`, the whole check fails with [`StoreError::LeftToCaller`].
/// 2. If a limit says `Deny`, the check is denied.
/// 3. The parts whose limits say `Local` are decided together, all or nothing, on buckets in the
///    process. Each holds this replica's share of the limit: the limit divided by the number of
///    live replicas. If one denies, the check is denied.
/// 4. Parts whose limits say `Allow` pass.
///
/// If the buckets of a check are on several nodes, the nodes that respond decide their parts in the
/// order of the check. Those of the other nodes are then decided as above, together, and take part
/// in the decision like one more node. The whole check takes no longer than the timeout.
///
/// A check that is denied or fails takes nothing: what a node took for it is given back. A limit in
/// shadow mode neither denies nor fails the check: with `Deny` its verdict is "not admitted", with
/// `Error` its part passes.
///
/// A hold is reserved and extended like a check that takes. Its tokens are those of this replica's
/// share, and only this replica knows of it: until the store has recovered, it alone can settle the
/// hold. Any other settlement fails with [`StoreError::NotSettled`], and the caller may retry it.
/// Once the store has recovered, a settlement is sent there, which then charges or gives back the
/// difference to what this replica has charged.
///
/// A charge is accepted, and made when the store has recovered. Giving back and resetting fail, and
/// the caller may retry. Nothing is lent, and a lease cannot be settled: it ends by itself.
///
/// Such a decision says [`Source::Local`](sluice_core::Source::Local) and names the limits of the
/// check. When only the store could admit a part, the client may retry after a second, since the
/// store may have recovered by then.
///
/// # Charges after recovery
/// Before checks are sent to a node again, it is charged for what was admitted without it, oldest
/// first, less what the refill has paid for in the meantime. A charge that fails is retried;
/// nothing is lost if the node fails again in between. A check or a charge whose reply did not
/// arrive in time may have been counted by the store as well: it then counts twice, but never not
/// at all. A hold counts once: it has an id, by which the store takes back what it may have taken.
/// Until then, its other steps are made in the process. [`Store::depart`] charges what is still
/// owed; if the store is unavailable even then, it is lost.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use sluice_core::{Action, Algorithm, Check, Cost, Limit, Rate, Subject, Tagger};
/// use sluice_store::{BreakerState, Failover, MemoryStore, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Failover::over(MemoryStore::new(), Duration::from_millis(25));
/// let rate = Rate::new("60/minute".parse()?, 10)?;
/// let limit = Arc::new(Limit::new("default", Algorithm::TokenBucket(rate))?);
/// let alice = Tagger::new(b"").tag(Subject::Client(b"alice"));
/// let check = Check::new(Action::Take).with(&limit, alice, Cost::ONE);
/// assert!(store.decide(&check).await?.is_allowed());
/// assert_eq!(store.state().breaker, BreakerState::Closed);
/// # Ok(())
/// # }
/// ```
pub struct Failover<S> {
    pub(super) guarded: Arc<GuardedStore<S>>,
}

// === impl Failover ===

impl<S: Store> Failover<S> {
    /// Wraps `store`, which has `timeout` for every response.
    pub fn over(store: S, timeout: Duration) -> Self {
        Self::with_clock(store, timeout, Arc::new(MonotonicClock::new()))
    }

    /// Wraps `store` like [`Failover::over`]; local buckets take the time from `clock`.
    pub fn with_clock(store: S, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { guarded: Arc::new(GuardedStore::new(store, timeout, clock)) }
    }

    /// Divides limits among at least this many replicas while the store is unavailable, also before
    /// they have announced themselves. Without it, replicas that start while the store is away
    /// know of no others, and each takes the whole limit.
    #[must_use]
    pub fn expecting(self, replicas: usize) -> Self {
        self.expect_replicas(replicas);
        self
    }

    /// Changes the number of [`Failover::expecting`] from now on.
    pub fn expect_replicas(&self, replicas: usize) {
        self.guarded.fallback.fleet_size.expect(replicas);
    }

    /// Sets the number of replicas, this one included, among which limits are divided while the
    /// store is unavailable.
    ///
    /// Needed only for fleets that do not announce themselves: [`Store::announce`] sets the number
    /// that the store counted.
    pub fn set_live_replicas(&self, replicas: usize) {
        self.guarded.fallback.fleet_size.set(replicas, self.guarded.clock.now());
    }

    /// Returns the current state, for readiness probes and metrics.
    #[must_use]
    pub fn state(&self) -> FailoverState {
        let GuardedStore { breakers, fallback, errors, unanswered, .. } = &*self.guarded;
        let BreakersReport { state, history, unavailable } = breakers.report();
        let totals = fallback.ledger.totals();
        FailoverState {
            breaker: state,
            since: history.since,
            opened: history.opened,
            unavailable_nodes: unavailable,
            nodes: self.guarded.nodes(),
            last_failure: history.last_failure,
            errors: errors.read(),
            unanswered: unanswered.load(Ordering::Relaxed),
            live_replicas: fallback.fleet_size.seen(),
            owed_buckets: fallback.ledger.len(),
            charged_tokens: totals.charged,
            dropped_tokens: totals.dropped,
        }
    }

    /// Returns the wrapped store.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.guarded.store
    }

    /// Decides one check within `limit`, which is no longer than the timeout.
    pub(super) fn decide_in<'a>(
        &'a self,
        check: &'a Check,
        limit: Duration,
    ) -> MaybeReady<Decided, impl Future<Output = Decided> + Send + 'a> {
        if let Some(decision) = self.guarded.fallback.made_before(check) {
            return MaybeReady::ready(Ok(decision));
        }
        let sent = match split(check, |part| self.guarded.node_of_part(part)) {
            Some(groups) => Err(Box::pin(self.decide_across(check, groups, limit))),
            None => {
                let Some(call) = self.guarded.admit(self.first_node(check), check) else {
                    return MaybeReady::ready(self.guarded.reject(check));
                };
                match self.guarded.store.decide_unboxed(check, None) {
                    MaybeReady::Ready(result) => {
                        let finish = |result| self.finish(call, check, result);
                        return MaybeReady::Ready(result.map(finish));
                    }
                    MaybeReady::Pending(pending) => Ok((call, pending)),
                }
            }
        };
        MaybeReady::Pending(async move {
            match sent {
                Ok((call, pending)) => match self.guarded.wait(call, limit, pin!(pending)).await {
                    Ok(result) => self.finish(call, check, result),
                    Err(error) => self.guarded.fall_back(check, error),
                },
                Err(across) => across.await,
            }
        })
    }

    /// Decides several checks of one node in one call.
    pub(super) fn decide_batch<'a>(
        &'a self,
        node: NodeId,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        let Some(call) = self.guarded.breakers.admit(node) else {
            let results = checks.iter().map(|check| self.guarded.reject(check));
            return StoreFuture::ready(results.collect());
        };
        match self.guarded.store.decide_all(checks) {
            StoreFuture::Ready(results) => {
                StoreFuture::Ready(results.map(|results| self.finish_all(call, checks, results)))
            }
            StoreFuture::Pending(mut pending) => StoreFuture::pending(async move {
                match self.guarded.wait(call, self.guarded.timeout, pending.as_mut()).await {
                    Ok(results) => self.finish_all(call, checks, results),
                    Err(error) => checks
                        .iter()
                        .map(|check| self.guarded.fall_back(check, error.clone()))
                        .collect(),
                }
            }),
        }
    }

    /// Records the outcome of a call that carried one check, and falls back if it failed.
    fn finish(
        &self,
        call: AdmittedCall,
        check: &Check,
        result: Result<Decision, StoreError>,
    ) -> Result<Decision, StoreError> {
        self.guarded.record(call, std::slice::from_ref(check), std::slice::from_ref(&result));
        if result.is_ok() {
            self.guarded.fallback.settled_by_store(check);
        }
        result.or_else(|error| self.guarded.fall_back(check, error))
    }

    /// Records the outcome of a call that carried several checks, and falls back for those that
    /// failed.
    fn finish_all(
        &self,
        call: AdmittedCall,
        checks: &[Check],
        mut results: Vec<Result<Decision, StoreError>>,
    ) -> Vec<Result<Decision, StoreError>> {
        self.guarded.record(call, checks, &results);
        for (check, result) in checks.iter().zip(&mut results) {
            match result {
                Ok(_) => self.guarded.fallback.settled_by_store(check),
                Err(error) => *result = self.guarded.fall_back(check, error.clone()),
            }
        }
        results
    }

    fn first_node(&self, check: &Check) -> NodeId {
        check.parts().first().map_or(NodeId::ONLY, |part| self.guarded.node_of_part(part))
    }

    fn update_fleet_size(&self, fleet: &Fleet) {
        self.guarded.fallback.fleet_size.update(fleet.size(), self.guarded.clock.now());
    }
}

impl<S> Drop for Failover<S> {
    fn drop(&mut self) {
        self.guarded.recoveries.stop();
        self.guarded.slow_calls.stop();
    }
}

impl<S: fmt::Debug> fmt::Debug for Failover<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GuardedStore { store, timeout, breakers, .. } = &*self.guarded;
        f.debug_struct("Failover")
            .field("store", store)
            .field("timeout", timeout)
            .field("breaker", &breakers.report().state)
            .finish_non_exhaustive()
    }
}

// === impl Store for Failover ===

impl<S: Store> Store for Failover<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Decided> {
        self.decide_unboxed(check, None).boxed()
    }

    fn decide_within<'a>(&'a self, check: &'a Check, within: Duration) -> StoreFuture<'a, Decided> {
        self.decide_unboxed(check, Some(within)).boxed()
    }

    /// Without any time, the store is not asked at all: a check that it decides after its caller
    /// has an answer would be charged twice.
    fn decide_unboxed<'a>(
        &'a self,
        check: &'a Check,
        within: Option<Duration>,
    ) -> MaybeReady<Decided, impl Future<Output = Decided> + Send + 'a> {
        if let Some(within @ Duration::ZERO) = within
            && let Some(call) = self.guarded.breakers.admit(self.first_node(check))
        {
            let error = StoreError::Timeout { within };
            self.guarded.record_unanswered(call, within, &error);
            return MaybeReady::ready(self.guarded.fall_back(check, error));
        }
        let timeout = self.guarded.timeout;
        self.decide_in(check, within.map_or(timeout, |within| within.min(timeout)))
    }

    /// Sends one batch to each node, all at once. In each of them the checks keep their order.
    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        let GuardedStore { fallback, in_doubt, .. } = &*self.guarded;
        if checks
            .iter()
            .any(|check| fallback.made_before(check).is_some() || in_doubt.concern(check))
        {
            return StoreFuture::pending(async move {
                let mut results = Vec::with_capacity(checks.len());
                for check in checks {
                    results.push(self.decide(check).await);
                }
                results
            });
        }
        match self.guarded.node_of(checks) {
            Some(node) => self.decide_batch(node, checks),
            None => StoreFuture::pending(self.decide_all_across(checks)),
        }
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        match self.guarded.store.probe() {
            ready @ StoreFuture::Ready(_) => ready,
            pending @ StoreFuture::Pending(_) => {
                StoreFuture::pending(async { with_timeout(self.guarded.timeout, pending).await? })
            }
        }
    }

    fn node(&self, partition: Partition) -> NodeId {
        self.guarded.store.node(partition)
    }

    fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
        match self.guarded.store.probe_node(node) {
            ready @ StoreFuture::Ready(_) => ready,
            pending @ StoreFuture::Pending(_) => {
                StoreFuture::pending(async { with_timeout(self.guarded.timeout, pending).await? })
            }
        }
    }

    fn report_returns(&self, observer: Arc<dyn ObserveReturns>) {
        self.guarded.store.report_returns(observer);
    }

    fn subscription(&self, partition: Partition) -> Option<SubscriptionId> {
        self.guarded.store.subscription(partition)
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        // Announcements are regular, so local buckets of an outage are removed here.
        self.guarded.fallback.buckets.sweep();
        match self.guarded.store.announce(replica) {
            StoreFuture::Ready(result) => StoreFuture::Ready(
                result.map(|fleet| fleet.inspect(|fleet| self.update_fleet_size(fleet))),
            ),
            pending @ StoreFuture::Pending(_) => StoreFuture::pending(async move {
                let fleet = with_timeout(self.guarded.timeout, pending).await??;
                self.update_fleet_size(&fleet);
                Ok(fleet)
            }),
        }
    }

    /// Charges what is still owed first, since no other replica knows of it. The store has half a
    /// second more for that.
    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        if !self.guarded.fallback.ledger.is_empty() || !self.guarded.in_doubt.is_empty() {
            return StoreFuture::pending(async move {
                let owed = self.guarded.nodes_to_recover();
                let attempts =
                    owed.iter().map(|node| StoreFuture::pending(self.guarded.try_recover(*node)));
                join_all(attempts).await;
                with_timeout(self.guarded.timeout, self.guarded.store.depart(replica)).await?
            });
        }
        match self.guarded.store.depart(replica) {
            ready @ StoreFuture::Ready(_) => ready,
            pending @ StoreFuture::Pending(_) => {
                StoreFuture::pending(async { with_timeout(self.guarded.timeout, pending).await? })
            }
        }
    }

    fn agree<'a>(
        &'a self,
        name: &'a str,
        value: &'a [u8],
    ) -> StoreFuture<'a, Result<Vec<u8>, StoreError>> {
        let agreed = self.guarded.store.agree(name, value);
        StoreFuture::pending(async move { with_timeout(self.guarded.timeout, agreed).await? })
    }
}
