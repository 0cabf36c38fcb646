//! The rules of all files, compiled once per load.

mod explain;
mod naming;
mod overrun;
mod pattern;
mod rule;
#[cfg(test)]
mod tests;
mod tree;

use std::{borrow::Cow, collections::HashMap};

use parking_lot::Mutex;
use sluice_core::{Mode, OnStoreFailure, Subject, Tag, Tagger, Value};
use sluice_telemetry::{
    BoundDecisions, BoundHits, BoundRlsDomain, DecisionRecorder, OTHER, Recorders,
};
use smallvec::SmallVec;

pub use self::explain::{
    ExplainedDescriptor, ExplainedRule, OtherRules, RuleEffect, RuleObstacle, explain,
};
use self::{
    naming::MetricNames,
    tree::{Fit, Level, MatchPath, Node},
};
pub(crate) use self::{
    overrun::{Looks, Overrun},
    rule::{Effect, LimitTerms, Rule, Tokens},
};
use sluice_config::rls::{self, Allowance, RlsSettings};

use crate::{
    dynamic_metadata,
    messages::{CurrentLimit, Entry},
};

/// The most limits from requests that are cached. More are created for each request.
const MAX_OVERRIDES: usize = 1_000;

/// The active rules.
#[derive(Debug)]
pub(crate) struct Rules {
    domains: HashMap<Box<[u8]>, Domain>,
    tagger: Tagger,
    names: MetricNames,
    /// Counts denied requests. Their paths are not known here.
    pub(crate) hits: BoundHits,
    /// Whether responses have header fields.
    pub(crate) response_headers: bool,
    terms: LimitTerms,
}

/// The rules of one domain.
#[derive(Debug)]
pub(crate) struct Domain {
    name: Box<str>,
    top: Level,
    /// The limits that requests have `override_limit`.
    overrides: Mutex<HashMap<(u32, rls::Unit), Tokens>>,
    overrides_counter: BoundDecisions,
    /// Counts the calls in this domain.
    pub(crate) calls: BoundRlsDomain,
    /// How these limits treat usage that does not fit.
    pub(crate) overrides_overrun: Overrun,
}

/// A rule that a descriptor matches.
#[derive(Debug)]
pub(crate) struct RuleMatch<'r> {
    pub(crate) rule: &'r Rule,
    path: MatchPath<'r>,
}

impl Rules {
    /// Compiles the rules in `settings`. `on_store_failure` says who decides while the store
    /// cannot, `tagger` hashes the values of descriptors, and `looks` knows which rules were looked
    /// at before.
    pub(crate) fn new(
        settings: &RlsSettings,
        on_store_failure: OnStoreFailure,
        tagger: Tagger,
        recorders: &Recorders,
        looks: &Looks,
    ) -> Self {
        let terms = LimitTerms { on_store_failure, precision: settings.precision };
        let domain = |domain: &rls::Domain| {
            let compiler = Compiler { recorder: &recorders.decisions, terms, looks };
            let top = compiler.level(&domain.name, &domain.descriptors);
            let overrides = format!("{}.override", domain.name);
            let overrides_counter = recorders.decisions.bind(&overrides);
            let compiled = Domain {
                name: domain.name.as_str().into(),
                top,
                overrides: Mutex::default(),
                overrides_counter,
                calls: recorders.rls.bind(&domain.name),
                overrides_overrun: looks.overrun(&overrides, domain.overrun),
            };
            (domain.name.as_bytes().into(), compiled)
        };
        Self {
            domains: settings.domains.iter().map(domain).collect(),
            tagger,
            names: MetricNames::new(recorders.decisions.clone()),
            hits: recorders.rate_limit.bind(OTHER),
            response_headers: settings.response_headers,
            terms,
        }
    }

    /// Returns the domain called `name`.
    pub(crate) fn domain(&self, name: &[u8]) -> Option<&Domain> {
        self.domains.get(name)
    }

