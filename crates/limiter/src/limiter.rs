//! The limiter: a policy, a store, and the recorders of what they decide.

use std::{mem, sync::Arc, time::Instant};

use arc_swap::{ArcSwap, Guard};
use sluice_core::{Action, Check, Decision, Matched, Policy, Request};
use sluice_store::{Clock, MonotonicClock, Store, StoreError, StoreFuture};
use sluice_telemetry::{BoundDecisions, BoundHits, DecisionSpan, OTHER, Recorders};

use crate::{
    active_policy::{ActivePolicy, record},
    checked::Checked,
    error::LimiterError,
    stats::{EndpointCounters, StatsCounters},
    traced,
};

/// Decides requests by a policy on the buckets of a store, and records what was decided.
///
/// Cheap to clone; clones share all three.
#[derive(Clone, Debug)]
pub struct Limiter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    active_policy: ArcSwap<ActivePolicy>,
    store: Arc<dyn Store>,
    recorders: Recorders,
    /// Counts for the fleet, where one is told.
    stats: Option<StatsCounters>,
    /// What it counts of checks that were made of other rules than the policy's.
    other: Option<Arc<EndpointCounters>>,
    /// Tells when a request was decided that no store was asked about.
    clock: MonotonicClock,
}

/// What counts the decisions of a check that was made of other rules than the policy's.
#[derive(Clone, Copy, Debug)]
pub struct Counters<'a> {
    /// For each part of the check, what its limit says.
    pub decisions: &'a [&'a BoundDecisions],
    /// The denied requests.
    pub hits: &'a BoundHits,
}

impl Limiter {
    /// A limiter that decides by `policy` on the buckets in `store`.
    #[must_use]
    pub fn new(policy: Policy, store: Arc<dyn Store>, recorders: &Recorders) -> Self {
        Self::make(policy, store, recorders, None)
    }

    /// As [`Limiter::new`], and `stats` counts what is decided, for the stats of the fleet.
    #[must_use]
    pub fn with_stats(
        policy: Policy,
        store: Arc<dyn Store>,
        recorders: &Recorders,
        stats: &StatsCounters,
    ) -> Self {
        Self::make(policy, store, recorders, Some(stats.clone()))
    }

    fn make(
        policy: Policy,
        store: Arc<dyn Store>,
        recorders: &Recorders,
        stats: Option<StatsCounters>,
    ) -> Self {
        let active_policy =
            ArcSwap::from_pointee(ActivePolicy::new(policy, recorders, stats.as_ref()));
        let other = stats.as_ref().map(|stats| stats.endpoint(&Arc::from(OTHER)));
        Self {
            inner: Arc::new(Inner {
                active_policy,
                store,
                recorders: recorders.clone(),
                stats,
                other,
                clock: MonotonicClock::new(),
            }),
        }
    }

