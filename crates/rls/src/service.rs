//! The rate limit service, whatever protocol carries its calls.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sluice::{Counters, Limiter, StoreError};
use sluice_core::{Action, Check, Cost, Decision, OnStoreFailure, Tagger};
use smallvec::SmallVec;

use sluice_config::RlsSettings;

use crate::{
    error::RlsError,
    messages::{RateLimitRequest, RateLimitResponse},
    plan::{Question, Slot},
    response::Answer,
    rules::Rules,
};

/// Decides calls by the rules in force. Cheap to clone; clones are the same service.
#[derive(Clone, Debug)]
pub struct EnvoyRls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limiter: Limiter,
    /// `None` when no files are named.
    rules: ArcSwapOption<Rules>,
}

impl EnvoyRls {
    /// A service without rules.
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self { inner: Arc::new(Inner { limiter, rules: ArcSwapOption::empty() }) }
    }

    /// Puts the rules of `settings` into force for every call that starts from now on; buckets stay
    /// as they are. `on_store_failure` says who answers while the store cannot, `tagger` makes
    /// values unreadable.
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

    /// Whether there are rules.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.inner.rules.load().is_some()
    }

    /// Decides one call.
    pub(crate) async fn decide(
        &self,
        request: &RateLimitRequest,
    ) -> Result<RateLimitResponse, RlsError> {
        let rules = self.inner.rules.load_full().ok_or(RlsError::NoRules)?;
        let question = Question::new(request, &rules)?;
        let counters: SmallVec<[_; 2]> =
            question.counters.iter().map(|counter| &**counter).collect();
        let taken = self
            .inner
            .limiter
            .decide(&question.take, Counters { decisions: &counters, hits: &rules.hits })
            .await?;
        let is_quota_exhausted = question.is_quota_exhausted(&taken);
        if is_quota_exhausted && taken.is_allowed() {
            self.change(undo(&question.take, &taken), &rules).await?;
        }
        let passes = taken.is_allowed() && !question.is_barred && !is_quota_exhausted;
        let given_back = match &question.give_back {
            nothing if nothing.parts().is_empty() => None,
            check if passes => Some(self.change(check.clone(), &rules).await?),
            check => Some(self.change(only_looking(check), &rules).await?),
        };
        question.count_what_no_check_counts(is_quota_exhausted && taken.is_allowed(), &rules);
        Ok(Answer { taken, given_back, is_quota_exhausted }.respond(
            request,
            &question,
            rules.response_headers,
        ))
    }

    /// Does what no decision is counted for.
    async fn change(&self, check: Check, rules: &Rules) -> Result<Decision, StoreError> {
        self.inner.limiter.decide(&check, Counters { decisions: &[], hits: &rules.hits }).await
    }
}

impl Question<'_> {
    /// Whether every limit that only denies together with the others does.
    fn is_quota_exhausted(&self, taken: &Decision) -> bool {
        let mut quotas = self
            .slots
            .iter()
            .filter(|slot| slot.limit().is_some_and(|limit| limit.is_quota))
            .peekable();
        quotas.peek().is_some()
            && quotas.all(|slot| match slot {
                Slot::Free { .. } => false,
                Slot::Barred { limit, denies } => *denies && !limit.is_shadow,
                Slot::Tokens { gives_back: true, .. } => false,
                Slot::Tokens { limit, part, .. } => {
                    !taken.verdicts()[*part].admitted && !limit.is_shadow
                }
            })
    }

    /// Counts what rules said that let nothing pass, and requests that no check denied.
    fn count_what_no_check_counts(&self, only_quotas_deny: bool, rules: &Rules) {
        for slot in &self.slots {
            if let Slot::Barred { limit, denies: true } = slot {
                let local = sluice_telemetry::SourceLabel::Local;
                if limit.is_shadow {
                    limit.counter.shadow_denied(local)
                } else {
                    limit.counter.denied(local)
                }
            }
        }
        if self.is_barred || only_quotas_deny {
            rules.hits.hit();
        }
    }
}

/// Gives back what was taken.
fn undo(check: &Check, taken: &Decision) -> Check {
    let mut undo = Check::new(Action::GiveBack);
    if check.action() == Action::Take {
        let admitted =
            check.parts().iter().zip(taken.verdicts()).filter(|(_, verdict)| verdict.admitted);
        admitted.for_each(|(part, _)| undo.push(part.clone()));
    }
    undo
}

/// Looks at the same buckets.
fn only_looking(check: &Check) -> Check {
    let looking = Check::new(Action::Peek);
    check
        .parts()
        .iter()
        .fold(looking, |looking, part| looking.with(&part.limit, part.tag, Cost::NONE))
}
