//! A store over a store that may be away: [`Failover`].

mod breaker;
mod failover_state;
mod ledger;
mod local_fallback;
mod recovery_task;
mod share;
#[cfg(test)]
mod tests;
mod timeout;

use std::{fmt, sync::Arc, time::Duration};

use sluice_core::{Action, Check, Decision};
use tokio::time::Instant;

pub use self::{breaker::BreakerState, failover_state::FailoverState};
use self::{
    breaker::{Breaker, Call},
    failover_state::ErrorCounts,
    local_fallback::LocalFallback,
    recovery_task::RecoveryTask,
    timeout::within,
};
use crate::{Clock, Fleet, MonotonicClock, Replica, Store, StoreError, StoreFuture};

/// A store that answers within its timeout, also while the one it wraps is away.
///
/// Can be made anywhere. Answers that have to be waited for need a tokio runtime with its timer;
/// the task that brings the store back runs on the runtime of the call that found it away, and ends
/// with the wrapper.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use sluice_core::{Action, Algorithm, Check, Cost, Limit, Subject, Tagger, Rate};
/// use sluice_store::{BreakerState, Failover, MemoryStore, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Failover::over(MemoryStore::new(), Duration::from_millis(25));
/// let limit = Limit::new("default", Algorithm::TokenBucket(Rate::new("60/minute".parse()?, 10)?))?;
/// let check = Check::new(Action::Take).with(&Arc::new(limit), Tagger::new(b"").tag(Subject::Client(b"alice")), Cost::ONE);
/// assert!(store.decide(&check).await?.is_allowed());
/// assert_eq!(store.state().breaker, BreakerState::Closed);
/// # Ok(())
/// # }
/// ```
///
/// # What a caller sees
///
/// An answer within the timeout, or within twice the timeout where this process itself did not run
/// for a while. After three failures in a row the store is not asked any more, so that nobody waits
/// in vain; a task in the background probes it, after 100 ms and then at longer intervals up to a
/// second, and checks go there again as soon as it answers.
///
/// # What a check gets without the store
///
/// Each limit's [`OnStoreFailure`](sluice_core::OnStoreFailure) speaks for its part of a check that
/// takes or peeks, in this order:
///
/// 1. An `Error` part: the whole check is [`StoreError::LeftToCaller`], and takes nothing.
/// 2. A `Deny` part: the check is denied, and takes nothing.
/// 3. The `Local` parts are decided together, all or nothing, on buckets in the process with this
///    replica's share of each limit; if one denies, the check is denied, and takes nothing.
/// 4. `Allow` parts pass.
///
/// A limit in shadow mode neither denies nor makes an error: its `Deny` part is told as not
/// admitted, its `Error` part passes.
///
/// Charges are accepted, and made later. Giving back and resetting are not: they get the error, for
/// the caller to try again.
///
/// The decision names the limits that were asked, and says
/// [`Source::Local`](sluice_core::Source::Local). What a share cannot hold, and what nobody may
/// admit, is told to come back in a second, since the store may be back by then.
///
/// # What the store is told afterwards
///
/// What was admitted without it is charged to it before checks go there again, oldest first, as far
/// as the refill has not paid for it meanwhile. What fails on the way is tried again; nothing is
/// lost when the store goes away in the middle. A check or a charge whose answer did not come in
/// time may have been taken by the store too: it then counts twice, never not at all. What is owed
/// still when the replica departs is charged then; if the store is away even then, it is lost.
pub struct Failover<S> {
    shared: Arc<Shared<S>>,
}

/// What the wrapper shares with its task.
struct Shared<S> {
    inner: S,
    timeout: Duration,
    breaker: Breaker,
    fallback: LocalFallback,
    errors: ErrorCounts,
    recovery: RecoveryTask,
    clock: Arc<dyn Clock>,
}

// === impl Failover ===

impl<S: Store> Failover<S> {
    /// Wraps `inner`, which has `timeout` for every answer.
    pub fn over(inner: S, timeout: Duration) -> Self {
        Self::with_clock(inner, timeout, Arc::new(MonotonicClock::new()))
    }

