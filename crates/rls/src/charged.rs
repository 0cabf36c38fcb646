//! What came of charging usage.

use std::time::Duration;

use sluice_core::{Decision, Retry, Verdict};
use sluice_telemetry::{BoundDecisions, SourceLabel};
use smallvec::SmallVec;

use crate::plan::Counted;

/// The decision about usage that was charged. A part that lacked tokens is not admitted, although
/// it was charged past zero.
#[derive(Debug)]
pub(crate) struct Charged(Decision);

impl Charged {
    /// Reads `charged`, the store's decision about a check that always admits.
    pub(crate) fn of(charged: &Decision) -> Self {
        let verdicts: SmallVec<[Verdict; 2]> = charged
            .verdicts()
            .iter()
            .map(|verdict| match retry_if_overdrawn(verdict) {
                Some(retry) => Verdict { admitted: false, retry, ..verdict.clone() },
                None => verdict.clone(),
            })
            .collect();
        let denied = verdicts.iter().any(|verdict| !verdict.admitted && verdict.limit.denies());
        Self(Decision::new(!denied, verdicts, charged.at(), charged.source()))
    }

    /// Returns whether a limit denies.
    pub(crate) const fn is_denied(&self) -> bool {
        self.0.is_denied()
    }

    pub(crate) fn verdicts(&self) -> &[Verdict] {
        self.0.verdicts()
    }

    /// Returns the decision about this usage and what was `taken` in the same call.
    pub(crate) fn joined_with(&self, taken: &Decision) -> Decision {
        if taken.verdicts().is_empty() {
            return self.0.clone();
        }
        let verdicts = taken.verdicts().iter().chain(self.0.verdicts()).cloned();
        let allowed = taken.is_allowed() && self.0.is_allowed();
        Decision::new(allowed, verdicts, taken.at(), taken.source())
    }

    /// Counts the decision of each limit. The store counts only what takes tokens all or nothing.
    pub(crate) fn count(&self, charge: &Counted<'_>) {
        let source = match self.0.source() {
            sluice_core::Source::Store => SourceLabel::Store,
            sluice_core::Source::Lease => SourceLabel::Lease,
            sluice_core::Source::Cache => SourceLabel::Cache,
            sluice_core::Source::Local => SourceLabel::Local,
        };
        for (verdict, counter) in self.0.verdicts().iter().zip(&charge.counters) {
            let counter: &BoundDecisions = counter;
            match (verdict.admitted, verdict.limit.denies()) {
                (true, _) => counter.allowed(source),
                (false, true) => counter.denied(source),
                (false, false) => counter.shadow_denied(source),
            }
        }
    }
}

/// Returns when the same cost would be admitted, if the charge left the bucket in debt.
fn retry_if_overdrawn(verdict: &Verdict) -> Option<Retry> {
    let (rate, reset_in) = (verdict.limit.rate()?, verdict.reset_in?);
    // An empty bucket is full after this time, rounded up as `reset_in` is; one in debt, later.
    let fill = rate.fill();
    let rounded_up = fill.micros + i64::from(fill.fraction > 0);
    if reset_in <= micros(rounded_up) {
        return None;
    }
    let cost = verdict.cost.tokens();
    let Some(beyond) = rate.burst().checked_sub(cost) else { return Some(Retry::Never) };
    Some(Retry::After(reset_in.saturating_sub(micros(rate.span_of(beyond).micros))))
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(micros.unsigned_abs())
}
