//! Compares the limits of two policies, tier by tier.

use std::{collections::BTreeMap, fmt::Display};

use sluice_core::{
    Algorithm, HeaderMatch, LimitSpec, Per, Policy, Rule, RuleCost, Terms, TierLimits, When,
};

use crate::cli::words::{self, AnyOf};

/// A tier's name; `None` stands for clients without a tier.
pub(super) type TierName = Option<String>;

/// What a limit is, as names and values in the words of the configuration.
pub(super) type Parts = Vec<(&'static str, String)>;

/// The name of all parts that say how a limit counts, where the algorithm is another one.
pub(super) const NUMBERS: &str = "numbers";
/// The parts that say how a limit counts.
const OF_ALGORITHMS: [&str; 8] =
    ["rate", "burst", "quota", "count_denied", "unsettled", "at_most", "concurrent", "hold_for"];

/// What changes about one limit, for some tiers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// The tiers get the limit.
    Added(Parts),
    /// The tiers lose the limit.
    Removed(Parts),
    /// The parts that differ: the old value and the new one.
    Changed(Vec<(&'static str, String, String)>),
}

/// A change, and for whom.
#[derive(Debug)]
pub(super) struct LimitChange {
    pub(super) name: String,
    pub(super) change: Change,
    /// The tiers that it is for, out of those that both configurations have.
    pub(super) tiers: Vec<TierName>,
    /// Whether these are all tiers.
    pub(super) is_for_all: bool,
    /// The tiers that it is not for.
    pub(super) others: Vec<TierName>,
}

/// Compares the limits of the tiers that both policies have. Of each limit, equal changes for
/// several tiers are one.
pub(super) fn compare(old: &Policy, new: &Policy) -> Vec<LimitChange> {
    let (old, new) = (old.tier_limits(), new.tier_limits());
    let both: Vec<(&TierLimits, &TierLimits)> = old
        .iter()
        .filter_map(|old| Some((old, new.iter().find(|new| new.tier == old.tier)?)))
        .collect();
    let mut changes: BTreeMap<(String, Change), Vec<TierName>> = BTreeMap::new();
    for (old, new) in &both {
        for (name, change) in compare_tier(&described(old), &described(new)) {
            changes.entry((name, change)).or_default().push(old.tier.clone());
        }
    }
    let all: Vec<&TierName> = both.iter().map(|(old, _)| &old.tier).collect();
    let changes = changes.into_iter();
    changes
        .map(|((name, change), tiers)| {
            let others = all.iter().filter(|tier| !tiers.contains(tier));
            let others: Vec<TierName> = others.map(|tier| (*tier).clone()).collect();
            LimitChange { name, change, tiers, is_for_all: others.is_empty(), others }
        })
        .collect()
}

/// Returns how the limits of a tier differ from those of clients without one.
pub(super) fn own_limits(policy: &Policy, tier: &str) -> Vec<(String, Change)> {
    let limits = policy.tier_limits();
    let of = |name: Option<&str>| limits.iter().find(|limits| limits.tier.as_deref() == name);
    match (of(None), of(Some(tier))) {
        (Some(plain), Some(own)) => compare_tier(&described(plain), &described(own)),
        _ => Vec::new(),
    }
}

fn compare_tier(
    old: &BTreeMap<String, Parts>,
    new: &BTreeMap<String, Parts>,
) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    for (name, old) in old {
        match new.get(name) {
            None => changes.push((name.clone(), Change::Removed(old.clone()))),
            Some(new) if new != old => {
                changes.push((name.clone(), Change::Changed(differences(old, new))));
            }
            Some(_) => {}
        }
    }
    let added = new.iter().filter(|(name, _)| !old.contains_key(*name));
    changes.extend(added.map(|(name, new)| (name.clone(), Change::Added(new.clone()))));
    changes
}

fn differences(old: &Parts, new: &Parts) -> Vec<(&'static str, String, String)> {
    const NOTHING: &str = "-";
    let of = |parts: &Parts, name: &str| {
        let found = parts.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| NOTHING.to_owned(), |(_, value)| value.clone())
    };
    // Of a limit that is only off in one of them, everything else would differ too.
    if old.len() == 1 || new.len() == 1 {
        return vec![("rate", whole(old), whole(new))];
    }
    // The first part is the number, under the key that names the algorithm.
    let is_other_algorithm = old[0].0 != new[0].0;
    let numbers = is_other_algorithm.then(|| (NUMBERS, whole(&numbers(old)), whole(&numbers(new))));
    let only_new = new.iter().filter(|(name, _)| !old.iter().any(|(known, _)| known == name));
    let names = old.iter().chain(only_new).map(|(name, _)| *name);
    let names = names.filter(|name| !is_other_algorithm || !OF_ALGORITHMS.contains(name));
    let parts =
        names.map(|name| (name, of(old, name), of(new, name))).filter(|(_, old, new)| old != new);
    numbers.into_iter().chain(parts).collect()
}

