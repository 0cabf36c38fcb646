//! The limiter: a policy and a store, and the recorders of their decisions.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use sluice_core::{Action, Check, Client, Cost, Decision, Matched, Part, Policy, Request};
use sluice_store::{Clock, Store, StoreError, StoreFuture};

use crate::{
    active_policy::ActivePolicy,
    checked::Checked,
    decision_span::{self, UndecidedBy},
    error::LimiterError,
    observed::{self, Observer},
    slots::{HeldSlots, SlotKeeper, Uncancelled},
    stats::StatsCounters,
    telemetry::{DecisionSpan, Recorders},
    timed::Timed,
    unverified::{Allowance, Taken, Unverified},
};
#[cfg(feature = "tower")]
use crate::{identify::Identity, untrusted_peers::UntrustedPeers};

/// Decides whether requests may pass, by a [`Policy`] and on the buckets of a [`Store`].
///
/// Made by [`Limiter::in_memory`], `Limiter::redis` or [`Limiter::builder`]. Cheap to clone: clones
/// share the policy, the store and everything that is recorded.
///
/// See the [user guide](crate::_guide) for examples.
#[derive(Clone, Debug)]
pub struct Limiter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    active_policy: ArcSwap<ActivePolicy>,
    store: Arc<dyn Store>,
    recorders: Recorders,
    /// Counts the decisions for the fleet's statistics.
    stats: Option<StatsCounters>,
    /// Sees the decisions.
    observer: Option<Observer>,
    /// Counts the decisions of checks that a program built itself.
    #[cfg(feature = "telemetry")]
    other_stats: Option<Arc<crate::stats::EndpointCounters>>,
    /// Dates the decisions that need no store.
    clock: Arc<dyn Clock>,
    unverified: Unverified,
    slots: Arc<SlotKeeper>,
    /// Tells the holds that it made without the store from those of others.
    number: u64,
    #[cfg(feature = "tower")]
    untrusted_peers: UntrustedPeers,
}

/// What a limiter is made of.
pub(crate) struct Parts {
    pub(crate) policy: Policy,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) recorders: Recorders,
    pub(crate) stats: Option<StatsCounters>,
    pub(crate) observer: Option<Observer>,
}

/// What is special about one check.
#[derive(Clone, Copy, Debug, Default)]
struct How<'a> {
    /// How long its caller waits.
    within: Option<Duration>,
    /// What the client's address may ask, for a key that nothing vouches for.
    allowance: Option<&'a Allowance>,
}

