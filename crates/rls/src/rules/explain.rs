//! Explains which rule a descriptor matches, and why the others do not, without deciding a call.
//!
//! The rules are compiled and searched as for calls, so that the two cannot disagree.

use bytes::Bytes;
use sluice_config::rls::{self, RlsSettings};
use sluice_core::{Cost, OnStoreFailure, Part, Tagger};
use sluice_telemetry::Recorders;

use super::{
    Effect, Level, Looks, RuleMatch, Rules,
    tree::{Fit, Node},
};
use crate::messages::Entry;

/// What the rules of a domain do with a descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExplainedDescriptor {
    /// The rule that it matches.
    pub rule: Option<ExplainedRule>,
    /// The other rules of the domain, in the order of their files.
    pub others: Vec<OtherRules>,
}

/// The rule that a descriptor matches.
#[derive(Debug)]
#[non_exhaustive]
pub struct ExplainedRule {
    /// Its path, by which metrics call it: the domain, and the key and value of each level.
    pub path: String,
    /// Its own name; empty without one.
    pub name: String,
    /// What it does.
    pub effect: RuleEffect,
    /// Whether it is in shadow mode: it decides but never denies.
    pub is_shadow: bool,
    /// Whether it is in quota mode: it denies only together with all other rules in quota mode
    /// that a call matches.
    pub is_quota: bool,
    /// Whether all values that match one of its patterns share a bucket.
    pub is_shared: bool,
    /// The names of rules that do not count in a call that matches this rule.
    pub replaces: Vec<String>,
    /// What happens to usage that does not fit.
    pub overrun: rls::Overrun,
}

/// What a rule does with a descriptor.
#[derive(Debug)]
pub enum RuleEffect {
    /// Allows everything, without counting.
    Unlimited,
    /// Denies everything.
    Blocks,
    /// Takes tokens from a bucket.
    Takes(Part),
}

/// A descriptor of a rules file that does not match, and the rules at and below it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherRules {
    /// Its path.
    pub path: String,
    /// How many rules are at and below it; at least 1.
    pub rules: usize,
    /// Why they do not match.
    pub obstacle: RuleObstacle,
}

/// Why rules do not match a descriptor. Entries are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleObstacle {
    /// This entry has another key.
    Key(usize),
    /// This entry has another value.
    Value(usize),
    /// The descriptor at this path fits the entry more specifically.
    MoreSpecific {
        /// Which entry.
        entry: usize,
        /// The path of what fits better.
        path: String,
    },
    /// The rule needs more entries.
    TooFewEntries,
    /// The rule needs fewer entries.
    TooManyEntries,
}

/// Explains what the rules in `settings` do with a descriptor that has these `entries` in `domain`
/// and asks for `cost`; `None` if the domain has no rules. `on_store_failure` and `tagger` are
/// those of the limiter.
#[must_use]
pub fn explain(
    settings: &RlsSettings,
    on_store_failure: OnStoreFailure,
    tagger: &Tagger,
    domain: &str,
    entries: &[(String, String)],
    cost: Cost,
) -> Option<ExplainedDescriptor> {
    let (recorders, looks) = (Recorders::disabled(), Looks::default());
    let rules = Rules::new(settings, on_store_failure, tagger.clone(), &recorders, &looks);
    let configured = settings.domains.iter().find(|known| known.name == domain)?;
    let compiled = rules.domain(domain.as_bytes())?;
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let entries: Vec<Entry> =
        entries.iter().map(|(key, value)| Entry { key: bytes(key), value: bytes(value) }).collect();
    let mut search = Search { entries: &entries, matched: None, others: Vec::new() };
    search.descend(&configured.descriptors, &compiled.top, domain, 0);
    let Search { matched, others, .. } = search;
    let rule = compiled.find(&entries).zip(matched).map(|(found, (path, descriptor))| {
        let RuleMatch { rule, path: steps } = &found;
        let effect = match &rule.effect {
            Effect::AllowAll => RuleEffect::Unlimited,
            Effect::DenyAll => RuleEffect::Blocks,
            Effect::Limit(tokens) => {
                let tag = rules.tag(compiled, &entries, Some(&found));
                RuleEffect::Takes(Part::new(tokens.limit.clone(), tag, cost))
            }
        };
        let shares = |step: &super::tree::Step<'_>| {
            matches!(step.fit, Fit::Pattern(_)) && step.node.is_shared
        };
        ExplainedRule {
            path,
            name: rule.name.to_string(),
            effect,
            is_shadow: rule.is_shadow,
            is_quota: rule.is_quota,
            is_shared: steps.iter().any(shares),
            replaces: rule.replaces.iter().map(ToString::to_string).collect(),
            overrun: descriptor.limit.as_ref().map(|limit| limit.overrun).unwrap_or_default(),
        }
    });
    Some(ExplainedDescriptor { rule, others })
}

