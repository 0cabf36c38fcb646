//! The rate limit service, independent of the protocol that carries its calls.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use sluice::{
    Limiter, StoreError,
    checks::{CheckCounters, DecideCheck},
};
use sluice_core::{Action, Check, Cost, Decision, OnStoreFailure, Tagger};
use smallvec::SmallVec;
use tokio::time::timeout;

use sluice_config::RlsSettings;

use crate::{
    call::{Call, Calls},
    charged::Charged,
    deadline::CallDeadline,
    error::RlsError,
    messages::{RateLimitRequest, RateLimitResponse},
    plan::{CheckPlan, Counted, Role, Slot},
    response::Outcome,
    rules::{Looks, Rules},
};

/// Decides calls by the active rules. Cheap to clone; clones are the same service.
#[derive(Clone, Debug)]
pub struct EnvoyRls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limiter: Limiter,
    /// How long a call may wait for the store, whatever it consists of.
    store_timeout: Duration,
    /// `None` when no files are configured.
    rules: ArcSwapOption<Rules>,
    /// Which rules were looked at, also before the rules were replaced.
    looks: Looks,
    calls: Calls,
}

impl EnvoyRls {
    /// Creates a service without rules, whose calls wait for the store of `limiter` for at most
    /// `store_timeout`.
    #[must_use]
    pub fn new(limiter: Limiter, store_timeout: Duration) -> Self {
        let (rules, looks) = (ArcSwapOption::empty(), Looks::default());
        let calls = Calls::new(limiter.recorders());
        Self { inner: Arc::new(Inner { limiter, store_timeout, rules, looks, calls }) }
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
        let Inner { limiter, rules, looks, .. } = &*self.inner;
        let new = settings.map(|settings| {
            let (tagger, recorders) = (tagger.clone(), limiter.recorders());
            Arc::new(Rules::new(settings, on_store_failure, tagger, recorders, looks))
        });
        rules.store(new);
        looks.forget_unused();
    }

