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
        match self
            .parts
            .iter_mut()
            .find(|known| known.tag == part.tag && known.limit.key() == part.limit.key())
        {
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

    /// Decides on `buckets`, one for each part in the same order, as they stood at `now`; the
    /// decision's effect is left in them. A denied check leaves them as they were.
    ///
    /// # Panics
    /// When there are fewer buckets than parts.
    #[must_use]
    pub fn decide(&self, buckets: &mut [Bucket], now: Timestamp, source: Source) -> Decision {
        assert!(
            buckets.len() >= self.parts.len(),
            "a check is decided on one bucket for each of its parts"
        );
        if let ([part], [bucket, ..]) = (&*self.parts, &mut *buckets) {
            return self.decide_one(part, bucket, now, source);
        }
        let settled = |(part, bucket): (&Part, &Bucket)| {
            let bucket = bucket.settled(part.limit.rate(), now);
            (bucket, self.admits(part, &bucket, now))
        };
        let settled: SmallVec<[(Bucket, bool); 4]> =
            self.parts.iter().zip(&*buckets).map(settled).collect();
        let allowed = self
            .parts
            .iter()
            .zip(&settled)
            .all(|(part, (_, admitted))| *admitted || !part.limit.denies());
        let apply =
            |((part, stored), (mut bucket, admitted)): ((&Part, &mut Bucket), (Bucket, bool))| {
                if self.apply(&mut bucket, part, admitted && allowed, now) {
                    *stored = bucket;
                }
                verdict(part, &bucket, admitted, now)
            };
        Decision::new(allowed, self.parts.iter().zip(buckets).zip(settled).map(apply), now, source)
    }

    /// As above, for the check of one part, which nearly all are.
    fn decide_one(
        &self,
        part: &Part,
        stored: &mut Bucket,
        now: Timestamp,
        source: Source,
    ) -> Decision {
        let mut bucket = stored.settled(part.limit.rate(), now);
        let admitted = self.admits(part, &bucket, now);
        if self.apply(&mut bucket, part, admitted, now) {
            *stored = bucket;
        }
        Decision::new(
            admitted || !part.limit.denies(),
            [verdict(part, &bucket, admitted, now)],
            now,
            source,
        )
    }

    /// Whether the bucket has the tokens that are asked for, if any are.
    fn admits(&self, part: &Part, bucket: &Bucket, now: Timestamp) -> bool {
        match self.action {
            Action::Take | Action::Peek => {
                bucket.covers(part.limit.rate(), part.cost.tokens(), now)
            }
            Action::Charge | Action::GiveBack | Action::Reset => true,
        }
    }

    fn apply(&self, bucket: &mut Bucket, part: &Part, admitted: bool, now: Timestamp) -> bool {
        let (numbers, cost) = (part.limit.rate(), part.cost.tokens());
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

/// What a limit says once its bucket is as the decision left it.
fn verdict(part: &Part, bucket: &Bucket, admitted: bool, now: Timestamp) -> Verdict {
    let numbers = part.limit.rate();
    let retry = if admitted {
        Retry::Now
    } else {
        bucket
            .covers_at(numbers, part.cost.tokens())
            .map_or(Retry::Never, |at| Retry::After(at.since(now)))
    };
    Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted,
        remaining: bucket.remaining(now),
        reset_in: bucket.full_in(numbers, now),
        retry,
    }
}
