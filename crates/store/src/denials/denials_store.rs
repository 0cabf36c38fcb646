//! The wrapper itself.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use sluice_core::{Action, Check, Decision, Partition};

use super::cache::{Asked, Cache};
use crate::{
    Clock, Fleet, MaybeReady, MonotonicClock, NodeId, ObserveReturns, Replica, Store, StoreError,
    StoreFuture, SubscriptionId,
};

type Decided = Result<Decision, StoreError>;

/// A store that repeats its denials, until they would be none any more, without asking the store
/// that it wraps.
///
/// A check is denied here if the store has shown of each of its buckets how many tokens it holds,
/// and one that denies lacks those of the check. Such a decision says
/// [`Source::Cache`](sluice_core::Source::Cache). Its remaining tokens and its times are those that
/// the store would say, if no other request took tokens in between; the wait may be longer than
/// necessary by the time that the store's reply took.
///
/// # Holds
/// A reservation may be denied here too. If it was made before, and its reply was lost, its tokens
/// stay taken, and it is answered as repeated once the denial is over. What settles a hold is
/// always decided by the store.
///
/// # Returned tokens
/// The store [reports](Store::report_returns) buckets to which tokens are returned while they hold
/// less than one token, and what is known of them is dropped. So only such buckets deny here. While
/// there are no reports, nothing is kept and nothing denied here. A check whose buckets are not on
/// one server, or not decided there in one piece, is always decided by the store.
///
/// A report takes a moment, during which a check may be denied that the store would admit. If one
/// is lost, this lasts for 10 seconds at most. Where the clock of the store's server is set
/// forward, checks are admitted later by as much, but by no more than 10 seconds.
///
/// # Memory
/// About 100 bytes for each bucket that was denied within the last 10 seconds, and for the others
/// of the same checks; up to [`MAX_ENTRIES`](Self::MAX_ENTRIES).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use sluice_store::{Denials, Failover, MemoryStore};
///
/// // A memory store reports nothing, so that this one changes nothing.
/// let store = Denials::over(Failover::over(MemoryStore::new(), Duration::from_millis(25)));
/// assert_eq!(store.state().reported_partitions, 0);
/// ```
pub struct Denials<S> {
    store: S,
    cache: Arc<Cache>,
    clock: Arc<dyn Clock>,
}

/// What a [`Denials`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DenialsState {
    /// The buckets that are known, and not for too long.
    pub entries: usize,
    /// Of how many of the 64 partitions the store reports returned tokens. Of the others nothing is
    /// known.
    pub reported_partitions: usize,
}

// === impl Denials ===

impl<S: Store> Denials<S> {
    /// The most buckets that are known.
    pub const MAX_ENTRIES: usize = 100_000;

    /// Wraps `store`.
    pub fn over(store: S) -> Self {
        Self::with_clock(store, Arc::new(MonotonicClock::new()))
    }

    /// Wraps `store`; `clock`, which never steps back, says how much time has passed.
    pub fn with_clock(store: S, clock: Arc<dyn Clock>) -> Self {
        Self::new(store, clock, Self::MAX_ENTRIES)
    }

    /// Wraps `store`, of which about `entries` buckets are known at most.
    pub(super) fn new(store: S, clock: Arc<dyn Clock>, entries: usize) -> Self {
        let cache = Arc::new(Cache::new(entries));
        store.report_returns(Arc::clone(&cache) as Arc<dyn ObserveReturns>);
        Self { store, cache, clock }
    }

    /// Returns the current state, for metrics. Removes what is known for too long.
    #[must_use]
    pub fn state(&self) -> DenialsState {
        let is_reported = |partition: &Partition| self.subscription(*partition).is_some();
        DenialsState {
            entries: self.cache.sweep(self.clock.now()),
            reported_partitions: Partition::all().filter(is_reported).count(),
        }
    }

    /// Returns the wrapped store.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.store
    }

    fn deny(&self, check: &Check) -> Option<Decision> {
        self.cache.deny(check, &*self.clock, |partition| self.store.subscription(partition))
    }

    fn ask(&self, check: &Check) -> Option<Asked> {
        self.cache.ask(check, self.clock.now(), |partition| self.store.subscription(partition))
    }

    fn learn(&self, check: &Check, asked: Option<&Asked>, result: &Decided) {
        if returns_tokens(check) {
            // The report comes too, but the next check of this caller may be faster.
            self.cache.forget(check);
        } else if let (Some(asked), Ok(decision)) = (asked, result) {
            let subscription = |partition| self.store.subscription(partition);
            self.cache.learn(check, asked, decision, &*self.clock, subscription);
        }
    }

    /// Asks the store about several checks.
    async fn ask_all(&self, checks: &[Check]) -> Vec<Decided> {
        let is_asked = |check: &Check| if is_question(check) { self.ask(check) } else { None };
        let asked: Vec<Option<Asked>> = checks.iter().map(is_asked).collect();
        let results = self.store.decide_all(checks).await;
        for ((check, asked), result) in checks.iter().zip(asked).zip(&results) {
            self.learn(check, asked.as_ref(), result);
        }
        results
    }
}

