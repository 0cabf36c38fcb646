//! Decides checks that a program builds itself, of rules other than a policy's.
//!
//! For front ends that have a rule language of their own, as the server's front end for Envoy does.
//! Programs whose limits are a [`Policy`](crate::Policy) do not need this module.

use std::time::Duration;

use sluice_core::{Action, Check, Decision};
use sluice_store::StoreError;

use crate::{
    active_policy::record,
    limiter::Limiter,
    observed,
    telemetry::{BoundDecisions, BoundHits, Recorders},
};

/// The counters of a check that a program built itself.
#[derive(Clone, Copy, Debug)]
pub struct CheckCounters<'a> {
    /// One for each part of the check, in the same order.
    pub decisions: &'a [&'a BoundDecisions],
    /// Counts the denied requests.
    pub hits: &'a BoundHits,
}

/// Decides checks on a limiter's store, past its policy.
pub trait DecideCheck {
    /// Decides `check`, and records the decision with `counters`. A caller with a deadline of its
    /// own says how long it waits, as for [`Limiter::check_within`].
    ///
    /// # Errors
    /// When the store cannot decide.
    fn decide_check(
        &self,
        check: &Check,
        counters: CheckCounters<'_>,
        within: Option<Duration>,
    ) -> impl Future<Output = Result<Decision, StoreError>> + Send;

    /// Returns the recorders of the limiter, to bind [`CheckCounters`] to.
    fn recorders(&self) -> &Recorders;
}

impl DecideCheck for Limiter {
    async fn decide_check(
        &self,
        check: &Check,
        counters: CheckCounters<'_>,
        within: Option<Duration>,
    ) -> Result<Decision, StoreError> {
        let (decided, since) = self.decide(check, within).await;
        let CheckCounters { decisions, hits } = counters;
        let durations = &Limiter::recorders(self).decisions;
        record(check.action(), &decided, decisions.iter().copied(), hits, durations, since);
        if let (Action::Take, Ok(decision), Some(stats), [first, ..]) =
            (check.action(), &decided, self.other_stats(), check.parts())
        {
            stats.count_decision(first.tag, decision.is_denied());
        }
        if let Ok(decision) = &decided {
            let client = check.parts().first().map(|part| part.tag);
            observed::observe_check(self.observer(), check.action(), client, decision);
        }
        decided
    }

    fn recorders(&self) -> &Recorders {
        Self::recorders(self)
    }
}

#[cfg(test)]
#[cfg(feature = "redis")]
mod tests {
    use std::{sync::Arc, time::Duration};

    use sluice_core::{
        Algorithm, Cost, Limit, Mode, OnStoreFailure, Policy, Rate, Subject, Tagger,
    };
    use sluice_store::{RedisSettings, RedisStore};
    use sluice_telemetry::Telemetry;

    use super::*;

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
    async fn a_check_that_a_program_built_is_decided_and_counted() {
        let telemetry = Telemetry::builder().build().unwrap();
        let recorders = telemetry.recorders();
        let limiter = Limiter::builder(Policy::per_client("60/minute, burst 10".parse().unwrap()))
            .recorders(recorders)
            .build();
        let (ours, hits) = (
            limiter.recorders().decisions.bind("ours"),
            limiter.recorders().rate_limit.bind("other"),
        );
        let counters = CheckCounters { decisions: &[&ours], hits: &hits };
        let (enforced, shadow) = (Arc::new(limit(1)), Arc::new(limit(1).with_mode(Mode::Shadow)));
        let mut allowed = Vec::new();
        for check in
            [Action::Take, Action::Peek, Action::Take].map(|action| check(action, &enforced))
        {
            allowed.push(limiter.decide_check(&check, counters, None).await.unwrap().is_allowed());
        }
        assert_eq!(allowed, [true, false, false]);
        assert!(
            limiter
                .decide_check(&check(Action::Take, &shadow), counters, None)
                .await
                .unwrap()
                .is_allowed()
        );
        assert!(
            limiter
                .decide_check(
                    &Check::new(Action::Take),
                    CheckCounters { decisions: &[], hits: &hits },
                    None
                )
                .await
                .unwrap()
                .is_allowed()
        );

        let text = telemetry.prometheus().render().unwrap();
        for outcome in ["allowed", "denied", "shadow_denied"] {
            let counted = format!(
                "sluice_decisions_total\
                 {{limit=\"ours\",outcome=\"{outcome}\",source=\"store\"}} 1\n"
            );
            assert!(text.contains(&counted), "{outcome}: {text}");
        }
        assert!(text.contains("rate_limit_hits_total{endpoint=\"other\"} 1\n"), "{text}");
    }

    #[tokio::test]
    async fn a_failing_store_is_counted_too() {
        let telemetry = Telemetry::builder().build().unwrap();
        let settings =
            RedisSettings::new("redis://127.0.0.1:1").timeout(Duration::from_millis(200));
        let store = RedisStore::new(&settings, |_: &sluice_store::RoundTrip<'_>| {}).unwrap();
        let limiter = Limiter::builder(Policy::per_client("60/minute, burst 10".parse().unwrap()))
            .store(Arc::new(store))
            .recorders(telemetry.recorders())
            .build();
        let (ours, hits) = (
            limiter.recorders().decisions.bind("ours"),
            limiter.recorders().rate_limit.bind("other"),
        );
        let asked =
            check(Action::Take, &Arc::new(limit(1).with_on_store_failure(OnStoreFailure::Error)));
        assert!(
            limiter
                .decide_check(&asked, CheckCounters { decisions: &[&ours], hits: &hits }, None)
                .await
                .is_err()
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
