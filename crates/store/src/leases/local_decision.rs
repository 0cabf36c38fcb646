//! Decisions that are made with leases, whole or in part.

use std::sync::Arc;

use sluice_core::{Check, Decision, Part, Retry, Source, Verdict};
use smallvec::SmallVec;

use super::{book::Outcome, estimate::Estimate};

/// Decides a check whose parts are all known without the store: those that a lease covers, and
/// those that are denied for the pace. `None` if the store has to decide about one.
pub(super) fn decide(check: &Check, outcomes: &[Outcome]) -> Option<Decision> {
    let mut allowed = true;
    let mut at = None;
    for (part, outcome) in check.parts().iter().zip(outcomes) {
        match outcome {
            Outcome::Covered(_, estimate) => at = at.max(Some(estimate.at)),
            Outcome::Denied(_, estimate) => {
                at = at.max(Some(estimate.at));
                allowed &= !part.limit.denies();
            }
            Outcome::Store { .. } => return None,
        }
    }
    let parts = check.parts().iter().zip(outcomes);
    let verdicts = parts.filter_map(|(part, outcome)| match outcome {
        Outcome::Covered(_, estimate) => Some(covered(part, *estimate, allowed)),
        Outcome::Denied(retry, estimate) => Some(verdict(part, *estimate, *retry)),
        Outcome::Store { .. } => None,
    });
    let verdicts: SmallVec<[Verdict; 1]> = verdicts.collect();
    Some(Decision::new(allowed, verdicts, at?, Source::Lease))
}

/// Combines the store's decision about the parts that no lease covered with those of leases.
pub(super) fn combine(check: &Check, outcomes: &[Outcome], by_store: &Decision) -> Decision {
    let allowed = by_store.is_allowed();
    let mut by_store_verdicts = by_store.verdicts().iter();
    let parts = check.parts().iter().zip(outcomes);
    let verdicts: SmallVec<[Verdict; 1]> = parts
        .filter_map(|(part, outcome)| match outcome {
            Outcome::Covered(_, estimate) => Some(covered(part, *estimate, allowed)),
            Outcome::Denied(..) | Outcome::Store { .. } => by_store_verdicts.next().cloned(),
        })
        .collect();
    Decision::new(allowed, verdicts, by_store.at(), by_store.source())
}

/// A part that a lease covers: its tokens are put back if the check is denied.
fn covered(part: &Part, estimate: Estimate, allowed: bool) -> Verdict {
    let estimate = match part.limit.rate() {
        Some(rate) if !allowed => estimate.with(rate, part.cost.tokens()),
        _ => estimate,
    };
    verdict(part, estimate, Retry::Now)
}

fn verdict(part: &Part, estimate: Estimate, retry: Retry) -> Verdict {
    Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted: retry == Retry::Now,
        remaining: estimate.remaining,
        reset_in: Some(estimate.reset_in),
        retry,
    }
}
