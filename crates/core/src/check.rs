//! One question to a store: costs in buckets, answered all or nothing.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    bucket::Bucket,
    bucket_id::{BucketId, Tag},
    cost::Cost,
    decision::{Decision, Retry, Source, Verdict},
    limit::Limit,
    time::Timestamp,
};

/// What a check does to its buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Action {
    /// Takes every cost if every limit that denies has the tokens, else none.
    #[default]
    Take,
    /// Answers as [`Action::Take`] would, and changes nothing.
    Peek,
    /// Takes every cost, below zero if need be: for a cost known only afterwards.
    Charge,
    /// Puts every cost back, up to the burst.
    GiveBack,
    /// Fills every bucket.
    Reset,
}

/// A cost in one bucket.
#[derive(Clone, Debug)]
pub struct Part {
    /// The limit asked.
    pub limit: Arc<Limit>,
    /// Whose bucket of that limit.
    pub tag: Tag,
    /// The tokens asked for.
    pub cost: Cost,
}

impl Part {
    /// The bucket asked.
    #[must_use]
    pub fn bucket(&self) -> BucketId {
        BucketId { tag: self.tag, limit: self.limit.key() }
    }
}

/// A set of costs in buckets, answered all or nothing. No bucket appears twice.
#[derive(Clone, Debug, Default)]
pub struct Check {
    action: Action,
    parts: SmallVec<[Part; 2]>,
}

impl Check {
    /// A check of nothing yet, which does `action`.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self { action, parts: SmallVec::new() }
    }

    /// Adds a cost; costs in one bucket add up.
    pub fn push(&mut self, part: Part) {
        match self.parts.iter_mut().find(|known| known.tag == part.tag && known.limit.key() == part.limit.key()) {
            Some(known) => known.cost = known.cost.plus(part.cost),
            None => self.parts.push(part),
        }
    }

    /// This check with a further cost.
    #[must_use]
    pub fn with(mut self, limit: &Arc<Limit>, tag: Tag, cost: Cost) -> Self {
        self.push(Part { limit: Arc::clone(limit), tag, cost });
        self
    }

    /// What the check does.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
    }

    /// The costs asked for, one a bucket.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Decides on `buckets`, one for each part in the same order, as they stood at `now`; the decision's effect is left in them. A denied
    /// check leaves them as they were.
    ///
    /// # Panics
    /// When there are fewer buckets than parts.
    #[must_use]
    pub fn decide(&self, buckets: &mut [Bucket], now: Timestamp, source: Source) -> Decision {
        assert!(buckets.len() >= self.parts.len(), "a check is decided on one bucket for each of its parts");
        let mut allowed = true;
        let mut verdicts: SmallVec<[Verdict; 2]> = SmallVec::with_capacity(self.parts.len());
        let mut settled: SmallVec<[Bucket; 2]> = SmallVec::with_capacity(self.parts.len());
        for (part, bucket) in self.parts.iter().zip(&*buckets) {
            let bucket = bucket.settled(part.limit.numbers(), now);
            let admitted = match self.action {
                Action::Take | Action::Peek => bucket.covers(part.limit.numbers(), part.cost.tokens(), now),
                Action::Charge | Action::GiveBack | Action::Reset => true,
            };
            allowed &= admitted || !part.limit.denies();
            settled.push(bucket);
            verdicts.push(Verdict {
                limit: Arc::clone(&part.limit),
                cost: part.cost,
                admitted,
                remaining: 0,
                reset_in: std::time::Duration::ZERO,
                retry: Retry::Now,
            });
        }
        for ((part, verdict), (bucket, stored)) in self.parts.iter().zip(&mut verdicts).zip(settled.iter_mut().zip(buckets.iter_mut())) {
            let (numbers, cost) = (part.limit.numbers(), part.cost.tokens());
            let changed = self.apply(bucket, part, verdict.admitted && allowed, now);
            if changed {
                *stored = *bucket;
            }
            verdict.remaining = bucket.remaining(now);
            verdict.reset_in = bucket.full_in(numbers, now);
            if !verdict.admitted {
                verdict.retry = bucket.covers_at(numbers, cost).map_or(Retry::Never, |at| Retry::After(at.since(now)));
            }
        }
        Decision::new(allowed, verdicts, now, source)
    }

    fn apply(&self, bucket: &mut Bucket, part: &Part, admitted: bool, now: Timestamp) -> bool {
        let (numbers, cost) = (part.limit.numbers(), part.cost.tokens());
        match self.action {
            Action::Peek => return false,
            Action::Take if !admitted || cost == 0 => return false,
            Action::Take | Action::Charge => bucket.take(numbers, cost, now),
            Action::GiveBack => bucket.give_back(numbers, cost, now),
            Action::Reset => *bucket = Bucket::full(numbers, now),
        }
        true
    }
}