impl Limiter {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { policy, store, clock, recorders, stats, observer } = parts;
        let active_policy =
            ArcSwap::from_pointee(ActivePolicy::new(policy, &store, &recorders, stats.as_ref()));
        #[cfg(feature = "telemetry")]
        let other_stats =
            stats.as_ref().map(|stats| stats.endpoint(&Arc::from(crate::telemetry::OTHER)));
        let slots = Arc::new(SlotKeeper::new(Arc::clone(&store), recorders.slots.clone()));
        let unverified = Unverified::new(Arc::clone(&clock), recorders.decisions.clone());
        Self {
            inner: Arc::new(Inner {
                active_policy,
                store,
                recorders,
                stats,
                observer,
                #[cfg(feature = "telemetry")]
                other_stats,
                clock,
                unverified,
                slots,
                number: RandomState::new().build_hasher().finish(),
                #[cfg(feature = "tower")]
                untrusted_peers: UntrustedPeers::default(),
            }),
        }
    }

    /// Decides whether the client with this key may make one more request, and takes one token for
    /// it if so.
    ///
    /// The request has no method and the path `/`. A policy that tells paths, methods or headers
    /// apart needs [`Limiter::check`].
    ///
    /// ```
    /// use sluice::Limiter;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::in_memory("60/minute, burst 1".parse()?);
    /// assert!(limiter.check_key(b"alice").await?.is_allowed());
    /// assert!(limiter.check_key(b"alice").await?.is_denied());
    /// assert!(limiter.check_key("bob").await?.is_allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the key is empty or longer than 16 KiB, or the store cannot decide.
    pub async fn check_key(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
    ) -> Result<Checked, LimiterError> {
        self.check(&key_request(key.as_ref(), Cost::ONE)).await
    }

    /// Decides as [`Limiter::check_key`] does, for a request that takes `tokens` tokens.
    ///
    /// # Errors
    /// As [`Limiter::check_key`], and when `tokens` is above [`Cost::MAX`].
    pub async fn check_key_with_cost(
        &self,
        key: &(impl AsRef<[u8]> + ?Sized),
        tokens: u64,
    ) -> Result<Checked, LimiterError> {
        self.check(&key_request(key.as_ref(), Cost::new(tokens)?)).await
    }

    /// Decides whether `request` may pass, and takes its cost if so. What a request that is
    /// [followed](Request::followed) takes of limits on requests in flight is held by
    /// [`Checked::slots`].
    ///
    /// When the future is dropped before it is ready, the cost may have been taken.
    ///
    /// # Errors
    /// When the request cannot be checked, or the store cannot decide. A denial is no error.
    pub fn check(
        &self,
        request: &Request<'_>,
    ) -> impl Future<Output = Result<Checked, LimiterError>> + Send {
        self.act(Action::Take, request, How::default())
    }

    /// Decides as [`Limiter::check`] does, for a caller that waits for at most `within`.
    ///
    /// A caller whose own deadline is shorter than the store's timeout gets a decision in time: by
    /// what the limits say for a store that is away. A caller that drops a check instead has no
    /// decision. Without time (zero), a store behind a network is not asked. A store that is not
    /// wrapped in a [`Failover`](crate::Failover) knows no answer but its own, and takes its time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use sluice::{Client, Limiter, Request};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
    /// let request = Request::new(Client::Key(b"alice"), "GET", "/");
    /// let checked = limiter.check_within(&request, Duration::from_millis(10)).await?;
    /// assert!(checked.is_allowed());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub fn check_within(
        &self,
        request: &Request<'_>,
        within: Duration,
    ) -> impl Future<Output = Result<Checked, LimiterError>> + Send {
        self.act(Action::Take, request, How { within: Some(within), ..How::default() })
    }

    /// Decides as [`Limiter::check`] does about a request whose client was identified by its head.
    ///
    /// A client with a key that nothing vouches for also needs a token of what its
    /// [address may ask](crate::identify#keys-that-nothing-vouches-for). A request that is denied
    /// for the lack of one takes nothing from the buckets of limits.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    #[cfg(feature = "tower")]
    pub async fn check_identified(
        &self,
        identity: &Identity<'_>,
        request: &Request<'_>,
    ) -> Result<Checked, LimiterError> {
        self.note_untrusted_proxy(identity);
        let how = How { allowance: identity.allowance(), ..How::default() };
        self.act(Action::Take, request, how).await
    }

    /// Counts and logs a request whose forwarding fields were ignored.
    #[cfg(feature = "tower")]
    pub(crate) fn note_untrusted_proxy(&self, identity: &Identity<'_>) {
        if let Some(peer) = identity.untrusted_proxy() {
            self.inner.recorders.clients.untrusted_forwarding();
            self.inner.untrusted_peers.log(peer);
        }
    }

    /// Decides as [`Limiter::check`] would, and takes nothing.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn peek(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::Peek, request, How::default()).await
    }

    /// Takes the request's cost, even if the buckets go below zero.
    ///
    /// [`Checked::charge`] does this for a request that was checked before, without naming it
    /// again.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn charge(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::Charge, request, How::default()).await
    }

    /// Puts the request's cost back into its buckets, up to the burst.
    ///
    /// [`Checked::give_back`] does this for a request that was checked before, without naming it
    /// again.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn give_back(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::GiveBack, request, How::default()).await
    }

    /// Fills every bucket that the request takes from.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn reset(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::Reset, request, How::default()).await
    }

    async fn act(
        &self,
        action: Action,
        request: &Request<'_>,
        how: How<'_>,
    ) -> Result<Checked, LimiterError> {
        // Within the span in which the future is polled.
        let span = DecisionSpan::single();
        let active_policy = self.inner.active_policy.load_full();
        let mut matched = match active_policy.check(action, request) {
            Ok(matched) => matched,
            Err(error) => {
                decision_span::describe(&span, action, Err(UndecidedBy::Request));
                return Err(error.into());
            }
        };
        let mut slots = HeldSlots::none();
        let decided = if matched.check.parts().is_empty() {
            Ok(self.unlimited())
        } else {
            // A preflight costs nothing, and a look takes nothing.
            let allowance = how.allowance.filter(|_| request.cost != Cost::NONE);
            match self.take_allowance(&active_policy, &matched, allowance) {
                Ok(taken) => {
                    let (decided, since) = if takes_slots(&matched.check) {
                        let taking = self.take_slots(&mut matched.check, how.within);
                        let (decided, since, held) = taking.await;
                        slots = held;
                        (decided, since)
                    } else {
                        let asked = span.in_scope(|| self.ask_store(&matched.check, how.within));
                        match asked.into_ready() {
                            Ok(decided) => (decided, None),
                            Err(asked) => Timed::from(asked).await,
                        }
                    };
                    active_policy.record(action, &matched, &decided, since);
                    self.give_allowance_back(taken, &decided);
                    if let (Action::Take, Ok(decision)) = (action, &decided) {
                        self.observe(&active_policy, &matched, request, decision);
                    }
                    decided
                }
                Err(denial) => {
                    self.observe(&active_policy, &matched, request, &denial);
                    // Nothing was taken, so that nothing can be adjusted later.
                    matched.check = Check::new(action);
                    Ok(*denial)
                }
            }
        };
        let endpoint = &active_policy.policy.endpoints()[matched.endpoint];
        let outcome = decided.as_ref().map(|decision| (decision, Some(&**endpoint)));
        decision_span::describe(&span, action, outcome.map_err(|_| UndecidedBy::Store));
        Ok(Checked::new(decided?, matched, active_policy, slots))
    }

    /// Decides a check that takes slots, and keeps them. When the caller does not wait any more,
    /// this goes on, and gives them back.
    async fn take_slots(
        &self,
        check: &mut Check,
        within: Option<Duration>,
    ) -> (Result<Decision, StoreError>, Option<Instant>, HeldSlots) {
        let (limiter, taken) = (self.clone(), mem::take(check));
        let taking = Uncancelled::new(async move {
            let sent = tokio::time::Instant::now();
            let asked = limiter.ask_store(&taken, within);
            let (decided, since) = match asked.into_ready() {
                Ok(decided) => (decided, None),
                Err(asked) => Timed::from(asked).await,
            };
            let slots = decided.as_ref().map_or_else(
                |_| HeldSlots::none(),
                |decision| {
                    HeldSlots::taken_by(limiter.slots(), &taken, decision, decision.at(), sent)
                },
            );
            (taken, decided, since, slots)
        });
        let (taken, decided, since, slots) = taking.await;
        *check = taken;
        (decided, since, slots)
    }

    /// Waits until all requests have given back the slots that they hold of limits on requests in
    /// flight, for at most `within`. Returns how many have not. For the end of a process: otherwise
    /// their slots are free only after two [terms](sluice_core::Concurrent::term).
    pub async fn finish_slots(&self, within: Duration) -> usize {
        self.inner.slots.finish(within).await
    }

    /// Hands the decision about a request that takes tokens to the observer, if there is one.
    pub(crate) fn observe(
        &self,
        active_policy: &ActivePolicy,
        matched: &Matched,
        request: &Request<'_>,
        decision: &Decision,
    ) {
        let observer = self.inner.observer.as_ref();
        observed::observe(observer, &active_policy.policy, matched, request, decision);
    }

    /// Takes a token of what the client's address may ask under keys that nothing vouches for.
    pub(crate) fn take_allowance(
        &self,
        active_policy: &ActivePolicy,
        matched: &Matched,
        allowance: Option<&Allowance>,
    ) -> Result<Option<Taken>, Box<Decision>> {
        let is_listed = |client| active_policy.policy.lists(client);
        let Some(allowance) = allowance.filter(|_| !matched.client.is_some_and(is_listed)) else {
            return Ok(None);
        };
        let unverified = &self.inner.unverified;
        let taken = unverified.take(&active_policy.policy, allowance);
        active_policy.record_allowance(matched, taken.is_err(), unverified.decisions());
        taken.map(Some)
    }

    /// Gives the token back when the request is not admitted.
    pub(crate) fn give_allowance_back(
        &self,
        taken: Option<Taken>,
        decided: &Result<Decision, StoreError>,
    ) {
        if let Some(taken) = taken
            && !decided.as_ref().is_ok_and(Decision::is_allowed)
        {
            self.inner.unverified.give_back(&taken);
        }
    }

    /// Checks several requests in their order, each one independently, in one round trip to the
    /// store, and returns the results in the same order.
    pub async fn check_all(&self, requests: &[Request<'_>]) -> Vec<Result<Checked, LimiterError>> {
        let span = DecisionSpan::batch(requests.len());
        let active_policy = self.inner.active_policy.load_full();
        let mut checks = Vec::with_capacity(requests.len());
        let mut match_limits = |request| {
            let mut matched = active_policy.check(Action::Take, request)?;
            let limited = !matched.check.parts().is_empty();
            if limited {
                checks.push(mem::take(&mut matched.check));
            }
            Ok((matched, limited))
        };
        let matched: Vec<Result<_, LimiterError>> =
            requests.iter().map(&mut match_limits).collect();
        let sent = tokio::time::Instant::now();
        let (decided, since) = self.decide_all(&span, &checks).await;
        let mut decided = checks.into_iter().zip(decided);
        let mut finish = |request: &Request<'_>, (mut matched, limited): (Matched, bool)| {
            if limited {
                let (check, decided) = decided.next().expect("a store decides every check");
                matched.check = check;
                active_policy.record(Action::Take, &matched, &decided, since);
                let decision = decided?;
                self.observe(&active_policy, &matched, request, &decision);
                let slots = HeldSlots::taken_by(
                    self.slots(),
                    &matched.check,
                    &decision,
                    decision.at(),
                    sent,
                );
                Ok(Checked::new(decision, matched, Arc::clone(&active_policy), slots))
            } else {
                let (decision, slots) = (self.unlimited(), HeldSlots::none());
                Ok(Checked::new(decision, matched, Arc::clone(&active_policy), slots))
            }
        };
        let checked: Vec<_> = requests
            .iter()
            .zip(matched)
            .map(|(request, matched)| matched.and_then(|matched| finish(request, matched)))
            .collect();
        decision_span::describe_batch(&span, checked.iter().map(outcome));
        checked
    }

    async fn decide_all(
        &self,
        span: &DecisionSpan,
        checks: &[Check],
    ) -> (Vec<Result<Decision, StoreError>>, Option<Instant>) {
        if checks.is_empty() {
            return (Vec::new(), None);
        }
        Timed::from(span.in_scope(|| self.inner.store.decide_all(checks))).await
    }

    fn ask_store<'a>(
        &'a self,
        check: &'a Check,
        within: Option<Duration>,
    ) -> StoreFuture<'a, Result<Decision, StoreError>> {
        match within {
            Some(within) => self.inner.store.decide_within(check, within),
            None => self.inner.store.decide(check),
        }
    }

    /// Decides a check that a program built itself. Returns also since when the store was waited
    /// for, if it was.
    #[cfg(feature = "telemetry")]
    pub(crate) async fn decide(
        &self,
        check: &Check,
        within: Option<Duration>,
    ) -> (Result<Decision, StoreError>, Option<Instant>) {
        if check.parts().is_empty() {
            return (Ok(self.unlimited()), None);
        }
        let span = DecisionSpan::single();
        let (decided, since) = Timed::from(span.in_scope(|| self.ask_store(check, within))).await;
        let outcome = decided.as_ref().map(|decision| (decision, None));
        decision_span::describe(&span, check.action(), outcome.map_err(|_| UndecidedBy::Store));
        (decided, since)
    }

    pub(crate) fn unlimited(&self) -> Decision {
        Decision::unlimited(self.inner.clock.now())
    }

    /// Returns the policy that new checks are decided by.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.inner.active_policy.load().policy)
    }

    /// Decides every check that starts from now on by `policy`. Buckets keep what they hold.
    pub fn replace_policy(&self, policy: Policy) {
        let Inner { active_policy, store, recorders, stats, .. } = &*self.inner;
        active_policy.store(Arc::new(ActivePolicy::new(policy, store, recorders, stats.as_ref())));
    }

    /// Returns the store, which keeps the buckets.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    pub(crate) fn active_policy(&self) -> Arc<ActivePolicy> {
        self.inner.active_policy.load_full()
    }

    /// Returns a number that no other limiter has.
    pub(crate) fn number(&self) -> u64 {
        self.inner.number
    }

    pub(crate) fn slots(&self) -> &Arc<SlotKeeper> {
        &self.inner.slots
    }

    pub(crate) fn unverified(&self) -> &Unverified {
        &self.inner.unverified
    }

    pub(crate) fn recorders(&self) -> &Recorders {
        &self.inner.recorders
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.inner.observer.as_ref()
    }

    #[cfg(feature = "telemetry")]
    pub(crate) fn other_stats(&self) -> Option<&crate::stats::EndpointCounters> {
        self.inner.other_stats.as_deref()
    }
}

/// Returns whether a check takes slots, which have to be given back.
fn takes_slots(check: &Check) -> bool {
    check.action() == Action::Take && check.parts().iter().any(Part::has_slots)
}

fn key_request(key: &[u8], cost: Cost) -> Request<'_> {
    Request::new(Client::Key(key), "", "/").with_cost(cost)
}

/// What the span of a decision says about a check.
fn outcome(
    checked: &Result<Checked, LimiterError>,
) -> Result<(&Decision, Option<&str>), UndecidedBy> {
    match checked {
        Ok(checked) => Ok((&checked.decision, Some(&**checked.endpoint()))),
        Err(LimiterError::Store(_)) => Err(UndecidedBy::Store),
        Err(LimiterError::Request(_) | LimiterError::Cost(_)) => Err(UndecidedBy::Request),
    }
}