    /// Returns whether there are rules.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.inner.rules.load().is_some()
    }

    /// Begins a call, which is counted when it ends.
    pub(crate) fn begin_call(&self) -> Call<'_> {
        self.inner.calls.begin()
    }

    /// Returns whether responses repeat the rate limit fields for the caller to pass on
    /// (`rls.response_headers`).
    pub(crate) fn repeats_fields(&self) -> bool {
        self.inner.rules.load().as_ref().is_some_and(|rules| rules.response_headers)
    }

    /// Decides what `call` asks in `request`. Its caller waits until `deadline`. The steps of a
    /// call share what the store may take for one. The response has the rate limit fields if
    /// `rls.response_headers` says so, or `always_with_fields`.
    pub(crate) async fn decide_call(
        &self,
        request: &RateLimitRequest,
        deadline: CallDeadline,
        call: &mut Call<'_>,
        always_with_fields: bool,
    ) -> Result<RateLimitResponse, RlsError> {
        let deadline = deadline.at_most(self.inner.store_timeout);
        let rules = self.inner.rules.load_full().ok_or(RlsError::NoRules)?;
        let domain = rules.domain(&request.domain);
        if let Some(domain) = domain {
            call.is_in(&domain.calls);
        }
        let mut plan = CheckPlan::new(request, &rules, domain)?;
        match domain {
            Some(_) => call.matched(plan.slots.len() - plan.unmatched, plan.unmatched),
            None => call.is_in_unknown_domain(&request.domain),
        }
        let charged = self.charge(&plan, &rules, deadline).await?;
        if charged.as_ref().is_some_and(Charged::is_denied) {
            plan.take.check = peek(&plan.take.check);
        }
        let Counted { check, counters } = &plan.take;
        let counters: SmallVec<[_; 2]> = counters.iter().map(|counter| &**counter).collect();
        let taken = self
            .inner
            .limiter
            .decide_check(
                check,
                CheckCounters { decisions: &counters, hits: &rules.hits },
                deadline.within(),
            )
            .await?;
        let is_quota_exhausted = plan.is_quota_exhausted(&taken, charged.as_ref());
        if is_quota_exhausted && taken.is_allowed() {
            self.give_back(undo(check, &taken), &rules, deadline).await?;
        }
        let outcome = Outcome { taken, charged, given_back: None, is_quota_exhausted };
        let passes = !outcome.is_denied(&plan);
        let given_back = match &plan.give_back {
            nothing if nothing.parts().is_empty() => None,
            check if passes => Some(self.give_back(check.clone(), &rules, deadline).await?),
            check => Some(self.change(look(check), &rules, deadline).await?),
        };
        let outcome = Outcome { given_back, ..outcome };
        plan.count_blocked();
        let is_counted = plan.take.check.action() == Action::Take && outcome.taken.is_denied();
        if !passes && !is_counted {
            rules.hits.hit();
        }
        Ok(outcome.respond(request, &plan, rules.response_headers || always_with_fields))
    }

    /// Charges the usage that the call reports, if it does.
    async fn charge(
        &self,
        plan: &CheckPlan<'_>,
        rules: &Rules,
        deadline: CallDeadline,
    ) -> Result<Option<Charged>, StoreError> {
        if plan.charge.check.parts().is_empty() {
            return Ok(None);
        }
        let charged = self.change(plan.charge.check.clone(), rules, deadline).await?;
        let charged = Charged::of(&charged);
        charged.count(&plan.charge);
        Ok(Some(charged))
    }

    /// Gives tokens back, without counting decisions. A caller that gives up does not stop it,
    /// since the tokens would be lost.
    async fn give_back(
        &self,
        check: Check,
        rules: &Arc<Rules>,
        deadline: CallDeadline,
    ) -> Result<Decision, StoreError> {
        let (limiter, rules) = (self.inner.limiter.clone(), Arc::clone(rules));
        let giving = tokio::spawn(async move {
            let counters = CheckCounters { decisions: &[], hits: &rules.hits };
            limiter.decide_check(&check, counters, None).await
        });
        let within = deadline.within().unwrap_or(self.inner.store_timeout);
        match timeout(within, giving).await {
            Ok(Ok(given_back)) => given_back,
            // The runtime stops.
            Ok(Err(stopped)) => Err(StoreError::unreachable(stopped)),
            Err(_) => Err(StoreError::Timeout { within }),
        }
    }

    /// Applies a check without counting decisions.
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
    fn is_quota_exhausted(&self, taken: &Decision, charged: Option<&Charged>) -> bool {
        let mut quotas = self
            .slots
            .iter()
            .filter(|slot| slot.limit().is_some_and(|limit| limit.is_quota))
            .peekable();
        quotas.peek().is_some()
            && quotas.all(|slot| match slot {
                Slot::Unlimited { .. } => false,
                Slot::Blocked { limit, denies } => *denies && !limit.is_shadow,
                Slot::Tokens { limit, part, role } => {
                    let verdicts = match role {
                        Role::Takes => taken.verdicts(),
                        Role::Charges => charged.map_or(&[][..], Charged::verdicts),
                        Role::GivesBack => &[],
                    };
                    verdicts.get(*part).is_some_and(|verdict| !verdict.admitted) && !limit.is_shadow
                }
            })
    }

    /// Counts the decisions of blocking rules, which need no check.
    fn count_blocked(&self) {
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

/// Returns the check that decides as `check` would, and takes nothing.
fn peek(check: &Check) -> Check {
    let peek = Check::new(Action::Peek);
    check.parts().iter().fold(peek, |peek, part| peek.with(&part.limit, part.tag, part.cost))
}

/// Returns the check that reads the state of the same buckets.
fn look(check: &Check) -> Check {
    let looking = Check::new(Action::Peek);
    check
        .parts()
        .iter()
        .fold(looking, |looking, part| looking.with(&part.limit, part.tag, Cost::NONE))
}
