//! Decisions in the process while the store is unavailable.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Decision, Guarded, OnStoreFailure, Part, Record, Retry, Settled,
    Source, Timestamp, Verdict,
};
use smallvec::SmallVec;

use super::{
    fleet_size::FleetSize,
    ledger::{CAPACITY, Ledger},
    limit_share::LimitShares,
};
use crate::{Clock, MemoryStore, StoreError};

/// When a client may retry what only the store could admit. The store is probed at least this often
/// and may have recovered by then.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Decides checks in the process, each part as its limit's [`OnStoreFailure`] says, and records
/// what was admitted.
#[derive(Debug)]
pub(super) struct LocalFallback {
    /// Local buckets, for limits with [`OnStoreFailure::Local`].
    pub(super) buckets: MemoryStore<Arc<dyn Clock>>,
    pub(super) fleet_size: FleetSize,
    pub(super) ledger: Ledger,
    shares: LimitShares,
    clock: Arc<dyn Clock>,
}

impl LocalFallback {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            buckets: MemoryStore::with_clock(Arc::clone(&clock)),
            fleet_size: FleetSize::one(clock.now()),
            ledger: Ledger::with_capacity(CAPACITY),
            shares: LimitShares::default(),
            clock,
        }
    }

    /// Decides `check`, which the store did not decide because of `cause`.
    pub(super) fn decide(&self, check: &Check, cause: StoreError) -> Result<Decision, StoreError> {
        // The store is available, but it would never decide this check.
        if matches!(cause, StoreError::TooLarge { .. } | StoreError::NoHolds { .. }) {
            return Err(cause);
        }
        match check.action() {
            Action::Take | Action::Peek | Action::Reserve | Action::Extend => {
                self.take_or_peek(check, cause)
            }
            Action::GiveBack | Action::Renew if was_taken_here(check) => {
                Ok(self.return_or_renew_slots(check))
            }
            Action::Charge => self.charge(check, cause),
            Action::Settle => self.settle(check, cause),
            // There is nothing here to give back to. To promise it for later would admit twice, if
            // the store has forgotten the bucket by then.
            Action::GiveBack
            | Action::Renew
            | Action::Reset
            | Action::Lend { .. }
            | Action::EndLease { .. }
            | Action::Undo => Err(cause),
        }
    }

    /// Frees what only an outage needs.
    pub(super) fn end_outage(&self) {
        self.shares.clear();
    }

    fn take_or_peek(&self, check: &Check, cause: StoreError) -> Result<Decision, StoreError> {
        let enforces =
            |part: &Part, rule| part.limit.denies() && part.limit.on_store_failure() == rule;
        if let Some(part) = check.parts().iter().find(|part| enforces(part, OnStoreFailure::Error))
        {
            return Err(StoreError::LeftToCaller {
                limit: part.limit.name().to_owned(),
                source: Box::new(cause),
            });
        }
        let denied = check.parts().iter().any(|part| enforces(part, OnStoreFailure::Deny));
        let peek = Check::new(Action::Peek);
        let local = self.buckets.decide_now(&self.local(check, if denied { &peek } else { check }));
        let allowed = !denied && local.is_allowed();
        let takes =
            allowed && check.action() != Action::Peek && local.guarded() != Some(Guarded::Repeated);
        let decision =
            assemble(check, &local, allowed, |part| match part.limit.on_store_failure() {
                OnStoreFailure::Deny => denied_without_store(part, local.at()),
                // `Error` only comes here from a limit in shadow mode, which lets everything pass.
                OnStoreFailure::Allow | OnStoreFailure::Error | OnStoreFailure::Local => {
                    allowed_without_store(part, takes, local.at())
                }
            });
        if takes {
            for (part, verdict) in check.parts().iter().zip(decision.verdicts()) {
                if verdict.admitted {
                    self.ledger.record(part, &self.refill_of(part), decision.at());
                }
            }
        }
        Ok(decision)
    }

    fn charge(&self, check: &Check, cause: StoreError) -> Result<Decision, StoreError> {
        let refills: SmallVec<[Algorithm; 2]> =
            check.parts().iter().map(|part| self.refill_of(part)).collect();
        if !self.ledger.record_all(check.parts(), &refills, self.clock.now()) {
            return Err(cause);
        }
        let local = self.buckets.decide_now(&self.local(check, check));
        Ok(assemble(check, &local, true, |part| allowed_without_store(part, true, local.at())))
    }

    /// Gives slots that were taken here back to the local buckets, or renews them. Those that the
    /// store knows return by themselves, as those of a replica that has crashed.
    fn return_or_renew_slots(&self, check: &Check) -> Decision {
        let local = self.buckets.decide_now(&self.local(check, check));
        for part in check.parts().iter().filter(|_| local.is_allowed()) {
            self.ledger.forgive(part, local.at());
            if check.action() == Action::Renew {
                // What is owed for them counts for longer too.
                self.ledger.record(part, &self.refill_of(part), local.at());
            }
        }
        let allowed = local.is_allowed();
        assemble(check, &local, allowed, |part| allowed_without_store(part, false, local.at()))
    }

    /// Settles a hold that was reserved here: corrects the local buckets and what is owed for them.
    fn settle(&self, check: &Check, cause: StoreError) -> Result<Decision, StoreError> {
        let local = self.local(check, check);
        let Some(local) = self.buckets.decide_if(&local, |_| true) else {
            return Err(StoreError::NotSettled(Box::new(cause)));
        };
        let may_return = check.hold().is_some_and(|hold| local.at() < hold.ends_at(local.at()));
        if local.guarded() == Some(Guarded::First) {
            for part in check.parts() {
                if !part.gives_back() {
                    self.ledger.record(part, &self.refill_of(part), local.at());
                } else if may_return {
                    self.ledger.forgive(part, local.at());
                }
            }
        }
        let allowed = local.is_allowed();
        Ok(assemble(check, &local, allowed, |part| allowed_without_store(part, false, local.at())))
    }

    /// Returns the decision on a step of a hold that was made here before, since the store was
    /// away: on a settlement, or on a reservation. The store, which does not know that, would make
    /// it once more.
    pub(super) fn made_before(&self, check: &Check) -> Option<Decision> {
        let is_made = match check.action() {
            Action::Reserve => |_| true,
            Action::Settle => |record| matches!(record, Record::Settled { .. }),
            _ => return None,
        };
        if !self.buckets.has_records() {
            return None;
        }
        let local = self.buckets.decide_if(&self.local(check, check), is_made)?;
        let allowed = local.is_allowed();
        Some(assemble(check, &local, allowed, |part| {
            allowed_without_store(part, false, local.at())
        }))
    }

    /// Forgets a hold that the store has settled.
    pub(super) fn settled_by_store(&self, check: &Check) {
        if check.action() == Action::Settle
            && let Some(key) = self.local(check, check).record_key()
        {
            self.buckets.forget_record(&key);
        }
    }

    /// Returns a check that does what `other` does with the parts of `check` that have local
    /// buckets, under this replica's shares of their limits.
    fn local(&self, check: &Check, other: &Check) -> Check {
        let replicas = self.fleet_size.get();
        let mut local = other.without_parts();
        for part in check.parts().iter().filter(|part| is_local(part)) {
            let share = self.shares.of(&part.limit, replicas).limit;
            local.push(part.clone().under(share));
        }
        local
    }

    fn refill_of(&self, part: &Part) -> Algorithm {
        self.shares.of(&part.limit, self.fleet_size.get()).refill
    }
}

