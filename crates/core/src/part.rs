//! One cost in one bucket.

use std::sync::Arc;

use crate::{
    algorithm::Algorithm,
    bucket_id::{BucketId, Tag},
    cost::Cost,
    limit::Limit,
    time::Timestamp,
};

/// One cost in one bucket: a part of a [`Check`](crate::Check).
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
    /// Whether a settlement gives the cost back.
    gives_back: bool,
    earlier: Earlier,
}

/// What is known of what was taken of a part's bucket before.
#[derive(Clone, Copy, Debug, Default)]
enum Earlier {
    #[default]
    Unknown,
    /// This is held.
    Held(Cost),
    /// What is given back or renewed was taken then.
    TakenAt(Timestamp),
    /// It was taken then, while the store was away.
    TakenLocally(Timestamp),
}

impl Part {
    /// Creates a part that asks the bucket of `limit` and `tag` for `cost`.
    #[must_use]
    pub const fn new(limit: Arc<Limit>, tag: Tag, cost: Cost) -> Self {
        Self {
            limit,
            tag,
            cost,
            policy_index: 0,
            has_fixed_cost: false,
            gives_back: false,
            earlier: Earlier::Unknown,
        }
    }

    /// Returns the part of an extension, which takes its cost beyond what is `held`; or of the
    /// settlement of what a quota [counts apart](crate::Quota::releasing), where the cost is what
    /// is used beyond what is not counted so.
    #[must_use]
    pub fn holding(self, held: Cost) -> Self {
        Self { earlier: Earlier::Held(held), ..self }
    }

    /// Returns the part of a check that gives back, or renews, what was taken at this time, by the
    /// store's clock.
    #[must_use]
    pub fn taken_at(self, taken_at: Timestamp) -> Self {
        Self { earlier: Earlier::TakenAt(taken_at), ..self }
    }

    /// Returns the part as [`taken_at`](Self::taken_at) does, for what was taken by a decision
    /// without the store ([`Source::Local`](crate::Source::Local)).
    #[must_use]
    pub fn taken_locally(self, taken_at: Timestamp) -> Self {
        Self { earlier: Earlier::TakenLocally(taken_at), ..self }
    }

    /// Returns what is held, of a part of an extension or a settlement ([`Part::holding`]).
    #[must_use]
    pub const fn held(&self) -> Cost {
        match self.earlier {
            Earlier::Held(held) => held,
            Earlier::Unknown | Earlier::TakenAt(_) | Earlier::TakenLocally(_) => Cost::NONE,
        }
    }

    /// Returns whether what is given back or renewed was [taken](Self::taken_locally) by a decision
    /// without the store.
    #[must_use]
    pub const fn was_taken_locally(&self) -> bool {
        matches!(self.earlier, Earlier::TakenLocally(_))
    }

    /// Returns when what is given back or renewed was [taken](Self::taken_at), if that is known.
    #[must_use]
    pub const fn when_taken(&self) -> Option<Timestamp> {
        match self.earlier {
            Earlier::TakenAt(taken_at) | Earlier::TakenLocally(taken_at) => Some(taken_at),
            Earlier::Unknown | Earlier::Held(_) => None,
        }
    }

    /// Returns the part of a settlement: what was `held` of its cost is corrected to `actual`.
    #[must_use]
    pub fn settling(limit: Arc<Limit>, tag: Tag, held: Cost, actual: Cost) -> Self {
        let part = Self::new(limit, tag, actual.minus(held));
        if held > actual { part.giving_back(held.minus(actual)) } else { part }
    }

    /// Returns the same part under another limit. Where that counts nothing apart, nothing is held
    /// apart.
    #[must_use]
    pub fn under(self, limit: Arc<Limit>) -> Self {
        let counted_apart = self.counts_apart();
        let part = Self { limit, ..self };
        if counted_apart && !part.counts_apart() { part.holding(Cost::NONE) } else { part }
    }

    /// Returns the part with this cost, which a settlement gives back.
    pub(crate) fn giving_back(self, cost: Cost) -> Self {
        Self { cost, gives_back: true, ..self }
    }

    /// Returns the part with this cost, which is taken or charged.
    pub(crate) fn taking(self, cost: Cost) -> Self {
        Self { cost, gives_back: false, ..self }
    }

    /// Returns whether the rule of the limit sets the cost, whatever the request costs.
    pub(crate) const fn has_fixed_cost(&self) -> bool {
        self.has_fixed_cost
    }

    /// Returns whether a settlement gives the cost back; else it charges it.
    #[must_use]
    pub const fn gives_back(&self) -> bool {
        self.gives_back
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

    /// Returns whether the limit is one of requests in flight.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        matches!(self.limit.algorithm(), Algorithm::Concurrent(_))
    }

    /// Returns whether the limit counts what is held apart, and releases it if it is not settled
    /// ([`Quota::releasing`](crate::Quota::releasing)).
    #[must_use]
    pub fn counts_apart(&self) -> bool {
        self.limit.algorithm().counts_apart()
    }

    /// Returns which bucket the part takes from.
    #[must_use]
    pub fn bucket(&self) -> BucketId {
        BucketId { tag: self.tag, limit: self.limit.key() }
    }
}
