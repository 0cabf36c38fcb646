//! The wrapper itself.

use std::{fmt, sync::Arc, time::Duration};

use sluice_core::{Action, Check, Decision, Part, Partition, Precision, Source};
use smallvec::SmallVec;

use super::{
    book::{Outcome, Take, Taken},
    eligibility::{has_leased_part, is_leased},
    local_decision,
    shared_books::SharedBooks,
};
use crate::{Clock, Fleet, MonotonicClock, NodeId, Replica, Store, StoreError, StoreFuture};

/// A store that decides about busy limits of [`Precision::Leased`] in the process, with tokens that
/// it takes from the wrapped store ahead of need.
///
/// # What is leased
/// Only checks that take are decided here. A part of one is covered by a lease if its limit says
/// so, its burst is at least 16, and requests at this replica ask its bucket for at least 160
/// tokens a second. Everything else is sent to the wrapped store, and so is every step of a hold.
///
/// A lease is as large as what requests ask for in 50 ms. The store lends at most half of what a
/// bucket holds, and at most half of its burst to all replicas. A lease that no request used for
/// 100 ms is returned. A check that a lease covers whole does not wait:
/// [`Source::Lease`](sluice_core::Source::Lease). If only some of its parts are covered, the
/// wrapped store decides about the others, and what was taken is put back unless it allows them.
///
/// # What is promised
/// In every window of length T a limit admits at most its burst + rate * T, as without leases: what
/// is lent counts against the burst, and a lease that has ended counts as spent. The remaining
/// tokens and the time of the reset are right within a block.
///
/// If a bucket holds less than a block, the next one is asked for after 20 ms. Until then, requests
/// that no lease covers are denied, although the store might admit some of them.
///
/// A replica that crashes loses what it holds: the burst is smaller by that for two seconds at
/// most. A process that is stopped and goes on does not spend what has ended in the meantime. If a
/// whole machine is suspended so that even its monotonic clock stands still, it may spend one block
/// too many.
///
/// # Background tasks
/// Leases are asked for and returned in tasks on the runtime of the request that needed them first,
/// with its timer. They end with the store. Outside of a runtime nothing is leased.
///
/// [`Store::depart`] returns every lease and makes no more until [`Store::announce`].
///
/// # Examples
/// ```
/// use std::sync::Arc;
///
/// use sluice_core::{
///     Action, Algorithm, Check, Cost, Limit, Precision, Rate, Source, Subject, Tagger,
/// };
/// use sluice_store::{Leasing, MemoryStore, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Leasing::over(MemoryStore::new());
/// let rate = Rate::per_second(10_000)?;
/// let limit = Limit::new("all", Algorithm::TokenBucket(rate))?.with_precision(Precision::Leased);
/// let everyone = Tagger::new(b"").tag(Subject::Everyone { limit: "all" });
/// let check = Check::new(Action::Take).with(&Arc::new(limit), everyone, Cost::ONE);
///
/// assert_eq!(store.decide(&check).await?.source(), Source::Store);
/// for _ in 0..20 {
///     store.decide(&check).await?;
/// }
/// assert_eq!(store.decide(&check).await?.source(), Source::Lease);
/// # Ok(())
/// # }
/// ```
pub struct Leasing<S: Store> {
    books: Arc<SharedBooks<S>>,
}

/// What became of a check in this process.
enum Attempt {
    Decided(Decision),
    Open(Remainder),
}

/// The part of a check that the store decides.
struct Remainder {
    /// What the leases did for each part.
    outcomes: SmallVec<[Outcome; 2]>,
    /// The parts that no lease covers; `None` if none is covered.
    rest: Option<Check>,
}

// === impl Leasing ===

impl<S: Store> Leasing<S> {
    /// Wraps `store`.
    pub fn over(store: S) -> Self {
        Self::with_clock(store, Arc::new(MonotonicClock::new()))
    }

    /// Wraps `store`. Leases end by `clock`, which must not step back, nor be slower than the
    /// store's by more than a hundredth.
    pub fn with_clock(store: S, clock: Arc<dyn Clock>) -> Self {
        Self { books: Arc::new(SharedBooks::new(store, clock)) }
    }

