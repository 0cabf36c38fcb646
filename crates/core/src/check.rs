//! A check: the costs that one request takes from its buckets, decided all or nothing.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    bucket::{Bucket, Settled},
    bucket_id::{BucketId, Tag},
    cost::Cost,
    decision::{Decision, Retry, Source, Verdict},
    leases::Term,
    limit::Limit,
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
    /// Puts every cost back, up to the burst.
    GiveBack,
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
    Settle {
        /// The term in which the lease was granted.
        term: Term,
        /// The tokens that were lent.
        lent: u32,
    },
}

/// One cost in one bucket: a part of a [`Check`].
#[derive(Clone, Debug)]
pub struct Part {
    /// The limit that the bucket belongs to.
    pub limit: Arc<Limit>,
    /// Whose bucket of that limit it is.
    pub tag: Tag,
    /// The tokens to take.
    pub cost: Cost,
    /// The limit's index in the policy's list, where a policy made the part.
    policy_index: u32,
    /// Whether the rule of the limit sets the cost, whatever the request costs.
    has_fixed_cost: bool,
}

impl Part {
    /// Creates a part that asks the bucket of `limit` and `tag` for `cost`.
    #[must_use]
    pub const fn new(limit: Arc<Limit>, tag: Tag, cost: Cost) -> Self {
        Self { limit, tag, cost, policy_index: 0, has_fixed_cost: false }
    }

    /// Notes the limit's index in [`Policy::limits`](crate::Policy::limits).
    pub(crate) const fn at_policy_index(mut self, index: u32) -> Self {
        self.policy_index = index;
        self
    }

    /// Notes that the rule of the limit sets the cost.
    pub(crate) const fn with_fixed_cost(mut self) -> Self {
        self.has_fixed_cost = true;
        self
    }

    pub(crate) const fn policy_index(&self) -> usize {
        self.policy_index as usize
    }

    /// Returns which bucket the part takes from.
    #[must_use]
    pub fn bucket(&self) -> BucketId {
        BucketId { tag: self.tag, limit: self.limit.key() }
    }
}

/// A set of costs in buckets, which is decided all or nothing. No bucket appears twice.
#[derive(Clone, Debug, Default)]
pub struct Check {
    action: Action,
    parts: SmallVec<[Part; 2]>,
}

impl Check {
    /// Creates a check without parts, which does `action`.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self { action, parts: SmallVec::new() }
    }

    /// Adds a part. The costs of parts with the same bucket are added up.
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
    /// is left out: it counts requests, whatever they cost.
    #[must_use]
    pub fn adjustment(&self, action: Action, cost: Cost) -> Self {
        let parts = self.parts.iter().filter(|part| !part.has_fixed_cost);
        Self { action, parts: parts.map(|part| Part { cost, ..part.clone() }).collect() }
    }

    /// Returns what the check does.
    #[must_use]
    pub const fn action(&self) -> Action {
        self.action
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
    /// # Panics
    /// When there are fewer buckets than parts.
    #[must_use]
    pub fn decide(&self, buckets: &mut [Bucket], now: Timestamp, source: Source) -> Decision {
        assert!(
            buckets.len() >= self.parts.len(),
            "a check needs one bucket for each of its parts"
        );
        match (self.action, &*self.parts, &mut *buckets) {
            (Action::Lend { .. } | Action::Settle { .. }, ..) => {
                return self.decide_leases(buckets, now, source);
            }
            (_, [part], [stored, ..]) => {
                let (decision, after) = self.decide_part(part, *stored, now, source);
                *stored = after.unwrap_or(*stored);
                return decision;
            }
            _ => {}
        }
        let settled: SmallVec<[(Settled<'_>, bool); 4]> = self
            .parts
            .iter()
            .zip(&*buckets)
            .map(|(part, stored)| {
                let bucket = stored.settled(part.limit.rate(), now);
                (bucket, self.admits(part, &bucket))
            })
            .collect();
        let allowed = self
            .parts
            .iter()
            .zip(&settled)
            .all(|(part, (_, admitted))| *admitted || !part.limit.denies());
        let parts = self.parts.iter().zip(buckets).zip(settled);
        let verdicts = parts.map(|((part, stored), (mut bucket, admitted))| {
            let changed = self.apply(part, &mut bucket, admitted && allowed);
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
        if matches!(self.action, Action::Lend { .. } | Action::Settle { .. }) {
            let mut after = stored;
            let decision = self.decide_leases(std::slice::from_mut(&mut after), now, source);
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
        let mut bucket = stored.settled(part.limit.rate(), now);
        let admitted = self.admits(part, &bucket);
        let changed = self.apply(part, &mut bucket, admitted) || bucket.is_repaired();
        let allowed = admitted || !part.limit.denies();
        let decision =
            Decision::of_one(allowed, verdict(part, &bucket, admitted, now), now, source);
        (decision, changed.then(|| bucket.bucket()))
    }

    /// Lends from the bucket, or ends a lease of each bucket. Allowed if all of them did.
    fn decide_leases(&self, buckets: &mut [Bucket], now: Timestamp, source: Source) -> Decision {
        let verdicts: SmallVec<[Verdict; 1]> = self
            .parts
            .iter()
            .zip(buckets)
            .map(|(part, stored)| {
                let mut bucket = stored.settled(part.limit.rate(), now);
                let cost = part.cost.tokens();
                let (admitted, moved) = match self.action {
                    Action::Lend { least } if self.parts.len() == 1 => {
                        let lent = bucket.lend(cost, least.into());
                        (lent > 0, lent)
                    }
                    Action::Settle { term, lent } => (bucket.settle(term, lent.into(), cost), cost),
                    _ => (false, 0),
                };
                if admitted || bucket.is_repaired() {
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
    fn admits(&self, part: &Part, bucket: &Settled<'_>) -> bool {
        match self.action {
            Action::Take | Action::Peek => bucket.covers(part.cost.tokens()),
            Action::Charge | Action::GiveBack | Action::Reset => true,
            Action::Lend { .. } | Action::Settle { .. } => false,
        }
    }

    /// Does the action to the bucket, and returns whether it changed anything.
    #[inline]
    fn apply(&self, part: &Part, bucket: &mut Settled<'_>, admitted: bool) -> bool {
        let cost = part.cost.tokens();
        match self.action {
            Action::Peek | Action::Lend { .. } | Action::Settle { .. } => return false,
            Action::Take if !admitted || cost == 0 => return false,
            Action::Take | Action::Charge => bucket.take(cost),
            Action::GiveBack => bucket.give_back(cost),
            Action::Reset => bucket.fill(),
        }
        true
    }
}

/// Returns the verdict of a limit whose bucket is as the decision left it.
#[inline]
fn verdict(part: &Part, bucket: &Settled<'_>, admitted: bool, now: Timestamp) -> Verdict {
    let retry = if admitted {
        Retry::Now
    } else {
        bucket.covers_at(part.cost.tokens()).map_or(Retry::Never, |at| Retry::After(at.since(now)))
    };
    Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted,
        remaining: bucket.remaining(),
        reset_in: bucket.full_in(),
        retry,
    }
}
