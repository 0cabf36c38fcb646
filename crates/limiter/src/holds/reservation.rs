//! What is known of a hold outside of the store: enough to settle it anywhere.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Algorithm, BucketId, Check, Cost, CostsDigest, Decision, Hold as HoldOf, HoldId, HoldStep,
    Limit, Part, Source, Tag, Timestamp, Usage,
};

/// What is held for one request: which tokens of which buckets. It names no client.
///
/// Any process of the fleet can settle it, also after the limits have changed: it has the numbers
/// that the tokens were taken by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reservation {
    /// Which hold it is.
    pub id: HoldId,
    /// How long the tokens are held. What is not settled within twice that time stays charged.
    pub hold_for: Duration,
    /// When the tokens were taken, by the store's clock.
    pub reserved_at: Timestamp,
    /// What is held, limit by limit, in the order of the check. A limit that counts requests has
    /// the cost of the request, which is final.
    pub parts: Vec<ReservedPart>,
    /// The limiter that has decided it alone, since the store was away: see [`Self::of_limiter`].
    pub limiter: Option<u64>,
}

/// What is held of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedPart {
    /// The limit, with the numbers that the tokens were taken by.
    pub limit: Arc<Limit>,
    /// Whose bucket of the limit it is.
    pub tag: Tag,
    /// The tokens that are held.
    pub held: Cost,
    /// When they were taken, by the store's clock; when they were renewed last, of slots. What an
    /// extension took later counts as taken then too.
    pub taken_at: Timestamp,
    /// How much of it the store counts apart from what is used, since the limit is a quota that
    /// [releases](sluice_core::Quota::releasing) what is not settled. Nothing that was decided
    /// without the store.
    pub apart: Cost,
    /// Whether the estimate is above the limit's burst, or its quota. Then that is held instead:
    /// else no such request could ever pass.
    pub clamped: bool,
}

// === impl Reservation ===

impl Reservation {
    /// Makes a reservation of its parts, as they were written down.
    #[must_use]
    pub const fn new(
        id: HoldId,
        hold_for: Duration,
        reserved_at: Timestamp,
        parts: Vec<ReservedPart>,
    ) -> Self {
        Self { id, hold_for, reserved_at, parts, limiter: None }
    }

    /// Says that the limiter with this number has decided it alone, since the store was away.
    ///
    /// That limiter alone knows whether it was settled meanwhile, and what was charged. From any
    /// other one, nothing is given back to it.
    #[must_use]
    pub fn of_limiter(self, limiter: impl Into<Option<u64>>) -> Self {
        Self { limiter: limiter.into(), ..self }
    }

