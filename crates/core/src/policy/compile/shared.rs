//! The limits of clients without a tier, from which the plans of tiers are made.

use std::{collections::BTreeMap, sync::Arc};

use crate::policy::plan::{Applied, Condition, PlannedCost, PlannedPer, PlannedRule};

/// The limits of clients without a tier.
pub(super) struct Shared {
    pub(super) default: Option<Applied>,
    /// By their path in normal form.
    pub(super) endpoints: BTreeMap<String, SharedEndpoint>,
    pub(super) rules: Vec<SharedRule>,
}

/// An endpoint, of all clients or of a tier.
pub(super) struct SharedEndpoint {
    /// The path as it is written.
    pub(super) written: String,
    pub(super) label: usize,
    pub(super) applied: Option<Applied>,
}

/// A general limit with the rate of clients without a tier.
pub(super) struct SharedRule {
    pub(super) when: Arc<Condition>,
    /// The tiers that have the limit; empty when all clients have it.
    pub(super) tiers: Vec<String>,
    pub(super) per: PlannedPer,
    pub(super) cost: PlannedCost,
    pub(super) applied: Applied,
}

impl SharedRule {
    /// Returns the headers that the limit reads.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        let per = match &self.per {
            PlannedPer::Header(name) => Some(&**name),
            PlannedPer::Client | PlannedPer::Address | PlannedPer::Everyone(_) => None,
        };
        let cost = match &self.cost {
            PlannedCost::Header(name) => Some(&**name),
            PlannedCost::Request | PlannedCost::Fixed(_) => None,
        };
        let conditions = self.when.headers.iter().map(|header| &*header.name);
        conditions.chain(per).chain(cost)
    }

    /// Returns whether the limit applies to clients of this tier.
    pub(super) fn is_for(&self, tier: &str) -> bool {
        self.tiers.is_empty() || self.tiers.iter().any(|name| name == tier)
    }

    /// Makes the rule with a tier's rate.
    pub(super) fn planned(&self, applied: Applied) -> PlannedRule {
        PlannedRule {
            when: Arc::clone(&self.when),
            per: self.per.clone(),
            cost: self.cost.clone(),
            applied,
        }
    }
}