    /// Returns the wrapped store.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.books.inner
    }

    fn send<'a>(
        &'a self,
        check: &'a Check,
        within: Option<Duration>,
    ) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.inner().decide_unboxed(check, within).boxed()
    }

    fn decide_in<'a>(
        &'a self,
        check: &'a Check,
        within: Option<Duration>,
    ) -> StoreFuture<'a, Result<Decision, StoreError>> {
        if !has_leased_part(check) {
            self.note_refill(check);
            return self.send(check, within);
        }
        match self.attempt(check) {
            Attempt::Decided(decision) => StoreFuture::ready(Ok(decision)),
            Attempt::Open(remainder) if remainder.is_plain() => self.send(check, within),
            Attempt::Open(remainder) => StoreFuture::pending(async move {
                let mut tentative = Tentative { books: &self.books, taken: remainder.taken() };
                let result = self.send(remainder.rest.as_ref().unwrap_or(check), within).await;
                self.finish(check, &remainder, &mut tentative, result)
            }),
        }
    }

    /// Takes what leases cover of a check, and decides it if that is enough.
    fn attempt(&self, check: &Check) -> Attempt {
        let is_alone = check.parts().len() == 1;
        let outcomes: SmallVec<[Outcome; 2]> = check
            .parts()
            .iter()
            .map(|part| {
                if !is_leased(part) {
                    return Outcome::Store { is_followed: false };
                }
                let clock = &*self.books.clock;
                let mut book = self.books.book(part.tag);
                let Take { outcome, ask } = if is_alone {
                    book.take(part, clock)
                } else {
                    book.take_tentatively(part, clock)
                };
                drop(book);
                if let Some(ask) = ask {
                    self.books.send(ask);
                }
                outcome
            })
            .collect();
        let Some(decision) = local_decision::decide(check, &outcomes) else {
            return Attempt::Open(Remainder::new(check, outcomes));
        };
        if !is_alone {
            let taken = outcomes.iter().filter_map(taken).collect();
            Tentative { books: &self.books, taken }.end(decision.is_allowed());
        }
        Attempt::Decided(decision)
    }

    /// Completes the store's decision about what no lease covered.
    fn finish(
        &self,
        check: &Check,
        remainder: &Remainder,
        tentative: &mut Tentative<'_, S>,
        result: Result<Decision, StoreError>,
    ) -> Result<Decision, StoreError> {
        tentative.end(result.as_ref().is_ok_and(Decision::is_allowed));
        let by_store = result?;
        if by_store.source() == Source::Store {
            self.note_decision(check, remainder, &by_store);
        }
        Ok(match remainder.rest {
            Some(_) => local_decision::combine(check, &remainder.outcomes, &by_store),
            None => by_store,
        })
    }

    fn note_decision(&self, check: &Check, remainder: &Remainder, by_store: &Decision) {
        let now = self.books.clock.now();
        let sent = check.parts().iter().zip(&remainder.outcomes);
        let sent = sent.filter(|(_, outcome)| taken(outcome).is_none());
        for ((part, outcome), verdict) in sent.zip(by_store.verdicts()) {
            if let Outcome::Denied(..) | Outcome::Store { is_followed: true } = outcome {
                let mut book = self.books.book(part.tag);
                book.decided(&part.bucket(), verdict, by_store.at(), now);
            }
        }
    }

    fn note_refill(&self, check: &Check) {
        let is_correction = match check.action() {
            Action::GiveBack | Action::Reset => false,
            Action::Settle | Action::Undo => true,
            _ => return,
        };
        let is_refilled = |part: &&Part| {
            part.limit.precision() == Precision::Leased && (!is_correction || part.gives_back())
        };
        self.books.refilled(check.parts().iter().filter(is_refilled).map(Part::bucket));
    }

    /// Decides checks of which some have leased parts: the store decides the others, and about
    /// what leases do not cover, in one call.
    async fn decide_several(&self, checks: &[Check]) -> Vec<Result<Decision, StoreError>> {
        let mut sent = Vec::with_capacity(checks.len());
        let attempts: Vec<(Attempt, Tentative<'_, S>)> = checks
            .iter()
            .map(|check| {
                let attempt = if has_leased_part(check) {
                    self.attempt(check)
                } else {
                    self.note_refill(check);
                    Attempt::Open(Remainder { outcomes: SmallVec::new(), rest: None })
                };
                let taken = match &attempt {
                    Attempt::Open(remainder) => {
                        sent.push(remainder.rest.as_ref().unwrap_or(check).clone());
                        remainder.taken()
                    }
                    Attempt::Decided(_) => SmallVec::new(),
                };
                (attempt, Tentative { books: &self.books, taken })
            })
            .collect();
        let results =
            if sent.is_empty() { Vec::new() } else { self.inner().decide_all(&sent).await };
        let mut results = results.into_iter();
        let finished =
            checks.iter().zip(attempts).map(|(check, (attempt, mut tentative))| match attempt {
                Attempt::Decided(decision) => Ok(decision),
                Attempt::Open(remainder) => {
                    let result = results.next().expect("a store decides every check");
                    self.finish(check, &remainder, &mut tentative, result)
                }
            });
        finished.collect()
    }
}