/// Returns the parts that say how the limit counts.
fn numbers(parts: &Parts) -> Parts {
    parts.iter().filter(|(name, _)| OF_ALGORITHMS.contains(name)).cloned().collect()
}

/// Returns a whole limit as text, without what is so by default.
pub(super) fn whole(parts: &Parts) -> String {
    let is_usual = |(name, value): &&(&str, String)| {
        let usual = [
            ("mode", "enforce"),
            ("precision", "exact"),
            ("on_store_failure", "local"),
            ("on_lost", "finish"),
        ];
        usual.contains(&(*name, value.as_str()))
    };
    let part = |(name, value): &(&str, String)| match *name {
        "rate" => value.clone(),
        "at_most" => format!("at most {value}"),
        name => format!("{name} {value}"),
    };
    let parts = parts.iter().filter(|part| !is_usual(part)).map(part);
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns every limit of a tier by its name.
fn described(tier: &TierLimits) -> BTreeMap<String, Parts> {
    let mut limits = BTreeMap::new();
    if let LimitSpec::Limit(terms) = &tier.defaults {
        limits.insert("default".to_owned(), of_terms(terms));
    }
    for endpoint in &tier.endpoints {
        let parts = match &endpoint.limit {
            LimitSpec::Off => vec![("rate", "off".to_owned())],
            LimitSpec::Limit(terms) => of_terms(terms),
        };
        limits.insert(endpoint.path.clone(), parts);
    }
    for Rule { name, when, per, cost, terms, .. } in &tier.limits {
        let mut parts = of_terms(terms);
        if *per != Per::Client {
            parts.push(("per", words::per(per)));
        }
        if *cost != RuleCost::Request {
            parts.push(("cost", words::cost(cost)));
        }
        let when = conditions(when);
        if !when.is_empty() {
            parts.push(("when", when));
        }
        limits.insert(name.clone(), parts);
    }
    limits
}

/// Returns what every kind of limit has.
fn of_terms(terms: &Terms) -> Parts {
    let Terms { algorithm, mode, precision, metering, .. } = terms;
    let metering = metering.as_ref();
    let mut parts = vec![(words::key(algorithm), words::numbers(algorithm, metering))];
    parts.extend(algorithm.rate().map(|rate| ("burst", words::amount(rate.burst(), metering))));
    parts.extend(words::term(algorithm).map(|term| ("hold_for", term)));
    if words::counts_denied(algorithm) {
        parts.push(("count_denied", "true".to_owned()));
    }
    if words::releases_unsettled(algorithm) {
        parts.push(("unsettled", "release".to_owned()));
    }
    parts.extend(words::counts(metering).map(|counts| ("counts", counts)));
    parts.push(("mode", words::mode(*mode).to_owned()));
    parts.push(("precision", words::precision(*precision).to_owned()));
    let failure = words::on_store_failure(terms.on_store_failure);
    parts.push(("on_store_failure", failure.to_owned()));
    if let Algorithm::Concurrent(concurrent) = algorithm {
        parts.push(("on_lost", words::on_lost(concurrent.on_lost()).to_owned()));
    }
    parts
}

/// Returns the conditions of a limit. The order of their values means nothing.
fn conditions(when: &When) -> String {
    let mut conditions = Vec::new();
    if !when.paths.is_empty() {
        conditions.push(format!("path {}", AnyOf(&sorted(&when.paths))));
    }
    if !when.methods.is_empty() {
        conditions.push(format!("method {}", AnyOf(&sorted(&when.methods))));
    }
    let mut headers: Vec<String> = when.headers.iter().map(header).collect();
    headers.sort();
    conditions.extend(headers);
    conditions.join(" and ")
}

fn header(HeaderMatch { name, values }: &HeaderMatch) -> String {
    match values.as_slice() {
        [] => format!("header {name}"),
        values => format!("header {name} {}", AnyOf(&sorted(values))),
    }
}

fn sorted<T: Display>(values: &[T]) -> Vec<String> {
    let mut values: Vec<String> = values.iter().map(ToString::to_string).collect();
    values.sort();
    values
}
