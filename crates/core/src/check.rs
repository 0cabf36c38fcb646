//! A check: the costs that one request takes from its buckets, decided all or nothing.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    algorithm::Algorithm,
    bucket::{Bucket, Settled},
    bucket_id::Tag,
    cost::Cost,
    decision::{Decision, Retry, Source, Verdict},
    hold::{Guarded, Hold, HoldStep, RecordKey},
    leases::Term,
    limit::Limit,
    part::Part,
    time::Timestamp,
};

/// What a check does to its buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// Takes every cost if every enforced limit has the tokens, and nothing otherwise.
    #[default]
    Take,
    /// Decides as [`Action::Take`] would, and changes nothing.
    Peek,
    /// Takes every cost, below zero if necessary: for a cost that is known only afterwards.
    Charge,
    /// Puts every cost back, up to the burst. What was taken before the current window began, or
    /// is out of the period for other reasons, is not put back ([`Part::taken_at`]).
    GiveBack,
    /// Lets slots that were acquired, or renewed, some time before ([`Part::taken_at`]) count from
    /// now on. Each part for itself: not admitted where they do not count any more. Does nothing
    /// to buckets that are no slots.
    Renew,
    /// Fills every bucket, up to the burst minus what is leased.
    Reset,
    /// Lends up to the cost from the only bucket, for the term in which the check is decided. The
    /// verdict's cost is the number of tokens that were lent; if there are none, it is not
    /// admitted. A check of several buckets lends none.
    ///
    Lend {
        /// The fewest tokens that are worth a lease.
        least: u32,
    },
    /// Ends a lease, and puts the cost back: what was not spent. Not admitted, and without effect,
    /// if the lease is not out any more.
    EndLease {
        /// The term in which the lease was granted.
        term: Term,
        /// The tokens that were lent.
        lent: u32,
    },
    /// Takes every cost for a hold, as [`Action::Take`] does ([`HoldStep::Reserve`]).
    Reserve,
    /// Takes more for a hold ([`HoldStep::Extend`]).
    Extend,
    /// Corrects a hold: charges each cost, or gives it back ([`HoldStep::Settle`]).
    Settle,
    /// Takes a step of a hold back ([`HoldStep::Undo`]).
    Undo,
}

/// A set of costs in buckets, which is decided all or nothing. No bucket appears twice.
#[derive(Clone, Debug, Default)]
pub struct Check {
    action: Action,
    parts: SmallVec<[Part; 2]>,
    /// Boxed, since few checks have one and all are moved.
    hold: Option<Box<Hold>>,
}

impl Check {
    /// Creates a check without parts, which does `action`; a peek if that needs a
    /// [hold](Self::of_hold).
    #[must_use]
    pub fn new(action: Action) -> Self {
        let action = match action {
            Action::Reserve | Action::Extend | Action::Settle | Action::Undo => Action::Peek,
            action => action,
        };
        Self { action, parts: SmallVec::new(), hold: None }
    }

    /// Creates a check without parts, which makes a step of a hold.
    ///
    /// All steps of a hold need the same parts in the same order, those with a cost of 0 too.
    #[must_use]
    pub fn of_hold(hold: Hold) -> Self {
        let action = match hold.step() {
            HoldStep::Reserve { .. } => Action::Reserve,
            HoldStep::Extend { .. } => Action::Extend,
            HoldStep::Settle { .. } => Action::Settle,
            HoldStep::Undo { .. } => Action::Undo,
        };
        Self { action, parts: SmallVec::new(), hold: Some(Box::new(hold)) }
    }

    /// Returns a check that does the same, with no parts yet.
    #[must_use]
    pub fn without_parts(&self) -> Self {
        Self { action: self.action, parts: SmallVec::new(), hold: self.hold.clone() }
    }