// === impl Remainder ===

impl Remainder {
    fn new(check: &Check, outcomes: SmallVec<[Outcome; 2]>) -> Self {
        let mut rest = None;
        if outcomes.iter().any(|outcome| taken(outcome).is_some()) {
            let mut open = Check::new(check.action());
            for (part, outcome) in check.parts().iter().zip(&outcomes) {
                if taken(outcome).is_none() {
                    open.push(part.clone());
                }
            }
            rest = Some(open);
        }
        Self { outcomes, rest }
    }

    /// Returns whether the store's decision is all there is.
    fn is_plain(&self) -> bool {
        let unknown = |outcome| matches!(outcome, &Outcome::Store { is_followed: false });
        self.outcomes.iter().all(unknown)
    }

    fn taken(&self) -> SmallVec<[Taken; 2]> {
        self.outcomes.iter().filter_map(taken).collect()
    }
}

const fn taken(outcome: &Outcome) -> Option<Taken> {
    match outcome {
        Outcome::Covered(taken, _) => Some(*taken),
        Outcome::Denied(..) | Outcome::Store { .. } => None,
    }
}

/// Tokens that were taken for a check that is not decided yet. If the check is given up, they are
/// spent: the store may have admitted it.
struct Tentative<'a, S: Store> {
    books: &'a SharedBooks<S>,
    taken: SmallVec<[Taken; 2]>,
}

impl<S: Store> Tentative<'_, S> {
    fn end(&mut self, are_spent: bool) {
        for taken in std::mem::take(&mut self.taken) {
            let mut book = self.books.book(taken.bucket.tag);
            if are_spent {
                book.confirm(taken);
            } else {
                book.put_back(taken);
            }
        }
    }
}

impl<S: Store> Drop for Tentative<'_, S> {
    fn drop(&mut self) {
        self.end(true);
    }
}

// === impl Store for Leasing ===

impl<S: Store> Store for Leasing<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.decide_in(check, None)
    }

    fn decide_within<'a>(
        &'a self,
        check: &'a Check,
        within: Duration,
    ) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.decide_in(check, Some(within))
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        if checks.iter().any(has_leased_part) {
            return StoreFuture::pending(self.decide_several(checks));
        }
        checks.iter().for_each(|check| self.note_refill(check));
        self.inner().decide_all(checks)
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        self.inner().probe()
    }

    fn node(&self, partition: Partition) -> NodeId {
        self.inner().node(partition)
    }

    fn probe_node(&self, node: NodeId) -> StoreFuture<'_, Result<(), StoreError>> {
        self.inner().probe_node(node)
    }

    fn probe_nodes(&self, within: Duration) -> StoreFuture<'_, Vec<Result<(), StoreError>>> {
        self.inner().probe_nodes(within)
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        self.books.resume();
        self.inner().announce(replica)
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        StoreFuture::pending(async move {
            self.books.stop().await;
            self.inner().depart(replica).await
        })
    }

    fn agree<'a>(
        &'a self,
        name: &'a str,
        value: &'a [u8],
    ) -> StoreFuture<'a, Result<Vec<u8>, StoreError>> {
        self.inner().agree(name, value)
    }
}

impl<S: Store> Drop for Leasing<S> {
    fn drop(&mut self) {
        self.books.idle_task.stop();
    }
}

impl<S: Store> fmt::Debug for Leasing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leasing").field("store", self.inner()).finish_non_exhaustive()
    }
}