    /// As [`Failover::over`], with the time of local buckets told by `clock`.
    pub fn with_clock(inner: S, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner,
                timeout,
                breaker: Breaker::closed(clock.now()),
                fallback: LocalFallback::new(Arc::clone(&clock)),
                errors: ErrorCounts::default(),
                recovery: RecoveryTask::default(),
                clock,
            }),
        }
    }

    /// Says among how many replicas limits are shared while the store is away, this one included.
    ///
    /// Only for fleets whose size is known otherwise: every announcement that passes through tells
    /// the store's count by itself.
    pub fn set_live_replicas(&self, replicas: usize) {
        self.shared.fallback.replicas.set(replicas, self.shared.clock.now());
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> FailoverState {
        let (breaker, record) = self.shared.breaker.observe();
        let totals = self.shared.fallback.ledger.totals();
        FailoverState {
            breaker,
            since: record.since,
            opened: record.opened,
            last_failure: record.last_failure,
            errors: self.shared.errors.read(),
            live_replicas: self.shared.fallback.replicas.get(),
            owed_buckets: self.shared.fallback.ledger.len(),
            charged_tokens: totals.charged,
            dropped_tokens: totals.dropped,
        }
    }

    /// The store inside.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.shared.inner
    }
}

impl<S> Drop for Failover<S> {
    fn drop(&mut self) {
        self.shared.recovery.end();
    }
}

impl<S: fmt::Debug> fmt::Debug for Failover<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { inner, timeout, breaker, .. } = &*self.shared;
        f.debug_struct("Failover")
            .field("inner", inner)
            .field("timeout", timeout)
            .field("breaker", breaker)
            .finish_non_exhaustive()
    }
}

impl<S: Store> Store for Failover<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let shared = &self.shared;
        let Some(call) = shared.breaker.admit() else {
            return StoreFuture::ready(shared.without_asking(check));
        };
        match shared.inner.decide(check) {
            StoreFuture::Ready(answer) => {
                StoreFuture::Ready(answer.map(|answer| shared.heard(call, check, answer)))
            }
            pending @ StoreFuture::Pending(_) => StoreFuture::pending(async move {
                let answer = shared.ask(call, pending).await.and_then(|answer| answer);
                shared.heard(call, check, answer)
            }),
        }
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        let shared = &self.shared;
        let Some(call) = shared.breaker.admit() else {
            return StoreFuture::ready(
                checks.iter().map(|check| shared.without_asking(check)).collect(),
            );
        };
        match shared.inner.decide_all(checks) {
            StoreFuture::Ready(answers) => {
                StoreFuture::Ready(answers.map(|answers| shared.heard_all(call, checks, answers)))
            }
            pending @ StoreFuture::Pending(_) => StoreFuture::pending(async move {
                match shared.ask(call, pending).await {
                    Ok(answers) => shared.heard_all(call, checks, answers),
                    Err(error) => shared.heard_all(call, checks, vec![Err(error); checks.len()]),
                }
            }),
        }
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        match self.shared.inner.probe() {
            ready @ StoreFuture::Ready(_) => ready,
            pending @ StoreFuture::Pending(_) => {
                StoreFuture::pending(async { within(self.shared.timeout, pending).await? })
            }
        }
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        let shared = &self.shared;
        // A good moment, as regular as the announcements: who was active in an outage is not for
        // ever.
        shared.fallback.local.sweep();
        match shared.inner.announce(replica) {
            StoreFuture::Ready(answer) => {
                StoreFuture::Ready(answer.inspect(|answer| shared.counted(answer)))
            }
            pending @ StoreFuture::Pending(_) => StoreFuture::pending(async move {
                let answer = within(shared.timeout, pending).await?;
                shared.counted(&answer);
                answer
            }),
        }
    }

    /// Charges what is still owed first, since nobody else knows of it: for that the store has half
    /// a second more.
    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        let shared = &self.shared;
        if !shared.fallback.ledger.is_empty() {
            return StoreFuture::pending(async move {
                shared.charge_at_last().await;
                within(shared.timeout, shared.inner.depart(replica)).await?
            });
        }
        match shared.inner.depart(replica) {
            ready @ StoreFuture::Ready(_) => ready,
            pending @ StoreFuture::Pending(_) => {
                StoreFuture::pending(async { within(shared.timeout, pending).await? })
            }
        }
    }
}