/// A search of the rules, in the order of their files.
struct Search<'s> {
    entries: &'s [Entry],
    /// The descriptor whose rule matches, and its path.
    matched: Option<(String, &'s rls::Descriptor)>,
    others: Vec<OtherRules>,
}

impl<'s> Search<'s> {
    /// Searches `descriptors`, of which `level` is compiled, for the entry at index `place`.
    fn descend(
        &mut self,
        descriptors: &'s [rls::Descriptor],
        level: &Level,
        parent: &str,
        place: usize,
    ) {
        let Some(entry) = self.entries.get(place) else {
            for descriptor in descriptors {
                let rules = descriptor.rules();
                self.leave_out(descriptor.path(parent), rules, RuleObstacle::TooFewEntries);
            }
            return;
        };
        let chosen = level.find(entry).map(|step| step.node);
        for (index, descriptor) in descriptors.iter().enumerate() {
            let path = descriptor.path(parent);
            match chosen {
                Some(node) if node.place == index => self.enter(descriptor, node, &path, place),
                _ => {
                    let better = chosen.map(|node| descriptors[node.place].path(parent));
                    let obstacle = obstacle(descriptor, entry, place + 1, better);
                    self.leave_out(path, descriptor.rules(), obstacle);
                }
            }
        }
    }

    /// Goes on with the descriptor that the entry at index `place` matches.
    fn enter(&mut self, descriptor: &'s rls::Descriptor, node: &Node, path: &str, place: usize) {
        if descriptor.limit.is_some() {
            if place + 1 == self.entries.len() {
                self.matched = Some((path.to_owned(), descriptor));
            } else {
                self.leave_out(path.to_owned(), 1, RuleObstacle::TooManyEntries);
            }
        }
        if let Some(next) = node.next.as_deref() {
            self.descend(&descriptor.descriptors, next, path, place + 1);
        }
    }

    fn leave_out(&mut self, path: String, rules: usize, obstacle: RuleObstacle) {
        if rules > 0 {
            self.others.push(OtherRules { path, rules, obstacle });
        }
    }
}

