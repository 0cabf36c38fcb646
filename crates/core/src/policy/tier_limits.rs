//! The limits of a compiled policy as they are written, tier by tier.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    bucket_id::Tag,
    limit::Limit,
    policy::{
        limit_spec::{Endpoint, LimitSpec, Terms},
        matching::Policy,
        pattern::PathPattern,
        plan::{Applied, Condition, HeaderCondition, Plan, PlannedCost, PlannedPer, PlannedRule},
        rule::{HeaderMatch, Per, Rule, RuleCost, When},
    },
};

/// The limits of one tier's clients, with the rates that the tier gives them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierLimits {
    /// The tier's name; `None` for clients without a tier.
    pub tier: Option<String>,
    /// The default limit.
    pub defaults: LimitSpec,
    /// The endpoints, sorted by their patterns.
    pub endpoints: Vec<Endpoint>,
    /// The general limits.
    pub limits: Vec<Rule>,
    /// The clients that the tier lists. An address that it lists is here twice: as a key and as an
    /// address.
    pub clients: BTreeSet<Tag>,
}

impl Policy {
    /// Returns what limits the clients of each tier: first those without a tier, then the tiers in
    /// their order.
    #[must_use]
    pub fn tier_limits(&self) -> Vec<TierLimits> {
        let plans = self.plans.iter().enumerate();
        plans
            .map(|(index, plan)| {
                let listed = self.assigned.iter().filter(|(_, plan)| **plan == index);
                TierLimits {
                    clients: listed.map(|(tag, _)| *tag).collect(),
                    ..self.limits_of(plan)
                }
            })
            .collect()
    }

    fn limits_of(&self, plan: &Plan) -> TierLimits {
        let mut endpoints: Vec<Endpoint> = plan
            .endpoints
            .values()
            .map(|endpoint| {
                Endpoint::new(&*self.endpoints[endpoint.label], spec(endpoint.applied.as_ref()))
            })
            .collect();
        endpoints.sort_by(|a, b| a.path.cmp(&b.path));
        TierLimits {
            tier: plan.tier.as_deref().map(str::to_owned),
            defaults: spec(plan.default.as_ref()),
            endpoints,
            limits: plan.rules.iter().map(PlannedRule::written).collect(),
            clients: BTreeSet::new(),
        }
    }
}

impl PlannedRule {
    /// Returns the limit as it is written, with its tier's rate.
    pub(super) fn written(&self) -> Rule {
        let limit = &self.applied.limit;
        Rule::new(limit.name(), terms(limit))
            .when(self.when.written())
            .per(self.per.written())
            .cost(self.cost.written())
    }
}

impl Condition {
    fn written(&self) -> When {
        let header = |header: &HeaderCondition| HeaderMatch {
            name: header.name.to_string(),
            values: header.values.iter().map(ToString::to_string).collect(),
        };
        When {
            paths: self.paths.iter().map(PathPattern::text).collect(),
            methods: self.methods.iter().map(ToString::to_string).collect(),
            headers: self.headers.iter().map(header).collect(),
            tiers: Vec::new(),
        }
    }
}

impl PlannedPer {
    fn written(&self) -> Per {
        match self {
            Self::Client => Per::Client,
            Self::Address => Per::Address,
            Self::Header(name) => Per::Header(name.to_string()),
            Self::Everyone(_) => Per::Everyone,
        }
    }
}

impl PlannedCost {
    fn written(&self) -> RuleCost {
        match self {
            Self::Request => RuleCost::Request,
            Self::Fixed(cost) => RuleCost::Fixed(*cost),
            Self::Header(name) => RuleCost::Header(name.to_string()),
        }
    }
}

fn spec(applied: Option<&Applied>) -> LimitSpec {
    applied.map_or(LimitSpec::Off, |applied| terms(&applied.limit).into())
}

fn terms(limit: &Arc<Limit>) -> Terms {
    Terms::new(limit.algorithm().clone())
        .mode(limit.mode())
        .precision(limit.precision())
        .on_store_failure(limit.on_store_failure())
        .metering(limit.metering().copied())
}