    /// Returns the counter of decisions for the rule that matches `entries`.
    pub(crate) fn counter<'r>(
        &self,
        domain: &Domain,
        entries: &[Entry],
        matched: &RuleMatch<'r>,
    ) -> Cow<'r, BoundDecisions> {
        self.names.counter(&domain.name, entries, &matched.path, matched.rule)
    }

    /// Returns the tag of the bucket that `entries` take from. A rule may share one bucket among
    /// several values; without a rule, each list of entries has its own bucket.
    pub(crate) fn tag(
        &self,
        domain: &Domain,
        entries: &[Entry],
        matched: Option<&RuleMatch<'_>>,
    ) -> Tag {
        let value = |place: usize, value| match matched.map(|matched| matched.path[place]) {
            Some(tree::Step { fit: Fit::Pattern(pattern), node }) if node.is_shared => {
                Value::Pattern(pattern.text())
            }
            _ => Value::Exact(value),
        };
        let values: SmallVec<[(&[u8], Value<'_>); 4]> = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| (&*entry.key, value(place, &*entry.value)))
            .collect();
        self.tagger.tag(Subject::Values { scope: domain.name.as_bytes(), values: &values })
    }

    /// Returns the effect of a limit that a request brings, and its description in the response.
    pub(crate) fn override_limit(
        &self,
        domain: &Domain,
        requests: u32,
        unit: rls::Unit,
    ) -> (Effect, CurrentLimit) {
        let current = rule::current(requests, Some(unit), "");
        if requests == 0 {
            return (Effect::DenyAll, current);
        }
        let mut overrides = domain.overrides.lock();
        if let Some(tokens) = overrides.get(&(requests, unit)) {
            return (Effect::Limit(tokens.clone()), current);
        }
        // The unit is part of the name, and so of the bucket: a request may bring two limits for
        // the same entries.
        let name = format!("{}.override.{}", domain.name, unit.as_str());
        let tokens = Tokens::new(requests, unit, &name, Mode::Enforce, self.terms);
        if overrides.len() < MAX_OVERRIDES {
            overrides.insert((requests, unit), tokens.clone());
        }
        (Effect::Limit(tokens), current)
    }
}

impl Domain {
    /// Returns the rule that matches `entries`.
    pub(crate) fn find(&self, entries: &[Entry]) -> Option<RuleMatch<'_>> {
        self.top.follow(entries).map(|(path, rule)| RuleMatch { rule, path })
    }

    /// Returns the counter of decisions for limits that requests bring.
    pub(crate) fn overrides_counter(&self) -> &BoundDecisions {
        &self.overrides_counter
    }
}

/// Compiles the rules of a file.
struct Compiler<'a> {
    recorder: &'a DecisionRecorder,
    terms: LimitTerms,
    looks: &'a Looks,
}

impl Compiler<'_> {
    fn level(&self, parent: &str, descriptors: &[rls::Descriptor]) -> Level {
        let mut level = Level::default();
        for (place, descriptor) in descriptors.iter().enumerate() {
            let rls::Descriptor { key, value, descriptors, .. } = descriptor;
            let path = descriptor.path(parent);
            let node = Node {
                place,
                rule: descriptor.limit.as_ref().map(|limit| self.rule(&path, limit, descriptor)),
                next: (!descriptors.is_empty()).then(|| Box::new(self.level(&path, descriptors))),
                value_to_metric: descriptor.value_to_metric,
                is_shared: descriptor.share_threshold,
            };
            level.add(key, value.as_deref(), node);
        }
        level
    }

    fn rule(&self, path: &str, limit: &rls::Limit, descriptor: &rls::Descriptor) -> Rule {
        let rls::Limit { name, replaces, allowance, overrun } = limit;
        let shown = if name.is_empty() { path } else { name };
        let mode = if descriptor.shadow_mode { Mode::Shadow } else { Mode::Enforce };
        let current = match *allowance {
            Allowance::PerUnit { requests, unit } => rule::current(requests, Some(unit), name),
            Allowance::Unlimited => rule::current(0, None, name),
        };
        Rule {
            name: name.as_str().into(),
            replaces: replaces.iter().map(|name| name.as_str().into()).collect(),
            effect: Effect::new(*allowance, shown, mode, self.terms),
            current,
            is_shadow: descriptor.shadow_mode,
            is_quota: descriptor.quota_mode,
            overrun: self.looks.overrun(path, *overrun),
            metadata: dynamic_metadata::of_rule(&descriptor.metadata),
            counter: self.recorder.bind(path),
            is_detailed: descriptor.detailed_metric,
        }
    }
}