// === impl Shared ===

impl<S: Store> Shared<S> {
    /// The answer, if it comes within the timeout. A caller that gives up before that does not go
    /// unnoticed.
    async fn ask<T>(
        self: &Arc<Self>,
        call: Call,
        answer: StoreFuture<'_, T>,
    ) -> Result<T, StoreError> {
        let mut waiting = Waiting { shared: self, call, since: Instant::now(), given_up: true };
        let answer = within(self.timeout, answer).await;
        waiting.given_up = false;
        answer
    }

    fn failed(&self, call: Call, error: &StoreError) {
        self.errors.count(error);
        self.breaker.failed(call, error, self.clock.now());
    }

    /// The store's answer, or what takes its place.
    fn heard(
        self: &Arc<Self>,
        call: Call,
        check: &Check,
        answer: Result<Decision, StoreError>,
    ) -> Result<Decision, StoreError> {
        match answer {
            Ok(decision) => {
                if proves_writes(check, &decision) {
                    self.breaker.succeeded();
                }
                Ok(decision)
            }
            Err(error) => {
                self.count_failure(call, &error);
                self.instead(check, error)
            }
        }
    }

    fn heard_all(
        self: &Arc<Self>,
        call: Call,
        checks: &[Check],
        mut answers: Vec<Result<Decision, StoreError>>,
    ) -> Vec<Result<Decision, StoreError>> {
        // One call, so one failure, or one success.
        let failure = answers
            .iter()
            .find_map(|answer| answer.as_ref().err().filter(|error| tells_of_the_store(error)));
        if let Some(error) =
            failure.or_else(|| answers.iter().find_map(|answer| answer.as_ref().err()))
        {
            self.count_failure(call, error);
        } else if answers.iter().zip(checks).any(|(answer, check)| {
            answer.as_ref().is_ok_and(|decision| proves_writes(check, decision))
        }) {
            self.breaker.succeeded();
        }
        for (answer, check) in answers.iter_mut().zip(checks) {
            if let Err(error) = answer {
                *answer = self.instead(check, error.clone());
            }
        }
        answers
    }

    fn count_failure(&self, call: Call, error: &StoreError) {
        if tells_of_the_store(error) {
            self.failed(call, error);
        } else {
            self.errors.count(error);
        }
    }

    fn without_asking(self: &Arc<Self>, check: &Check) -> Result<Decision, StoreError> {
        self.errors.count(&StoreError::BreakerOpen);
        self.instead(check, StoreError::BreakerOpen)
    }

    fn instead(self: &Arc<Self>, check: &Check, why: StoreError) -> Result<Decision, StoreError> {
        let answer = self.fallback.answer(check, why);
        self.wake_recovery_task();
        answer
    }

    fn counted(&self, fleet: &Result<Fleet, StoreError>) {
        if let Ok(fleet) = fleet {
            self.fallback.replicas.counted(fleet.size(), self.clock.now());
        }
    }
}

/// Whether an error is the store's, not a single bucket's that another version or program wrote.
fn tells_of_the_store(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unreadable { .. })
}

/// A denial needs no write, and neither does a peek: both succeed on a primary that has turned
/// read-only.
fn proves_writes(check: &Check, decision: &Decision) -> bool {
    decision.is_allowed() && check.action() != Action::Peek
}

/// A caller that waits for the store.
///
/// Callers have deadlines of their own, often shorter (a proxy's 20 ms), and drop the answer when
/// these pass. If that did not count, a hanging store would never be found out.
struct Waiting<'a, S: Store> {
    shared: &'a Arc<Shared<S>>,
    call: Call,
    since: Instant,
    given_up: bool,
}

impl<S: Store> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        if !self.given_up {
            return;
        }
        let waited = self.since.elapsed();
        // One who leaves early says nothing about the store.
        if waited >= self.shared.timeout / 2 {
            self.shared.failed(self.call, &StoreError::Timeout { within: waited });
            self.shared.wake_recovery_task();
        }
    }
}
