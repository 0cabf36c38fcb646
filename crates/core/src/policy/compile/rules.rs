//! Compiles general limits.

use std::sync::Arc;

use super::{compiler::Compiler, shared::SharedRule};
use crate::{
    algorithm::Algorithm,
    bucket_id::Subject,
    limit::Mode,
    policy::{
        error::{LimitField, Location, PolicyErrorKind},
        pattern::PathPattern,
        plan::{Condition, HeaderCondition, PlannedCost, PlannedPer},
        rule::{Per, Rule, RuleCost, When},
    },
};

impl Compiler<'_> {
    pub(super) fn rule(&mut self, index: usize, rule: &Rule) -> Option<SharedRule> {
        let at = |field| Location::Limit { index, field };
        self.reserve(&rule.name, &at(LimitField::Name));
        let when = self.condition(index, &rule.when);
        let per = match &rule.per {
            Per::Client => PlannedPer::Client,
            Per::Address => PlannedPer::Address,
            Per::Header(name) => PlannedPer::Header(self.header(name, at(LimitField::Per))),
            Per::Everyone => {
                PlannedPer::Everyone(self.input.tagger.tag(Subject::Everyone { limit: &rule.name }))
            }
        };
        if rule.terms.metering.is_some() && rule.cost != RuleCost::Request {
            self.error(at(LimitField::Cost), PolicyErrorKind::CostOfUsage);
        }
        let cost = match &rule.cost {
            RuleCost::Request => PlannedCost::Request,
            RuleCost::Fixed(cost) => {
                let (tokens, capacity) = (cost.tokens(), rule.terms.algorithm.capacity());
                if tokens > capacity {
                    let kind = match rule.terms.algorithm {
                        Algorithm::TokenBucket(_) => {
                            PolicyErrorKind::CostAboveBurst { cost: tokens, burst: capacity }
                        }
                        _ => PolicyErrorKind::CostAboveCapacity { cost: tokens, capacity },
                    };
                    self.error(at(LimitField::Cost), kind);
                }
                PlannedCost::Fixed(*cost)
            }
            RuleCost::Header(name) => PlannedCost::Header(self.header(name, at(LimitField::Cost))),
        };
        if rule.terms.mode == Mode::Off {
            return None;
        }
        let applied = self.limit(&rule.name, &rule.terms, &at(LimitField::Name))?;
        Some(SharedRule {
            when: Arc::new(when),
            tiers: rule.when.tiers.clone(),
            per,
            cost,
            applied,
        })
    }

    fn condition(&mut self, index: usize, when: &When) -> Condition {
        let at = |field| Location::Limit { index, field };
        let mut condition = Condition::default();
        for (entry, pattern) in when.paths.iter().enumerate() {
            match PathPattern::parse(pattern) {
                Ok(pattern) => condition.paths.push(pattern),
                Err(error) => self.error(at(LimitField::Path(entry)), error),
            }
        }
        for (entry, method) in when.methods.iter().enumerate() {
            if !is_token(method) {
                self.error(
                    at(LimitField::Method(entry)),
                    PolicyErrorKind::Method { method: method.clone() },
                );
            }
            condition.methods.push(method.as_str().into());
        }
        for (entry, header) in when.headers.iter().enumerate() {
            let name = self.header(&header.name, at(LimitField::Header(entry)));
            let values = header.values.iter().map(|value| value.as_str().into()).collect();
            condition.headers.push(HeaderCondition { name, values });
        }
        for (entry, name) in when.tiers.iter().enumerate() {
            let known = || self.input.tiers.iter().map(|tier| tier.name.clone());
            if !known().any(|known| known == *name) {
                let kind =
                    PolicyErrorKind::UnknownTier { name: name.clone(), known: known().collect() };
                self.error(at(LimitField::Tier(entry)), kind);
            }
        }
        condition
    }

    fn header(&mut self, name: &str, at: Location) -> Box<str> {
        if !is_token(name) {
            self.error(at, PolicyErrorKind::HeaderName { name: name.to_owned() });
        }
        name.to_ascii_lowercase().into()
    }
}

/// Returns whether `text` can be the name of a header or a method (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
