//! The names of rules in metrics.
//!
//! `edge.path_/api/*.method` is the domain, and for each entry its key, with the value if the file
//! names one. `value_to_metric` adds the request's own value, `detailed_metric` adds every value;
//! values that share a bucket are always named by their pattern. Since these names come from
//! requests, their number is limited.

use std::{borrow::Cow, collections::HashMap};

use parking_lot::RwLock;
use sluice_telemetry::{BoundDecisions, DecisionRecorder};

use super::{
    rule::Rule,
    tree::{Fit, MatchPath},
};
use crate::messages::Entry;

/// The most names from requests that are kept. Further ones are counted under the name of their
/// rule.
const MAX_NAMES: usize = 500;

/// Counters under the names that requests bring.
#[derive(Debug)]
pub(crate) struct MetricNames {
    recorder: DecisionRecorder,
    counters: RwLock<HashMap<Box<str>, BoundDecisions>>,
}

impl MetricNames {
    pub(crate) fn new(recorder: DecisionRecorder) -> Self {
        Self { recorder, counters: RwLock::default() }
    }

    /// Returns the counter of `rule`'s decisions for a request whose `entries` match along `path`.
    pub(crate) fn counter<'r>(
        &self,
        domain: &str,
        entries: &[Entry],
        path: &MatchPath<'r>,
        rule: &'r Rule,
    ) -> Cow<'r, BoundDecisions> {
        match name_of_request(domain, entries, path, rule) {
            None => Cow::Borrowed(&rule.counter),
            Some(name) => self.named(&name).map_or(Cow::Borrowed(&rule.counter), Cow::Owned),
        }
    }

    fn named(&self, name: &str) -> Option<BoundDecisions> {
        if let Some(counter) = self.counters.read().get(name) {
            return Some(counter.clone());
        }
        let mut counters = self.counters.write();
        if counters.len() >= MAX_NAMES && !counters.contains_key(name) {
            return None;
        }
        Some(counters.entry(name.into()).or_insert_with(|| self.recorder.bind(name)).clone())
    }
}

/// Returns the name with the request's values, or `None` when there are none to add.
fn name_of_request(
    domain: &str,
    entries: &[Entry],
    path: &MatchPath<'_>,
    rule: &Rule,
) -> Option<String> {
    let names_value = |step: &super::tree::Step<'_>| {
        let shares = matches!(step.fit, Fit::Pattern(_)) && step.node.is_shared;
        step.node.value_to_metric && !shares && !matches!(step.fit, Fit::Value)
    };
    if !rule.is_detailed && !path.iter().any(names_value) {
        return None;
    }
    let mut name = domain.to_owned();
    for (entry, step) in entries.iter().zip(path) {
        let value = match step.fit {
            Fit::Pattern(pattern) if step.node.is_shared => pattern.text(),
            _ if rule.is_detailed || names_value(step) => &entry.value,
            Fit::Value => &entry.value,
            Fit::Pattern(pattern) => pattern.text(),
            Fit::Key => b"",
        };
        name.push('.');
        name.push_str(&String::from_utf8_lossy(&entry.key));
        if !value.is_empty() {
            name.push('_');
            name.push_str(&String::from_utf8_lossy(value));
        }
    }
    Some(name)
}