    /// Returns a check that takes this step of a hold back, as it was decided in `decision`.
    /// `None` if it is none that can be taken back, or took nothing.
    #[must_use]
    pub fn undone(&self, decision: &Decision) -> Option<Self> {
        let took = decision.is_allowed() && decision.guarded() != Some(Guarded::Repeated);
        let hold = self.hold.as_ref().filter(|_| took)?.undone(decision.at())?;
        let mut undo = Self::of_hold(hold);
        let parts = self.parts.iter().zip(decision.verdicts());
        undo.parts.extend(parts.map(|(part, verdict)| {
            let taken = if verdict.admitted { part.cost } else { Cost::NONE };
            if part.counts_apart() {
                part.clone().giving_back(Cost::NONE).holding(taken)
            } else {
                part.clone().giving_back(taken).taken_at(decision.at())
            }
        }));
        Some(undo)
    }

    /// Adds a part. The costs of parts with the same bucket are added up.
    pub fn push(&mut self, part: Part) {
        match self
            .parts
            .iter_mut()
            .find(|known| known.tag == part.tag && known.limit.key() == part.limit.key())
        {
            Some(known) if known.gives_back() == part.gives_back() => {
                known.cost = known.cost.plus(part.cost);
            }
            Some(known) if known.cost < part.cost => {
                let rest = part.cost.minus(known.cost);
                *known = part;
                known.cost = rest;
            }
            Some(known) => known.cost = known.cost.minus(part.cost),
            None => self.parts.push(part),
        }
    }

    /// Adds a part, as [`Check::push`] does, and returns the check.
    #[must_use]
    pub fn with(mut self, limit: &Arc<Limit>, tag: Tag, cost: Cost) -> Self {
        self.push(Part::new(Arc::clone(limit), tag, cost));
        self
    }

    /// Returns a check that does `action` with `cost` in the same buckets, for a request whose cost
    /// turned out differently.
    ///
    /// A limit whose rule fixes what a request costs ([`RuleCost::Fixed`](crate::RuleCost::Fixed))
    /// is left out: it counts requests, whatever they cost. So is one of requests in flight.
    #[must_use]
    pub fn adjustment(&self, action: Action, cost: Cost) -> Self {
        let parts = self.parts.iter().filter(|part| !part.has_fixed_cost() && !part.has_slots());
        let parts = parts.map(|part| part.clone().taking(cost)).collect();
        Self { parts, ..Self::new(action) }
    }