    /// Whether `request` may pass; its cost is taken if so. When the future is dropped before it is
    /// ready, the cost may have been taken.
    ///
    /// # Errors
    /// When the request cannot be checked, or the store cannot decide.
    pub async fn check(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::Take, request).await
    }

    /// What [`Limiter::check`] would say; nothing is taken.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn peek(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::Peek, request).await
    }

    /// Takes the request's cost, below zero if need be: for a cost known only afterwards.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn charge(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::Charge, request).await
    }

    /// Puts the request's cost back, up to the burst.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn give_back(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::GiveBack, request).await
    }

    /// Fills every bucket that the request takes from.
    ///
    /// # Errors
    /// As [`Limiter::check`].
    pub async fn reset(&self, request: &Request<'_>) -> Result<Checked, LimiterError> {
        self.act(Action::Reset, request).await
    }

    async fn act(&self, action: Action, request: &Request<'_>) -> Result<Checked, LimiterError> {
        let span = DecisionSpan::single();
        let checked = self.act_within(&span, action, request).await;
        traced::checked(&span, action, &checked);
        checked
    }

    async fn act_within(
        &self,
        span: &DecisionSpan,
        action: Action,
        request: &Request<'_>,
    ) -> Result<Checked, LimiterError> {
        let active_policy = self.inner.active_policy.load();
        let matched = active_policy.policy.check(action, request)?;
        if matched.check.parts().is_empty() {
            return Ok(self.unlimited(&active_policy, &matched));
        }
        match span.in_scope(|| self.inner.store.decide(&matched.check)) {
            StoreFuture::Ready(Some(decided)) => {
                finish(&active_policy, action, &matched, decided, None)
            }
            waiting => {
                // A guard kept for long would make it slow for others to look at the policy.
                let active_policy = Guard::into_inner(active_policy);
                let started = Instant::now();
                let decided = waiting.await;
                finish(&active_policy, action, &matched, decided, Some(started))
            }
        }
    }

    /// Checks many requests in their order, each by itself, in one round trip to the store. Answers
    /// stand in the order of the requests.
    pub async fn check_all(&self, requests: &[Request<'_>]) -> Vec<Result<Checked, LimiterError>> {
        let span = DecisionSpan::batch(requests.len());
        let active_policy = self.inner.active_policy.load_full();
        let mut checks = Vec::with_capacity(requests.len());
        let mut ask = |request| {
            let mut matched = active_policy.policy.check(Action::Take, request)?;
            let limited = !matched.check.parts().is_empty();
            if limited {
                checks.push(mem::take(&mut matched.check));
            }
            Ok((matched, limited))
        };
        let asked: Vec<Result<_, LimiterError>> = requests.iter().map(&mut ask).collect();
        let (decided, since) = self.decide_all(&span, &checks).await;
        let mut decided = checks.into_iter().zip(decided);
        let mut answer = |(mut matched, limited): (Matched, bool)| {
            if limited {
                let (check, decided) = decided.next().expect("a store answers every check");
                matched.check = check;
                finish(&active_policy, Action::Take, &matched, decided, since)
            } else {
                Ok(self.unlimited(&active_policy, &matched))
            }
        };
        let checked: Vec<_> = asked.into_iter().map(|asked| asked.and_then(&mut answer)).collect();
        traced::all_checked(&span, &checked);
        checked
    }

    /// The decisions, and since when they were waited for, if they were.
    async fn decide_all(
        &self,
        span: &DecisionSpan,
        checks: &[Check],
    ) -> (Vec<Result<Decision, StoreError>>, Option<Instant>) {
        if checks.is_empty() {
            return (Vec::new(), None);
        }
        match span.in_scope(|| self.inner.store.decide_all(checks)) {
            StoreFuture::Ready(Some(decided)) => (decided, None),
            waiting => {
                let started = Instant::now();
                (waiting.await, Some(started))
            }
        }
    }

    /// Decides a check that was made of other rules than the policy's, and records what its limits
    /// say with `counters`: one for each part, in the same order.
    ///
    /// # Errors
    /// When the store cannot decide.
    pub async fn decide(
        &self,
        check: &Check,
        counters: Counters<'_>,
    ) -> Result<Decision, StoreError> {
        if check.parts().is_empty() {
            return Ok(Decision::unlimited(self.inner.clock.now()));
        }
        let span = DecisionSpan::single();
        let (decided, since) = match span.in_scope(|| self.inner.store.decide(check)) {
            StoreFuture::Ready(Some(decided)) => (decided, None),
            waiting => {
                let started = Instant::now();
                (waiting.await, Some(started))
            }
        };
        let durations = &self.inner.recorders.decisions;
        record(
            check.action(),
            &decided,
            counters.decisions.iter().copied(),
            counters.hits,
            durations,
            since,
        );
        if let (Action::Take, Ok(decision), Some(stats), [first, ..]) =
            (check.action(), &decided, &self.inner.other, check.parts())
        {
            stats.count_decision(first.tag, decision.is_denied());
        }
        traced::decided(&span, check.action(), &decided);
        decided
    }

    /// Where decisions are recorded: what [`Counters`] are made of.
    #[must_use]
    pub fn recorders(&self) -> &Recorders {
        &self.inner.recorders
    }

    fn unlimited(&self, active_policy: &ActivePolicy, matched: &Matched) -> Checked {
        Checked {
            decision: Decision::unlimited(self.inner.clock.now()),
            endpoint: active_policy.endpoint(matched),
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.inner.active_policy.load().policy)
    }

    /// Puts `policy` into force for every check that starts from now on; buckets stay as they are.
    pub fn replace_policy(&self, policy: Policy) {
        self.inner.active_policy.store(Arc::new(ActivePolicy::new(
            policy,
            &self.inner.recorders,
            self.inner.stats.as_ref(),
        )));
    }

    /// Where the buckets live.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }
}