/// Returns whether a check gives back, or renews, only slots that were taken here.
fn was_taken_here(check: &Check) -> bool {
    check.parts().iter().all(|part| part.has_slots() && part.was_taken_locally())
}

fn is_local(part: &Part) -> bool {
    part.limit.on_store_failure() == OnStoreFailure::Local
}

/// Assembles the decision on the whole check: the local verdicts at their places, under the names
/// of their limits, and `without_store` for the other parts.
fn assemble(
    check: &Check,
    local: &Decision,
    allowed: bool,
    without_store: impl Fn(&Part) -> Verdict,
) -> Decision {
    let mut local_verdicts = local.verdicts().iter();
    let verdict = |part| {
        let verdict = if is_local(part) { local_verdicts.next() } else { None };
        verdict.map_or_else(|| without_store(part), |verdict| of_whole_limit(part, verdict))
    };
    let verdicts: SmallVec<[Verdict; 2]> = check.parts().iter().map(verdict).collect();
    Decision::new(allowed, verdicts, local.at(), Source::Local)
        .with_guarded(local.guarded().zip(local.hold_ends_at()))
}

/// Turns the verdict on a share of a limit into one on the whole limit.
fn of_whole_limit(part: &Part, verdict: &Verdict) -> Verdict {
    let retry = match verdict.retry {
        // A cost above the share's burst may be below the limit's burst.
        Retry::Never => retry_with_store(part),
        retry @ (Retry::Now | Retry::After(_)) => retry,
    };
    Verdict { limit: Arc::clone(&part.limit), retry, ..verdict.clone() }
}

/// Admits a part that has no local bucket: its verdict is that of a bucket that was never used.
fn allowed_without_store(part: &Part, taken: bool, now: Timestamp) -> Verdict {
    let mut bucket = Settled::full(part.limit.algorithm(), now);
    if taken {
        bucket.take(part.cost.tokens());
    }
    verdict(part, true, &bucket, Retry::Now)
}

/// Denies a part that has no local bucket: its verdict is that of an empty bucket.
fn denied_without_store(part: &Part, now: Timestamp) -> Verdict {
    let mut bucket = Settled::full(part.limit.algorithm(), now);
    bucket.take(part.limit.algorithm().capacity());
    verdict(part, false, &bucket, retry_with_store(part))
}

fn verdict(part: &Part, admitted: bool, bucket: &Settled<'_>, retry: Retry) -> Verdict {
    Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted,
        remaining: bucket.remaining(),
        reset_in: bucket.reset_in(),
        retry,
    }
}

/// Returns when to retry a part that this replica never admits, but the store may.
fn retry_with_store(part: &Part) -> Retry {
    if part.cost.tokens() > part.limit.algorithm().capacity() {
        Retry::Never
    } else {
        Retry::After(RETRY_AFTER)
    }
}
