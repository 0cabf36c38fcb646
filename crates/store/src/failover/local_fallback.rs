//! The answers while the store cannot give them.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Check, Decision, OnStoreFailure, Part, Rate, Retry, Settled, Source, Timestamp, Verdict,
};
use smallvec::SmallVec;

use super::{
    ledger::{Ledger, ROOM},
    recovery_task::LONGEST_PAUSE,
    share::{LiveReplicas, Shares},
};
use crate::{Clock, MemoryStore, StoreError};

/// Answers checks in the process, part by part as each limit's [`OnStoreFailure`] says, and notes
/// what was admitted.
#[derive(Debug)]
pub(super) struct LocalFallback {
    pub(super) local: MemoryStore<Arc<dyn Clock>>,
    pub(super) replicas: LiveReplicas,
    pub(super) ledger: Ledger,
    shares: Shares,
    clock: Arc<dyn Clock>,
}

impl LocalFallback {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            local: MemoryStore::with_clock(Arc::clone(&clock)),
            replicas: LiveReplicas::one(clock.now()),
            ledger: Ledger::with_room_for(ROOM),
            shares: Shares::default(),
            clock,
        }
    }

    /// What `check` gets since the store failed with `why`.
    pub(super) fn answer(&self, check: &Check, why: StoreError) -> Result<Decision, StoreError> {
        match check.action() {
            Action::Take | Action::Peek => self.decide(check, why),
            Action::Charge => self.charge(check, why),
            // There is nothing here to give back to, and a promise to do it later would admit twice
            // when the store forgot the bucket.
            Action::GiveBack | Action::Reset => Err(why),
        }
    }

    /// Lets go of what only an outage needs.
    pub(super) fn over(&self) {
        self.shares.forget();
    }

    fn decide(&self, check: &Check, why: StoreError) -> Result<Decision, StoreError> {
        let enforced =
            |rule| move |part: &&Part| part.limit.denies() && part.limit.on_store_failure() == rule;
        if let Some(part) = check.parts().iter().find(enforced(OnStoreFailure::Error)) {
            return Err(StoreError::LeftToCaller {
                limit: part.limit.name().to_owned(),
                source: Box::new(why),
            });
        }
        let denied = check.parts().iter().any(|part| enforced(OnStoreFailure::Deny)(&part));
        let local = self.decide_locally(check, if denied { Action::Peek } else { check.action() });
        let allowed = !denied && local.is_allowed();
        let takes = allowed && check.action() == Action::Take;
        let decision =
            assemble(check, &local, allowed, |part| match part.limit.on_store_failure() {
                OnStoreFailure::Deny => unasked_and_denied(part, local.at()),
                // An error left to the caller is never a shadow's: it passes.
                OnStoreFailure::Allow | OnStoreFailure::Error | OnStoreFailure::Local => {
                    unasked_and_passed(part, takes, local.at())
                }
            });
        if takes {
            for (part, verdict) in check.parts().iter().zip(decision.verdicts()) {
                if verdict.admitted {
                    self.ledger.note(part, &self.refill_of(part), decision.at());
                }
            }
        }
        Ok(decision)
    }

    fn charge(&self, check: &Check, why: StoreError) -> Result<Decision, StoreError> {
        let refills: SmallVec<[Rate; 2]> =
            check.parts().iter().map(|part| self.refill_of(part)).collect();
        if !self.ledger.note_all(check.parts(), &refills, self.clock.now()) {
            return Err(why);
        }
        let local = self.decide_locally(check, Action::Charge);
        Ok(assemble(check, &local, true, |part| unasked_and_passed(part, true, local.at())))
    }

    /// Decides the parts that a local bucket stands in for, all or nothing, on this replica's
    /// shares.
    fn decide_locally(&self, check: &Check, action: Action) -> Decision {
        let replicas = self.replicas.get();
        let mut local = Check::new(action);
        for part in check.parts().iter().filter(|part| is_local(part)) {
            let share = self.shares.of(&part.limit, replicas).limit;
            local.push(Part::new(share, part.tag, part.cost));
        }
        self.local.decide_now(&local)
    }

    fn refill_of(&self, part: &Part) -> Rate {
        self.shares.of(&part.limit, self.replicas.get()).refill
    }
}

fn is_local(part: &Part) -> bool {
    part.limit.on_store_failure() == OnStoreFailure::Local
}

/// The decision on the whole check: the local verdicts in their places, under their limits' own
/// names, and `unasked` ones for the rest.
fn assemble(
    check: &Check,
    local: &Decision,
    allowed: bool,
    unasked: impl Fn(&Part) -> Verdict,
) -> Decision {
    let mut decided = local.verdicts().iter();
    let verdict = |part| {
        let verdict = if is_local(part) { decided.next() } else { None };
        verdict.map_or_else(|| unasked(part), |verdict| on_the_whole(part, verdict))
    };
    let verdicts: SmallVec<[Verdict; 2]> = check.parts().iter().map(verdict).collect();
    Decision::new(allowed, verdicts, local.at(), Source::Local)
}

/// A share's verdict, said of the whole limit.
fn on_the_whole(part: &Part, verdict: &Verdict) -> Verdict {
    let retry = match verdict.retry {
        // Too much for the share is not too much for the limit.
        Retry::Never => retry_with_the_store(part),
        retry => retry,
    };
    Verdict { limit: Arc::clone(&part.limit), retry, ..verdict.clone() }
}

/// Nobody counts, so it reads as from a bucket that was never seen.
fn unasked_and_passed(part: &Part, taken: bool, now: Timestamp) -> Verdict {
    let mut bucket = Settled::full(part.limit.rate(), now);
    if taken {
        bucket.take(part.cost.tokens());
    }
    verdict(part, true, &bucket, Retry::Now)
}

fn unasked_and_denied(part: &Part, now: Timestamp) -> Verdict {
    let rate = part.limit.rate();
    let mut bucket = Settled::full(rate, now);
    bucket.take(rate.burst());
    verdict(part, false, &bucket, retry_with_the_store(part))
}

fn verdict(part: &Part, admitted: bool, bucket: &Settled<'_>, retry: Retry) -> Verdict {
    Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted,
        remaining: bucket.remaining(),
        reset_in: bucket.full_in(),
        retry,
    }
}

/// Nothing here will ever admit it, but the store may, and it is asked at least this often.
fn retry_with_the_store(part: &Part) -> Retry {
    const PAUSE: Duration = LONGEST_PAUSE;
    if part.cost.tokens() > part.limit.rate().burst() { Retry::Never } else { Retry::After(PAUSE) }
}
