//! What metrics call a rule.
//!
//! `edge.path_/api/*.method`: the domain, and for each entry its key, with the value where the file
//! names one. `value_to_metric` names the request's own value, `detailed_metric` every one of them;
//! what shares a bucket is always called by its pattern. Since these names come from requests, only
//! so many are kept.

use std::{borrow::Cow, collections::HashMap};

use parking_lot::RwLock;
use sluice_telemetry::{BoundDecisions, DecisionRecorder};

use super::{
    rule::Rule,
    tree::{Fit, Way},
};
use crate::messages::Entry;

/// The most names of requests' values that are kept; what comes after is counted with its rule.
const MAX_NAMES: usize = 500;

/// Counters by names that requests bring.
#[derive(Debug)]
pub(crate) struct Names {
    recorder: DecisionRecorder,
    counters: RwLock<HashMap<Box<str>, BoundDecisions>>,
}

impl Names {
    pub(crate) fn new(recorder: DecisionRecorder) -> Self {
        Self { recorder, counters: RwLock::default() }
    }

    /// What counts the decisions of `rule` for a request with `entries`, which lead there on `way`.
    pub(crate) fn counter<'r>(
        &self,
        domain: &str,
        entries: &[Entry],
        way: &Way<'r>,
        rule: &'r Rule,
    ) -> Cow<'r, BoundDecisions> {
        match name_of_request(domain, entries, way, rule) {
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

/// The name with what the request adds to it; `None` when that is nothing.
fn name_of_request(domain: &str, entries: &[Entry], way: &Way<'_>, rule: &Rule) -> Option<String> {
    let names_value = |step: &super::tree::Step<'_>| {
        let shares = matches!(step.fit, Fit::Pattern(_)) && step.node.is_shared;
        step.node.value_to_metric && !shares && !matches!(step.fit, Fit::Value)
    };
    if !rule.is_detailed && !way.iter().any(names_value) {
        return None;
    }
    let mut name = domain.to_owned();
    for (entry, step) in entries.iter().zip(way) {
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
