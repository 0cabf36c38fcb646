//! One decision made of several.

use sluice_core::{Check, Decision, Guarded, Source, Timestamp, Verdict};
use smallvec::SmallVec;

use super::group::{Group, doing_as};
use crate::StoreError;

/// Decides together, in the process, the groups of a check that failed; the error is the first one.
pub(super) type Instead<'a> =
    &'a (dyn Fn(&Check, StoreError) -> Result<Decision, StoreError> + Send + Sync);

/// Collects the decisions on the groups of a check.
///
/// The whole was decided locally if any group was: what it says of the remaining tokens is then
/// not what the fleet has. It was decided at the latest instant of all, so that no bucket seems to
/// be full earlier than it is. A hold ends with the first of its records.
#[derive(Debug)]
pub(super) struct Combined {
    verdicts: SmallVec<[Option<Verdict>; 4]>,
    allowed: bool,
    at: Timestamp,
    source: Source,
    guarded: Option<Guarded>,
    hold_ends_at: Option<Timestamp>,
}

/// Groups that failed, to be decided together.
#[derive(Debug, Default)]
pub(super) struct Aside {
    check: Check,
    parts: SmallVec<[usize; 4]>,
    /// The first error; `None` once the groups are decided.
    cause: Option<StoreError>,
}

impl Combined {
    pub(super) fn new(check: &Check) -> Self {
        Self {
            verdicts: check.parts().iter().map(|_| None).collect(),
            allowed: true,
            at: Timestamp::from_unix_micros(0),
            source: Source::Store,
            guarded: None,
            hold_ends_at: None,
        }
    }

    /// Adds the decision on the parts at these indices.
    pub(super) fn add(&mut self, parts: &[usize], decision: &Decision) {
        for (&index, verdict) in parts.iter().zip(decision.verdicts()) {
            self.verdicts[index] = Some(verdict.clone());
        }
        self.allowed &= decision.is_allowed();
        self.at = self.at.max(decision.at());
        if decision.source() == Source::Local {
            self.source = Source::Local;
        }
        self.guarded = self.guarded.into_iter().chain(decision.guarded()).max_by_key(weight);
        self.hold_ends_at = self.hold_ends_at.into_iter().chain(decision.hold_ends_at()).min();
    }

    /// Shows the parts at these indices as they are after their tokens were given back.
    pub(super) fn gave_back(&mut self, parts: &[usize], decision: &Decision) {
        for (&index, after) in parts.iter().zip(decision.verdicts()) {
            if let Some(verdict) = &mut self.verdicts[index] {
                verdict.remaining = after.remaining;
                verdict.reset_in = after.reset_in;
            }
        }
        self.at = self.at.max(decision.at());
    }

    /// Returns whether all decisions so far allow the check.
    pub(super) const fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Returns the decision on the whole check, once every part has a verdict.
    pub(super) fn into_decision(self) -> Decision {
        debug_assert!(self.verdicts.iter().all(Option::is_some), "a part has no verdict: {self:?}");
        Decision::new(self.allowed, self.verdicts.into_iter().flatten(), self.at, self.source)
            .with_guarded(self.guarded.zip(self.hold_ends_at))
    }
}

/// Returns how much what a group knew of a hold says about the whole: a step is a repeated one only
/// if it is one for all groups.
const fn weight(guarded: &Guarded) -> u8 {
    match guarded {
        Guarded::Repeated => 0,
        Guarded::First => 1,
        Guarded::Late => 2,
        Guarded::Conflict => 3,
    }
}

impl Aside {
    /// Adds a group that failed.
    pub(super) fn add<K>(&mut self, group: &Group<K>, error: StoreError) {
        group.check.parts().iter().cloned().for_each(|part| self.check.push(part));
        self.parts.extend_from_slice(&group.parts);
        self.cause.get_or_insert(error);
    }

    /// Returns whether a group failed that is not decided yet.
    pub(super) const fn has_any(&self) -> bool {
        self.cause.is_some()
    }

    /// Does with all groups what `other` does, by `instead`, if there are any, and adds the
    /// decision to `combined`.
    ///
    /// # Errors
    /// That of `instead`; without it the first error of the groups.
    pub(super) fn decide(
        &mut self,
        other: &Check,
        instead: Option<Instead<'_>>,
        combined: &mut Combined,
    ) -> Result<(), StoreError> {
        let Some(cause) = self.cause.take() else { return Ok(()) };
        let Some(instead) = instead else { return Err(cause) };
        let decision = instead(&doing_as(other, &self.check), cause)?;
        combined.add(&self.parts, &decision);
        Ok(())
    }
}