/// Returns why `entry`, with this number, does not match `descriptor`. `better` is the path of what
/// it matches.
fn obstacle(
    descriptor: &rls::Descriptor,
    entry: &Entry,
    number: usize,
    better: Option<String>,
) -> RuleObstacle {
    let mut alone = Level::default();
    let node = Node { place: 0, rule: None, next: None, value_to_metric: false, is_shared: false };
    alone.add(&descriptor.key, descriptor.value.as_deref(), node);
    match better {
        Some(path) if alone.find(entry).is_some() => {
            RuleObstacle::MoreSpecific { entry: number, path }
        }
        _ if descriptor.key.as_bytes() == &*entry.key => RuleObstacle::Value(number),
        _ => RuleObstacle::Key(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::rules;

    const RULES: &str = "{domain: edge, descriptors: [\
        {key: path, rate_limit: {unit: minute, requests_per_unit: 9}, descriptors: [\
            {key: method, rate_limit: {unit: day, requests_per_unit: 2}}]}, \
        {key: path, value: '/a/*', rate_limit: {unit: hour, requests_per_unit: 5, name: a}, \
            share_threshold: true}, \
        {key: path, value: /a/b, rate_limit: {unlimited: true}, descriptors: [\
            {key: user, value: bad, rate_limit: {unit: second, requests_per_unit: 0}}, \
            {key: user}]}, \
        {key: free}]}";

    fn explained(entries: &[(&str, &str)]) -> ExplainedDescriptor {
        let entries: Vec<_> =
            entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let cost = Cost::new(3).unwrap();
        let (settings, tagger) = (rules(RULES), Tagger::new(b""));
        explain(&settings, OnStoreFailure::Local, &tagger, "edge", &entries, cost).unwrap()
    }

    fn others(explained: &ExplainedDescriptor) -> Vec<(&str, usize, &RuleObstacle)> {
        let others = explained.others.iter();
        others.map(|other| (&*other.path, other.rules, &other.obstacle)).collect()
    }

    #[test]
    fn the_rule_and_its_bucket_are_those_of_a_call() {
        let of = |value: &str| explained(&[("path", value)]).rule.unwrap();
        let (one, two) = (of("/a/1"), of("/a/2"));
        assert_eq!((&*one.path, &*one.name, one.is_shared), ("edge.path_/a/*", "a", true));
        let bucket = |rule: &ExplainedRule| match &rule.effect {
            RuleEffect::Takes(part) => {
                (part.bucket(), part.cost.tokens(), part.limit.name().to_owned())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(bucket(&one), bucket(&two), "the values share a bucket");
        assert_eq!((bucket(&one).1, &*bucket(&one).2), (3, "a"));
        assert_ne!(bucket(&of("/1")).0, bucket(&of("/2")).0);
        assert!(matches!(of("/a/b").effect, RuleEffect::Unlimited));
        let blocked = explained(&[("path", "/a/b"), ("user", "bad")]).rule.unwrap();
        assert!(matches!(blocked.effect, RuleEffect::Blocks));
    }

    #[test]
    fn every_other_rule_says_why_it_does_not_match() {
        let better =
            |entry, path: &str| RuleObstacle::MoreSpecific { entry, path: path.to_owned() };
        let exact = "edge.path_/a/b";
        assert_eq!(
            others(&explained(&[("path", "/a/b")])),
            [
                ("edge.path", 2, &better(1, exact)),
                ("edge.path_/a/*", 1, &better(1, exact)),
                ("edge.path_/a/b.user_bad", 1, &RuleObstacle::TooFewEntries),
            ]
        );
        let deeper = explained(&[("path", "/x"), ("method", "GET")]);
        assert_eq!(deeper.rule.as_ref().unwrap().path, "edge.path.method");
        assert_eq!(
            others(&deeper),
            [
                ("edge.path", 1, &RuleObstacle::TooManyEntries),
                ("edge.path_/a/*", 1, &RuleObstacle::Value(1)),
                ("edge.path_/a/b", 2, &RuleObstacle::Value(1)),
            ]
        );
        for entries in [&[("free", "x")][..], &[("path", "/a/b"), ("user", "good")], &[]] {
            let explained = explained(entries);
            assert!(explained.rule.is_none(), "{entries:?}");
            let rules: usize = explained.others.iter().map(|other| other.rules).sum();
            assert_eq!(rules, 5, "{entries:?}: {:?}", explained.others);
        }
        let other_key = explained(&[("ip", "::1")]);
        assert!(other_key.others.iter().all(|other| other.obstacle == RuleObstacle::Key(1)));
    }

    #[test]
    fn an_unknown_domain_has_no_rules() {
        let (settings, tagger) = (rules(RULES), Tagger::new(b""));
        let entries = [("path".to_owned(), "/".to_owned())];
        let explained =
            explain(&settings, OnStoreFailure::Local, &tagger, "x", &entries, Cost::NONE);
        assert!(explained.is_none());
    }
}