    /// Whether any limit holds tokens that a settlement may correct.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        self.parts.iter().any(|part| part.limit.metering().is_some())
    }

    /// Returns the check that takes what is held.
    pub(super) fn reserving(&self) -> Check {
        let step = HoldStep::Reserve { costs: self.digest() };
        self.check(step, |part| Part::new(Arc::clone(&part.limit), part.tag, part.held))
    }

    /// Returns the check that takes what `extended` holds in addition.
    pub(super) fn extending(&self, extended: &Self) -> Check {
        let (from, to) = (self.digest(), extended.digest());
        let step = HoldStep::Extend { from, to, reserved_at: self.reserved_at };
        let mut after = extended.parts.iter();
        self.check(step, |part| {
            let held = after.next().map_or(part.held, |after| after.held);
            let before = if part.counts_apart() { part.apart } else { part.held };
            Part::new(Arc::clone(&part.limit), part.tag, held.minus(part.held)).holding(before)
        })
    }

    /// Notes when what is held was taken, or taken in addition.
    pub(super) fn note_taken(&mut self, taken_at: Timestamp, is_extension: bool) {
        self.reserved_at = taken_at;
        for part in self.parts.iter_mut().filter(|part| !is_extension || part.has_slots()) {
            part.taken_at = taken_at;
        }
    }

    /// Notes what the store counts apart since `decision`, which has taken what is held beyond what
    /// was held `before`.
    pub(super) fn note_apart(&mut self, decision: &Decision, before: Option<&Self>) {
        if decision.source() == Source::Local {
            return;
        }
        for (index, verdict) in decision.verdicts().iter().enumerate() {
            let held = before.map_or(Cost::NONE, |before| before.parts[index].held);
            let part = &mut self.parts[index];
            if verdict.admitted && part.counts_apart() {
                part.apart = part.apart.plus(part.held.minus(held));
            }
        }
    }

    /// Notes when the slots were renewed last that this process has renewed.
    pub(super) fn note_renewed(&mut self, renewed: &[(BucketId, Timestamp)]) {
        for part in &mut self.parts {
            if let Some((_, taken_at)) = renewed.iter().find(|(id, _)| *id == part.bucket()) {
                part.taken_at = *taken_at;
            }
        }
    }

    /// Returns the check by which the limiter with this number corrects what is held to what
    /// `usage` comes to.
    pub(super) fn settling(&self, usage: &Usage, limiter: u64) -> Check {
        let costs = self.parts.iter().map(|part| (part.bucket(), part.actual(usage)));
        let step =
            HoldStep::Settle { actual: CostsDigest::of(costs), reserved_at: self.reserved_at };
        self.check(step, |part| {
            let charged = self.charged(part, usage, limiter);
            let used = part.held.minus(part.apart);
            let settling = Part::settling(Arc::clone(&part.limit), part.tag, used, charged);
            if part.counts_apart() {
                settling.holding(part.apart)
            } else {
                settling.taken_at(part.taken_at)
            }
        })
    }

    /// Returns what the limiter with this number charges of a limit in all.
    pub(super) fn charged(&self, part: &ReservedPart, usage: &Usage, limiter: u64) -> Cost {
        let actual = part.actual(usage);
        if self.limiter.is_none_or(|own| own == limiter) { actual } else { actual.max(part.held) }
    }

    fn check(&self, step: HoldStep, mut part: impl FnMut(&ReservedPart) -> Part) -> Check {
        let mut check = Check::of_hold(HoldOf::new(self.id, self.hold_for, step));
        for reserved in &self.parts {
            check.push(part(reserved));
        }
        check
    }

    fn digest(&self) -> CostsDigest {
        CostsDigest::of(self.parts.iter().map(|part| (part.bucket(), part.held)))
    }
}

// === impl ReservedPart ===

impl ReservedPart {
    /// Holds the cost of `part`, or the capacity of its limit if that is less: the burst, or the
    /// quota.
    pub(super) fn of(part: &Part) -> Self {
        let reserved = Self {
            limit: Arc::clone(&part.limit),
            tag: part.tag,
            held: part.cost,
            taken_at: Timestamp::default(),
            apart: Cost::NONE,
            clamped: false,
        };
        if part.limit.metering().is_some() { reserved.clamped_to_capacity() } else { reserved }
    }

    /// Holds what `usage` comes to in addition.
    pub(super) fn extended(&self, usage: &Usage) -> Self {
        let metering = self.limit.metering();
        let more = metering.and_then(|metering| metering.counts.of(usage)).unwrap_or(Cost::NONE);
        let extended = Self { held: self.held.plus(more), ..self.clone() };
        if more == Cost::NONE { extended } else { extended.clamped_to_capacity() }
    }

    fn clamped_to_capacity(self) -> Self {
        let burst = self.limit.algorithm().capacity();
        match Cost::new(burst) {
            Ok(most) if self.held > most => Self { held: most, clamped: true, ..self },
            _ => self,
        }
    }

    /// Returns what the limit takes of a request that used `usage`: what is held, if that does not
    /// say it. Slots are given back.
    pub(super) fn actual(&self, usage: &Usage) -> Cost {
        if self.has_slots() {
            return Cost::NONE;
        }
        let metering = self.limit.metering();
        metering.and_then(|metering| metering.counts.of(usage)).unwrap_or(self.held)
    }

    /// Returns whether the limit is one of requests in flight.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        matches!(self.limit.algorithm(), Algorithm::Concurrent(_))
    }

    /// Returns whether the limit is a quota that counts what is held apart.
    #[must_use]
    pub fn counts_apart(&self) -> bool {
        self.limit.algorithm().counts_apart()
    }

    fn bucket(&self) -> BucketId {
        BucketId { tag: self.tag, limit: self.limit.key() }
    }
}
