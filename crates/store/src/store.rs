//! The trait that every store and every wrapper implements.

use std::{fmt, sync::Arc, time::Duration};

use sluice_core::{Check, Decision, Partition};

use crate::{
    Fleet, MaybeReady, NodeId, ObserveReturns, Replica, StoreError, StoreFuture, SubscriptionId,
    join_all::join_all,
};

/// Keeps buckets and decides checks on them, each check all or nothing, by its own clock.
///
/// Every store makes the same decisions for the same history of checks at the same times;
/// `tests/conformance` lists what is expected of each of them.
///
/// # Stability
/// The trait may change until version 1.0. Methods that are added will have a default
/// implementation, as every method but [`decide`](Self::decide) has today.
///
/// # Implementing a store
/// A store needs nothing but `decide`. [`Check::decide`] has the arithmetic, so what is left is to
/// keep the buckets until they are full again:
///
/// ```
/// use std::{collections::HashMap, sync::{Arc, Mutex}};
///
/// use sluice_core::{
///     Action, Algorithm, Bucket, BucketId, Check, Cost, Decision, Limit, Rate, Source, Subject,
///     Tagger, Timestamp,
/// };
/// use sluice_store::{Clock, MonotonicClock, Store, StoreError, StoreFuture};
///
/// /// Keeps all buckets behind one lock, each with the instant at which it is full.
/// #[derive(Debug, Default)]
/// struct OneLock {
///     buckets: Mutex<HashMap<BucketId, (Bucket, Timestamp)>>,
///     clock: MonotonicClock,
/// }
///
/// impl Store for OneLock {
///     fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
///         let mut kept = self.buckets.lock().unwrap();
///         let now = self.clock.now();
///         let before: Vec<Bucket> = check
///             .parts()
///             .iter()
///             .map(|part| match kept.get(&part.bucket()) {
///                 Some((bucket, full_at)) if now < *full_at => *bucket,
///                 _ => Bucket::full(part.limit.algorithm(), now),
///             })
///             .collect();
///         let mut after = before.clone();
///         let decision = check.decide(&mut after, now, Source::Store);
///         for (part, (before, after)) in check.parts().iter().zip(before.into_iter().zip(after)) {
///             if before != after {
///                 let full_at = after.settled(part.limit.algorithm(), now).full_at();
///                 kept.insert(part.bucket(), (after, full_at));
///             }
///         }
///         StoreFuture::ready(Ok(decision))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = OneLock::default();
/// let rate = Rate::new("1/day".parse()?, 2)?;
/// let limit = Arc::new(Limit::new("daily", Algorithm::TokenBucket(rate))?);
/// let alice = Tagger::new(b"").tag(Subject::Client(b"alice"));
/// let take = Check::new(Action::Take).with(&limit, alice, Cost::ONE);
/// assert!(store.decide(&take).await?.is_allowed());
/// assert!(store.decide(&take).await?.is_allowed());
/// assert!(store.decide(&take).await?.is_denied());
/// # Ok(())
/// # }
/// ```
///
/// Such a store gives nothing back when a hold is settled, since nothing would prevent that it does
/// so twice. [`Check::decide_hold`] is for a store that keeps the [`Record`](sluice_core::Record)
/// of each hold beside the buckets, under [`Check::record_key`].
///
/// A store that wraps another one implements every method and forwards those that it does not
/// change: the defaults are those of a store that only one process uses.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Decides one check. A denial is a decision, not an error.
    ///
    /// # Errors
    /// When the store cannot decide. Whether it took the costs is then unknown, unless the error
    /// says otherwise.
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>>;

    /// Decides one check for a caller that waits for at most `within` from now.
    ///
    /// By default decides as [`decide`](Self::decide) does, which is right for a store that does
    /// not know what to answer before its own reply comes. A store that has another answer by then
    /// gives it, as [`Failover`](crate::Failover) does.
    ///
    /// # Errors
    /// As for [`decide`](Self::decide).
    fn decide_within<'a>(
        &'a self,
        check: &'a Check,
        within: Duration,
    ) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let _ = within;
        self.decide(check)
    }

    /// Decides as [`decide_within`](Self::decide_within) does, or as [`decide`](Self::decide)
    /// without a time, for a store that wraps this one: its own future then has this one in it,
    /// and needs no second box.
    ///
    /// By default calls one of the two.
    ///
    /// # Errors
    /// As for [`decide`](Self::decide).
    fn decide_unboxed<'a>(
        &'a self,
        check: &'a Check,
        within: Option<Duration>,
    ) -> MaybeReady<
        Result<Decision, StoreError>,
        impl Future<Output = Result<Decision, StoreError>> + Send + 'a,
    >
    where
        Self: Sized,
    {
        match within {
            Some(within) => self.decide_within(check, within),
            None => self.decide(check),
        }
    }

    /// Decides several checks in their order, each one independently, and returns the results in
    /// the same order.
    ///
    /// By default calls [`decide`](Self::decide) for one check after the other. A store that is
    /// reached over a network sends them together instead.
    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        StoreFuture::pending(async move {
            let mut results = Vec::with_capacity(checks.len());
            for check in checks {
                results.push(self.decide(check).await);
            }
            results
        })
    }

    /// Checks whether the store would decide now, for readiness probes and circuit breakers. A
    /// probe leaves no lasting data behind.
    ///
    /// By default succeeds.
    ///
    /// # Errors
    /// When the store could not decide.
    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        StoreFuture::ready(Ok(()))
    }

    /// Returns the server that keeps the buckets of `partition`, as far as the store knows.
    ///
    /// By default returns the only one.
    fn node(&self, partition: Partition) -> NodeId {
        let _ = partition;
        NodeId::ONLY
    }

    /// Checks whether one server of the store would decide now, as [`probe`](Self::probe) does for
    /// all of them.
    ///
    /// By default probes the whole store.
    ///
    /// # Errors
    /// When the server could not decide.
    fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
        let _ = node;
        self.probe()
    }

    /// Probes each server that has buckets, all at once and each for at most `within`. Returns one
    /// result for each.
    ///
    /// By default calls [`probe_node`](Self::probe_node) for each [`node`](Self::node).
    fn probe_nodes(&self, within: Duration) -> StoreFuture<'_, Vec<Result<(), StoreError>>> {
        let mut nodes: Vec<NodeId> = Partition::all().map(|part| self.node(part)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let probes: Vec<_> = nodes.into_iter().map(|node| self.probe_node(node)).collect();
        StoreFuture::pending(join_all(probes.into_iter().map(move |probe| {
            StoreFuture::pending(async move {
                let answer = tokio::time::timeout(within, probe).await;
                answer.unwrap_or(Err(StoreError::Timeout { within }))
            })
        })))
    }

    /// Reports to `observer`, from now on, each bucket that held less than one token when tokens
    /// were returned to it, by any process that uses the store.
    ///
    /// By default reports nothing.
    fn report_returns(&self, observer: Arc<dyn ObserveReturns>) {
        drop(observer);
    }

    /// Returns what the reports about the buckets of `partition` come through, or `None` while
    /// there are none: an observer then does not know what happens to them.
    ///
    /// By default returns `None`.
    fn subscription(&self, partition: Partition) -> Option<SubscriptionId> {
        let _ = partition;
        None
    }

    /// Announces that `replica` is alive, and returns all replicas that share the store.
    ///
    /// By default returns a fleet of this replica alone.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        StoreFuture::ready(Ok(Fleet::of_one(replica)))
    }

    /// Removes `replica` from the live replicas when it stops on purpose.
    ///
    /// By default does nothing.
    ///
    /// # Errors
    /// When the store cannot be reached; the replica then counts as live until it has been silent
    /// for 15 seconds.
    fn depart<'a>(&'a self, _replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::ready(Ok(()))
    }

    /// Keeps `value` under `name` unless the store has a value there, and returns what it has: all
    /// that share the store agree on one value.
    ///
    /// By default returns `value`, which is right for a store that only one process uses.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn agree<'a>(
        &'a self,
        name: &'a str,
        value: &'a [u8],
    ) -> StoreFuture<'a, Result<Vec<u8>, StoreError>> {
        let _ = name;
        StoreFuture::ready(Ok(value.to_vec()))
    }
}

/// Forwards to the shared store.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        (**self).decide(check)
    }

    fn decide_within<'a>(
        &'a self,
        check: &'a Check,
        within: Duration,
    ) -> StoreFuture<'a, Result<Decision, StoreError>> {
        (**self).decide_within(check, within)
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        (**self).decide_all(checks)
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        (**self).probe()
    }

    fn node(&self, partition: Partition) -> NodeId {
        (**self).node(partition)
    }

    fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
        (**self).probe_node(node)
    }

    fn probe_nodes(&self, within: Duration) -> StoreFuture<'_, Vec<Result<(), StoreError>>> {
        (**self).probe_nodes(within)
    }

    fn report_returns(&self, observer: Arc<dyn ObserveReturns>) {
        (**self).report_returns(observer);
    }

    fn subscription(&self, partition: Partition) -> Option<SubscriptionId> {
        (**self).subscription(partition)
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        (**self).announce(replica)
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        (**self).depart(replica)
    }

    fn agree<'a>(
        &'a self,
        name: &'a str,
        value: &'a [u8],
    ) -> StoreFuture<'a, Result<Vec<u8>, StoreError>> {
        (**self).agree(name, value)
    }
}
