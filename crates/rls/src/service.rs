//! The rate limit service, independent of the protocol that carries its calls.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sluice::{
    Limiter, StoreError,
    checks::{CheckCounters, DecideCheck},
};
use sluice_core::{Action, Check, Cost, Decision, OnStoreFailure, Tagger};
use smallvec::SmallVec;

use sluice_config::RlsSettings;

use crate::{
    deadline::CallDeadline,
    error::RlsError,
    messages::{RateLimitRequest, RateLimitResponse},
    plan::{CheckPlan, Slot},
    response::Outcome,
    rules::Rules,
};

/// Decides calls by the active rules. Cheap to clone; clones are the same service.
#[derive(Clone, Debug)]
pub struct EnvoyRls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limiter: Limiter,
    /// `None` when no files are configured.
    rules: ArcSwapOption<Rules>,
}

impl EnvoyRls {
    /// Creates a service without rules.
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self { inner: Arc::new(Inner { limiter, rules: ArcSwapOption::empty() }) }
    }

    /// Replaces the rules for every call that starts from now on; buckets keep their state.
    /// `on_store_failure` says who decides while the store cannot, and `tagger` hashes the values
    /// of descriptors.
    pub fn replace(
        &self,
        settings: Option<&RlsSettings>,
        on_store_failure: OnStoreFailure,
        tagger: &Tagger,
    ) {
        let recorders = self.inner.limiter.recorders();
        let rules = settings.map(|settings| {
            Arc::new(Rules::new(settings, on_store_failure, tagger.clone(), recorders))
        });
        self.inner.rules.store(rules);
    }

    /// Returns whether there are rules.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.inner.rules.load().is_some()
    }

    /// Decides one call, whose caller waits until `deadline`.
    pub(crate) async fn decide(
        &self,
        request: &RateLimitRequest,
        deadline: CallDeadline,
    ) -> Result<RateLimitResponse, RlsError> {
        let rules = self.inner.rules.load_full().ok_or(RlsError::NoRules)?;
        let plan = CheckPlan::new(request, &rules)?;
        let counters: SmallVec<[_; 2]> = plan.counters.iter().map(|counter| &**counter).collect();
        let taken = self
            .inner
            .limiter
            .decide_check(
                &plan.take,
                CheckCounters { decisions: &counters, hits: &rules.hits },
                deadline.within(),
            )
            .await?;
        let is_quota_exhausted = plan.is_quota_exhausted(&taken);
        if is_quota_exhausted && taken.is_allowed() {
            self.change(undo(&plan.take, &taken), &rules, CallDeadline::NONE).await?;
        }
        let passes = taken.is_allowed() && !plan.is_blocked && !is_quota_exhausted;
        let given_back = match &plan.give_back {
            nothing if nothing.parts().is_empty() => None,
            check if passes => Some(self.change(check.clone(), &rules, CallDeadline::NONE).await?),
            check => Some(self.change(peek(check), &rules, deadline).await?),
        };
        plan.count_what_no_check_counts(is_quota_exhausted && taken.is_allowed(), &rules);
        Ok(Outcome { taken, given_back, is_quota_exhausted }.respond(
            request,
            &plan,
            rules.response_headers,
        ))
    }

    /// Applies a check without counting decisions. Tokens are given back without a deadline, since
    /// they would be lost otherwise.
    async fn change(
        &self,
        check: Check,
        rules: &Rules,
        deadline: CallDeadline,
    ) -> Result<Decision, StoreError> {
        let counters = CheckCounters { decisions: &[], hits: &rules.hits };
        self.inner.limiter.decide_check(&check, counters, deadline.within()).await
    }
}

impl CheckPlan<'_> {
    /// Returns whether all quota limits deny. Limits in quota mode deny only together.
    fn is_quota_exhausted(&self, taken: &Decision) -> bool {
        let mut quotas = self
            .slots
            .iter()
            .filter(|slot| slot.limit().is_some_and(|limit| limit.is_quota))
            .peekable();
        quotas.peek().is_some()
            && quotas.all(|slot| match slot {
                Slot::Unlimited { .. } => false,
                Slot::Blocked { limit, denies } => *denies && !limit.is_shadow,
                Slot::Tokens { gives_back: true, .. } => false,
                Slot::Tokens { limit, part, .. } => {
                    !taken.verdicts()[*part].admitted && !limit.is_shadow
                }
            })
    }

    /// Counts the decisions that need no check: those of blocking rules, and requests that only
    /// quota limits deny.
    fn count_what_no_check_counts(&self, only_quotas_deny: bool, rules: &Rules) {
        for slot in &self.slots {
            if let Slot::Blocked { limit, denies: true } = slot {
                let local = sluice_telemetry::SourceLabel::Local;
                if limit.is_shadow {
                    limit.counter.shadow_denied(local);
                } else {
                    limit.counter.denied(local);
                }
            }
        }
        if self.is_blocked || only_quotas_deny {
            rules.hits.hit();
        }
    }
}

/// Returns the check that gives back what was taken.
fn undo(check: &Check, taken: &Decision) -> Check {
    let mut undo = Check::new(Action::GiveBack);
    if check.action() == Action::Take {
        let admitted =
            check.parts().iter().zip(taken.verdicts()).filter(|(_, verdict)| verdict.admitted);
        admitted.for_each(|(part, _)| undo.push(part.clone()));
    }
    undo
}

/// Returns the check that reads the state of the same buckets.
fn peek(check: &Check) -> Check {
    let looking = Check::new(Action::Peek);
    check
        .parts()
        .iter()
        .fold(looking, |looking, part| looking.with(&part.limit, part.tag, Cost::NONE))
}