pin_project! {
    /// A check that the store decides.
    ///
    /// An `async` block would keep a second copy of the store's future, and so be twice as large.
    struct Learning<'a, S, F> {
        denials: &'a Denials<S>,
        check: &'a Check,
        asked: Option<Asked>,
        #[pin]
        pending: F,
    }
}

impl<S: Store, F: Future<Output = Decided>> Future for Learning<'_, S, F> {
    type Output = Decided;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Decided> {
        let this = self.project();
        let result = ready!(this.pending.poll(context));
        this.denials.learn(this.check, this.asked.as_ref(), &result);
        Poll::Ready(result)
    }
}

/// Returns whether a check may be denied.
fn is_question(check: &Check) -> bool {
    matches!(check.action(), Action::Take | Action::Peek | Action::Reserve | Action::Extend)
}

/// Returns whether a bucket may have more tokens after a check.
fn returns_tokens(check: &Check) -> bool {
    !is_question(check) && check.action() != Action::Charge
}

impl<S: fmt::Debug> fmt::Debug for Denials<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denials").field("store", &self.store).finish_non_exhaustive()
    }
}

// === impl Store for Denials ===

impl<S: Store> Store for Denials<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Decided> {
        self.decide_unboxed(check, None).boxed()
    }

    fn decide_within<'a>(&'a self, check: &'a Check, within: Duration) -> StoreFuture<'a, Decided> {
        self.decide_unboxed(check, Some(within)).boxed()
    }

    fn decide_unboxed<'a>(
        &'a self,
        check: &'a Check,
        within: Option<Duration>,
    ) -> MaybeReady<Decided, impl Future<Output = Decided> + Send + 'a> {
        let asked = if is_question(check) {
            if let Some(denial) = self.deny(check) {
                return MaybeReady::ready(Ok(denial));
            }
            self.ask(check)
        } else {
            None
        };
        match self.store.decide_unboxed(check, within) {
            MaybeReady::Ready(result) => MaybeReady::Ready(
                result.inspect(|result| self.learn(check, asked.as_ref(), result)),
            ),
            MaybeReady::Pending(pending) => {
                MaybeReady::Pending(Learning { denials: self, check, asked, pending })
            }
        }
    }

    /// Sends what cannot be denied here together. If any of the checks changes a bucket whatever
    /// it holds, all are sent, since those behind it depend on it.
    fn decide_all<'a>(&'a self, checks: &'a [Check]) -> StoreFuture<'a, Vec<Decided>> {
        if let [check] = checks {
            return match self.decide(check) {
                StoreFuture::Ready(result) => StoreFuture::Ready(result.map(|result| vec![result])),
                pending @ StoreFuture::Pending(_) => {
                    StoreFuture::pending(async { vec![pending.await] })
                }
            };
        }
        if !checks.iter().all(is_question) {
            return StoreFuture::pending(self.ask_all(checks));
        }
        let denials: Vec<Option<Decision>> = checks.iter().map(|check| self.deny(check)).collect();
        if denials.iter().all(Option::is_none) {
            return StoreFuture::pending(self.ask_all(checks));
        }
        let open = checks.iter().zip(&denials).filter(|(_, denial)| denial.is_none());
        let open: Vec<Check> = open.map(|(check, _)| check.clone()).collect();
        StoreFuture::pending(async move {
            let mut results = if open.is_empty() { Vec::new() } else { self.ask_all(&open).await };
            let mut results = results.drain(..);
            let missing = || Err(StoreError::unreadable("a check has no answer"));
            let merged = denials.into_iter().map(|denial| match denial {
                Some(denial) => Ok(denial),
                None => results.next().unwrap_or_else(missing),
            });
            merged.collect()
        })
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        self.store.probe()
    }

    fn node(&self, partition: Partition) -> NodeId {
        self.store.node(partition)
    }

    fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
        self.store.probe_node(node)
    }

    fn probe_nodes(&self, within: Duration) -> StoreFuture<'_, Vec<Result<(), StoreError>>> {
        self.store.probe_nodes(within)
    }

    fn report_returns(&self, observer: Arc<dyn ObserveReturns>) {
        self.store.report_returns(observer);
    }

    fn subscription(&self, partition: Partition) -> Option<SubscriptionId> {
        self.store.subscription(partition)
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        self.store.announce(replica)
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        self.store.depart(replica)
    }

    fn agree<'a>(
        &'a self,
        name: &'a str,
        value: &'a [u8],
    ) -> StoreFuture<'a, Result<Vec<u8>, StoreError>> {
        self.store.agree(name, value)
    }
}