/// Records the decision; `since` when it was waited for, if it was: reading the clock twice takes
/// as long as deciding in memory.
fn finish(
    active_policy: &ActivePolicy,
    action: Action,
    matched: &Matched,
    decided: Result<Decision, StoreError>,
    since: Option<Instant>,
) -> Result<Checked, LimiterError> {
    active_policy.record(action, matched, &decided, since);
    Ok(Checked { decision: decided?, endpoint: active_policy.endpoint(matched) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_core::{Algorithm, Cost, Limit, Mode, OnStoreFailure, Rate, Subject, Tagger};
    use sluice_store::{MemoryStore, RedisSettings, RedisStore};
    use sluice_telemetry::Telemetry;

    use super::*;
    use sluice_testkit::policies;

    fn limit(burst: u64) -> Limit {
        Limit::new(
            "ours",
            Algorithm::TokenBucket(Rate::new("1/day".parse().unwrap(), burst).unwrap()),
        )
        .unwrap()
    }

    fn check(action: Action, limit: &Arc<Limit>) -> Check {
        Check::new(action).with(limit, Tagger::new(b"").tag(Subject::Client(b"alice")), Cost::ONE)
    }

    #[tokio::test]
    async fn a_check_of_other_rules_is_decided_and_counted() {
        let telemetry = Telemetry::builder().build().unwrap();
        let recorders = telemetry.recorders();
        let limiter = Limiter::new(policies::document(), Arc::new(MemoryStore::new()), recorders);
        let (ours, hits) = (
            limiter.recorders().decisions.bind("ours"),
            limiter.recorders().rate_limit.bind("other"),
        );
        let counters = Counters { decisions: &[&ours], hits: &hits };
        let (enforced, shadow) = (Arc::new(limit(1)), Arc::new(limit(1).with_mode(Mode::Shadow)));
        let mut allowed = Vec::new();
        for check in
            [Action::Take, Action::Peek, Action::Take].map(|action| check(action, &enforced))
        {
            allowed.push(limiter.decide(&check, counters).await.unwrap().is_allowed());
        }
        assert_eq!(allowed, [true, false, false]);
        assert!(
            limiter.decide(&check(Action::Take, &shadow), counters).await.unwrap().is_allowed()
        );
        assert!(
            limiter
                .decide(&Check::new(Action::Take), Counters { decisions: &[], hits: &hits })
                .await
                .unwrap()
                .is_allowed()
        );

        let text = telemetry.prometheus().render().unwrap();
        for outcome in ["allowed", "denied", "shadow_denied"] {
            let counted = format!(
                "sluice_decisions_total{{limit=\"ours\",outcome=\"{outcome}\",source=\"store\"}} 1\n"
            );
            assert!(text.contains(&counted), "{outcome}: {text}");
        }
        assert!(text.contains("rate_limit_hits_total{endpoint=\"other\"} 1\n"), "{text}");
    }

    #[tokio::test]
    async fn a_store_that_cannot_decide_is_counted_too() {
        let telemetry = Telemetry::builder().build().unwrap();
        let settings =
            RedisSettings::new("redis://127.0.0.1:1").timeout(Duration::from_millis(200));
        let store = RedisStore::new(&settings, |_: &sluice_store::RoundTrip<'_>| {}).unwrap();
        let limiter = Limiter::new(policies::document(), Arc::new(store), telemetry.recorders());
        let (ours, hits) = (
            limiter.recorders().decisions.bind("ours"),
            limiter.recorders().rate_limit.bind("other"),
        );
        let asked =
            check(Action::Take, &Arc::new(limit(1).with_on_store_failure(OnStoreFailure::Error)));
        assert!(
            limiter.decide(&asked, Counters { decisions: &[&ours], hits: &hits }).await.is_err()
        );
        let text = telemetry.prometheus().render().unwrap();
        assert!(
            text.contains(
                "sluice_decisions_total{limit=\"ours\",outcome=\"error\",source=\"store\"} 1\n"
            ),
            "{text}"
        );
    }
}