    /// Returns what the check does.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// Returns the step of a hold that the check makes, if it makes one.
    #[must_use]
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_deref()
    }

    /// Returns which record a store has of the check's hold, if it is about one.
    #[must_use]
    pub fn record_key(&self) -> Option<RecordKey> {
        let tag = self.parts.first().map_or(Tag::of_head(0, 0), |part| part.tag);
        self.hold.as_ref().map(|hold| RecordKey { tag, id: hold.id() })
    }

    /// Returns the parts, one for each bucket.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Decides the check on `buckets`, one for each part in the same order, and writes the
    /// decision's effect into them.
    ///
    /// A denied check takes nothing, but it writes the states that had to be repaired
    /// ([`Settled::is_repaired`]), as a peek does. A bucket that is equal afterwards need not be
    /// written by the store.
    ///
    /// A step of a hold is decided as by a store that keeps no records: nothing prevents that it is
    /// made twice, so a settlement gives nothing back. [`decide_hold`](Self::decide_hold) is for
    /// stores that do.
    ///
    /// # Panics
    /// When there are fewer buckets than parts.
    #[must_use]
    pub fn decide(&self, buckets: &mut [Bucket], now: Timestamp, source: Source) -> Decision {
        assert!(
            buckets.len() >= self.parts.len(),
            "a check needs one bucket for each of its parts"
        );
        match (self.action, &*self.parts, &mut *buckets) {
            (Action::Lend { .. } | Action::EndLease { .. } | Action::Renew, ..) => {
                return self.decide_each(buckets, now, source);
            }
            (Action::Reserve | Action::Extend | Action::Settle | Action::Undo, ..) => {
                return self.decide_unguarded(buckets, now, source);
            }
            (_, [part], [stored, ..]) => {
                let (decision, after) = self.decide_part(part, *stored, now, source);
                *stored = after.unwrap_or(*stored);
                return decision;
            }
            _ => {}
        }
        self.decide_together(buckets, None, now, source)
    }

    /// Decides on all parts, all or nothing. What an extension finds held is held `since` then.
    pub(crate) fn decide_together(
        &self,
        buckets: &mut [Bucket],
        since: Option<Timestamp>,
        now: Timestamp,
        source: Source,
    ) -> Decision {
        let settled: SmallVec<[(Settled<'_>, bool); 4]> = self
            .parts
            .iter()
            .zip(&*buckets)
            .map(|(part, stored)| {
                let bucket = stored.settled(part.limit.algorithm(), now);
                let admitted = self.admits(part, &bucket, since);
                (bucket, admitted)
            })
            .collect();
        let allowed = self
            .parts
            .iter()
            .zip(&settled)
            .all(|(part, (_, admitted))| *admitted || !part.limit.denies());
        let parts = self.parts.iter().zip(buckets).zip(settled);
        let verdicts = parts.map(|((part, stored), (mut bucket, admitted))| {
            let changed = self.apply(part, &mut bucket, admitted && allowed, since)
                || (!allowed && self.counts_denied(part, &mut bucket));
            if changed || bucket.is_repaired() {
                *stored = bucket.bucket();
            }
            verdict(part, &bucket, admitted, now)
        });
        Decision::new(allowed, verdicts, now, source)
    }

    /// Decides a check of one part, as nearly all checks are. Returns also what to write in the
    /// place of `stored`; `None` if nothing has to be written.
    ///
    /// # Panics
    /// When the check has not exactly one part.
    #[inline]
    #[must_use]
    pub fn decide_one(
        &self,
        stored: Bucket,
        now: Timestamp,
        source: Source,
    ) -> (Decision, Option<Bucket>) {
        assert!(self.parts.len() == 1, "the check has not exactly one part");
        if matches!(self.action, Action::Lend { .. } | Action::EndLease { .. } | Action::Renew)
            || self.hold.is_some()
        {
            let mut after = stored;
            let decision = self.decide(std::slice::from_mut(&mut after), now, source);
            return (decision, (after != stored).then_some(after));
        }
        self.decide_part(&self.parts[0], stored, now, source)
    }

    /// Decides about the only part, without collecting anything.
    #[inline]
    fn decide_part(
        &self,
        part: &Part,
        stored: Bucket,
        now: Timestamp,
        source: Source,
    ) -> (Decision, Option<Bucket>) {
        let mut bucket = stored.settled(part.limit.algorithm(), now);
        let admitted = self.admits(part, &bucket, None);
        let allowed = admitted || !part.limit.denies();
        let changed = self.apply(part, &mut bucket, admitted, None)
            || (!allowed && self.counts_denied(part, &mut bucket))
            || bucket.is_repaired();
        let decision =
            Decision::of_one(allowed, verdict(part, &bucket, admitted, now), now, source);
        (decision, changed.then(|| bucket.bucket()))
    }

    /// Lends from the bucket, ends a lease of each bucket, or renews slots in each. Allowed if all
    /// of them did.
    fn decide_each(&self, buckets: &mut [Bucket], now: Timestamp, source: Source) -> Decision {
        let verdicts: SmallVec<[Verdict; 1]> = self
            .parts
            .iter()
            .zip(buckets)
            .map(|(part, stored)| {
                let before = stored.settled(part.limit.algorithm(), now);
                let mut bucket = before.clone();
                let cost = part.cost.tokens();
                let (admitted, moved) = match self.action {
                    Action::Lend { least } if self.parts.len() == 1 => {
                        let lent = bucket.lend(cost, least.into());
                        (lent > 0, lent)
                    }
                    Action::EndLease { term, lent } => {
                        (bucket.end_lease(term, lent.into(), cost), cost)
                    }
                    Action::Renew => (bucket.renew(cost, part.when_taken().unwrap_or(now)), cost),
                    _ => (false, 0),
                };
                // Slots that were taken in this term need no renewal, and what is not taken for a
                // term never does. A full bucket that is written would be forgotten.
                let changes = admitted && (self.action != Action::Renew || bucket != before);
                if changes || bucket.is_repaired() {
                    *stored = bucket.bucket();
                }
                let cost = Cost::new(moved).unwrap_or(Cost::MAX);
                // Nobody can say when there will be something to lend.
                let retry = if admitted { Retry::Now } else { Retry::Never };
                Verdict { cost, retry, ..verdict(part, &bucket, admitted, now) }
            })
            .collect();
        let allowed = verdicts.iter().all(|verdict| verdict.admitted);
        Decision::new(allowed, verdicts, now, source)
    }

    /// Returns whether the bucket has the tokens that the action needs.
    fn admits(&self, part: &Part, bucket: &Settled<'_>, since: Option<Timestamp>) -> bool {
        match self.action {
            Action::Take | Action::Peek | Action::Reserve => bucket.covers(part.cost.tokens()),
            Action::Extend => {
                let mut renewed = bucket.clone();
                holds_on(part, &mut renewed, since) && renewed.covers(part.cost.tokens())
            }
            Action::Charge | Action::GiveBack | Action::Reset | Action::Settle | Action::Undo => {
                true
            }
            Action::Lend { .. } | Action::EndLease { .. } | Action::Renew => false,
        }
    }

    /// Takes the cost of a part although the check is denied, and returns `true`, where the limit
    /// counts what it denies.
    fn counts_denied(&self, part: &Part, bucket: &mut Settled<'_>) -> bool {
        let takes = matches!(self.action, Action::Take | Action::Reserve) && part.cost > Cost::NONE;
        let counts = takes
            && matches!(part.limit.algorithm(), Algorithm::Quota(quota) if quota.counts_denied());
        if counts {
            bucket.take(part.cost.tokens());
        }
        counts
    }

    /// Does the action to the bucket, and returns whether it changed anything.
    #[inline]
    pub(crate) fn apply(
        &self,
        part: &Part,
        bucket: &mut Settled<'_>,
        admitted: bool,
        since: Option<Timestamp>,
    ) -> bool {
        let cost = part.cost.tokens();
        match self.action {
            Action::Peek | Action::Lend { .. } | Action::EndLease { .. } | Action::Renew => {
                return false;
            }
            Action::Take | Action::Reserve | Action::Extend if !admitted => return false,
            Action::Extend => {
                let counts_for_a_time = matches!(bucket, Settled::Slots(_)) || part.counts_apart();
                let renews = counts_for_a_time && part.held() > Cost::NONE;
                holds_on(part, bucket, since);
                if cost > 0 {
                    bucket.hold(cost);
                }
                return renews || cost > 0;
            }
            Action::Take | Action::Reserve | Action::Settle | Action::Undo if cost == 0 => {
                return false;
            }
            Action::Settle | Action::Undo if part.gives_back() => {
                let apart = self.hold().filter(|_| part.counts_apart());
                return bucket.give_back(cost, apart.map_or(part.when_taken(), Hold::reserved_at));
            }
            Action::GiveBack => return bucket.give_back(cost, part.when_taken()),
            Action::Reserve => bucket.hold(cost),
            Action::Take | Action::Charge | Action::Settle | Action::Undo => bucket.take(cost),
            Action::Reset => bucket.fill(),
        }
        true
    }
}

/// Lets what an extension finds held `since` then count from now on. Returns whether it may go on.
fn holds_on(part: &Part, bucket: &mut Settled<'_>, since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| bucket.hold_on(part.held().tokens(), since))
}

/// Returns the verdict of a limit whose bucket is as the decision left it.
#[inline]
pub(crate) fn verdict(
    part: &Part,
    bucket: &Settled<'_>,
    admitted: bool,
    now: Timestamp,
) -> Verdict {
    let retry = if admitted {
        Retry::Now
    } else {
        // What was denied although the bucket covers it had lost what it was to go on with.
        let at = bucket.covers_at(part.cost.tokens()).filter(|at| *at > now);
        at.map_or(Retry::Never, |at| Retry::After(at.since(now)))
    };
    Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted,
        remaining: bucket.remaining(),
        reset_in: bucket.reset_in(),
        retry,
    }
}
