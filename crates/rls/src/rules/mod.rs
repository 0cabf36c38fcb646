//! The rules of every file, compiled once per load: which limit the entries of a descriptor lead
//! to.

mod naming;
mod pattern;
mod rule;
#[cfg(test)]
mod tests;
mod tree;

use std::{borrow::Cow, collections::HashMap};

use parking_lot::Mutex;
use sluice_core::{Mode, OnStoreFailure, Subject, Tag, Tagger, Value};
use sluice_telemetry::{BoundDecisions, BoundHits, DecisionRecorder, OTHER, Recorders};
use smallvec::SmallVec;

pub(crate) use self::rule::{Passes, Rule, Tokens};
use self::{
    naming::Names,
    rule::Making,
    tree::{Fit, Level, Node, Way},
};
use sluice_config::rls::{self, Allowance, RlsSettings};

use crate::{
    dynamic_metadata,
    messages::{CurrentLimit, Entry},
};

/// The most limits of requests that are kept ready; more are made anew each time.
const MAX_OVERRIDES: usize = 1_000;

/// The rules in force.
#[derive(Debug)]
pub(crate) struct Rules {
    domains: HashMap<Box<[u8]>, Domain>,
    tagger: Tagger,
    names: Names,
    /// Counts requests that were denied. The path is not known here.
    pub(crate) hits: BoundHits,
    /// Whether answers carry header fields.
    pub(crate) response_headers: bool,
    making: Making,
}

/// The rules of one domain.
#[derive(Debug)]
pub(crate) struct Domain {
    name: Box<str>,
    top: Level,
    /// Limits that requests bring.
    overrides: Mutex<HashMap<(u32, rls::Unit), Tokens>>,
    overrides_counter: BoundDecisions,
}

/// A rule that a descriptor leads to.
#[derive(Debug)]
pub(crate) struct Found<'r> {
    pub(crate) rule: &'r Rule,
    way: Way<'r>,
}

impl Rules {
    /// The rules in `settings`. Where the store cannot decide, `on_store_failure` says who does;
    /// `tagger` makes values unreadable.
    pub(crate) fn new(
        settings: &RlsSettings,
        on_store_failure: OnStoreFailure,
        tagger: Tagger,
        recorders: &Recorders,
    ) -> Self {
        let making = Making { on_store_failure };
        let domain = |domain: &rls::Domain| {
            let compiler = Compiler { recorder: &recorders.decisions, making };
            let top = compiler.level(&domain.name, &domain.descriptors);
            let overrides_counter = recorders.decisions.bind(&format!("{}.override", domain.name));
            let compiled = Domain {
                name: domain.name.as_str().into(),
                top,
                overrides: Mutex::default(),
                overrides_counter,
            };
            (domain.name.as_bytes().into(), compiled)
        };
        Self {
            domains: settings.domains.iter().map(domain).collect(),
            tagger,
            names: Names::new(recorders.decisions.clone()),
            hits: recorders.rate_limit.bind(OTHER),
            response_headers: settings.response_headers,
            making,
        }
    }

    /// The domain called `name`.
    pub(crate) fn domain(&self, name: &[u8]) -> Option<&Domain> {
        self.domains.get(name)
    }

    /// What counts the decisions of the rule found for `entries`.
    pub(crate) fn counter<'r>(
        &self,
        domain: &Domain,
        entries: &[Entry],
        found: &Found<'r>,
    ) -> Cow<'r, BoundDecisions> {
        self.names.counter(&domain.name, entries, &found.way, found.rule)
    }

    /// Whose bucket `entries` take from. Without a rule, which may let several share one, each list
    /// of entries has its own.
    pub(crate) fn tag(&self, domain: &Domain, entries: &[Entry], found: Option<&Found<'_>>) -> Tag {
        let value = |place: usize, value| match found.map(|found| found.way[place]) {
            Some(tree::Step { fit: Fit::Pattern(pattern), node }) if node.is_shared => {
                Value::Fits(pattern.text())
            }
            _ => Value::Is(value),
        };
        let values: SmallVec<[(&[u8], Value<'_>); 4]> = entries
            .iter()
            .enumerate()
            .map(|(place, entry)| (&*entry.key, value(place, &*entry.value)))
            .collect();
        self.tagger.tag(Subject::Values { scope: domain.name.as_bytes(), values: &values })
    }

    /// A limit that a request brings: what it lets pass, and what the request is told about it.
    pub(crate) fn brought(
        &self,
        domain: &Domain,
        requests: u32,
        unit: rls::Unit,
    ) -> (Passes, CurrentLimit) {
        let current = rule::current(requests, Some(unit), "");
        if requests == 0 {
            return (Passes::Nothing, current);
        }
        let mut overrides = domain.overrides.lock();
        if let Some(tokens) = overrides.get(&(requests, unit)) {
            return (Passes::Tokens(tokens.clone()), current);
        }
        // The unit is part of the name, and so of the bucket: a request may bring two limits for
        // the same entries.
        let name = format!("{}.override.{}", domain.name, unit.as_str());
        let tokens = Tokens::new(requests, unit, &name, Mode::Enforce, self.making);
        if overrides.len() < MAX_OVERRIDES {
            overrides.insert((requests, unit), tokens.clone());
        }
        (Passes::Tokens(tokens), current)
    }
}

impl Domain {
    /// The rule that `entries` lead to.
    pub(crate) fn find(&self, entries: &[Entry]) -> Option<Found<'_>> {
        self.top.follow(entries).map(|(way, rule)| Found { rule, way })
    }

    /// What counts the decisions of limits that requests bring.
    pub(crate) fn overrides_counter(&self) -> &BoundDecisions {
        &self.overrides_counter
    }
}

/// Makes rules of what a file says.
struct Compiler<'a> {
    recorder: &'a DecisionRecorder,
    making: Making,
}

impl Compiler<'_> {
    fn level(&self, parent: &str, descriptors: &[rls::Descriptor]) -> Level {
        let mut level = Level::default();
        for (place, descriptor) in descriptors.iter().enumerate() {
            let rls::Descriptor { key, value, descriptors, .. } = descriptor;
            let path = match value {
                Some(value) => format!("{parent}.{key}_{value}"),
                None => format!("{parent}.{key}"),
            };
            let node = Node {
                rule: descriptor.limit.as_ref().map(|limit| self.rule(&path, limit, descriptor)),
                next: (!descriptors.is_empty()).then(|| Box::new(self.level(&path, descriptors))),
                value_to_metric: descriptor.value_to_metric,
                is_shared: descriptor.share_threshold,
            };
            level.add(place, key, value.as_deref(), node);
        }
        level
    }

    fn rule(&self, path: &str, limit: &rls::Limit, descriptor: &rls::Descriptor) -> Rule {
        let rls::Limit { name, replaces, allowance } = limit;
        let shown = if name.is_empty() { path } else { name };
        let mode = if descriptor.shadow_mode { Mode::Shadow } else { Mode::Enforce };
        let current = match *allowance {
            Allowance::PerUnit { requests, unit } => rule::current(requests, Some(unit), name),
            Allowance::Unlimited => rule::current(0, None, name),
        };
        Rule {
            name: name.as_str().into(),
            replaces: replaces.iter().map(|name| name.as_str().into()).collect(),
            passes: Passes::new(*allowance, shown, mode, self.making),
            current,
            is_shadow: descriptor.shadow_mode,
            is_quota: descriptor.quota_mode,
            metadata: dynamic_metadata::of_rule(&descriptor.metadata),
            counter: self.recorder.bind(path),
            is_detailed: descriptor.detailed_metric,
        }
    }
}
