//! Finds the rule that the entries of a descriptor match.
//!
//! The search goes level by level, and the most specific match comes first: a literal value, then
//! the first pattern that matches, then the key alone. A descriptor matches only if it has exactly
//! as many entries as there are levels.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::{pattern::Pattern, rule::Rule};
use crate::messages::Entry;

/// The descriptors of one level.
#[derive(Debug, Default)]
pub(crate) struct Level {
    keys: HashMap<Box<[u8]>, Choices>,
    /// Patterns with a `*` in the key: they match key and value, joined by `_`.
    whole: Vec<Choice>,
}

/// The descriptors with one key.
#[derive(Debug, Default)]
struct Choices {
    values: HashMap<Box<[u8]>, Node>,
    patterns: Vec<Choice>,
    any: Option<Box<Node>>,
}

/// A descriptor whose value is a pattern.
#[derive(Debug)]
struct Choice {
    pattern: Pattern,
    node: Node,
}

/// One descriptor of a file.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its position in the level, since the first pattern that matches wins.
    pub(crate) place: usize,
    pub(crate) rule: Option<Rule>,
    pub(crate) next: Option<Box<Level>>,
    /// Whether metrics name the entry's value.
    pub(crate) value_to_metric: bool,
    /// Whether all values that match the pattern share one bucket.
    pub(crate) is_shared: bool,
}

/// How an entry was matched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fit<'r> {
    /// By its literal value.
    Value,
    /// By this pattern.
    Pattern(&'r Pattern),
    /// By its key alone.
    Key,
}

/// One step of a match.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'r> {
    pub(crate) fit: Fit<'r>,
    pub(crate) node: &'r Node,
}

/// The steps from the top level to a rule, one for each entry.
pub(crate) type MatchPath<'r> = SmallVec<[Step<'r>; 4]>;

impl Level {
    /// Adds a descriptor. No descriptor is added twice.
    pub(crate) fn add(&mut self, key: &str, value: Option<&str>, node: Node) {
        let in_key = key
            .contains('*')
            .then(|| value.map_or_else(|| key.to_owned(), |value| format!("{key}_{value}")));
        if let Some(pattern) = in_key.and_then(|text| Pattern::new(&text)) {
            self.whole.push(Choice { pattern, node });
            return;
        }
        let choices = self.keys.entry(key.as_bytes().into()).or_default();
        match value.map(|value| (value, Pattern::new(value))) {
            None => choices.any = Some(Box::new(node)),
            Some((_, Some(pattern))) => choices.patterns.push(Choice { pattern, node }),
            Some((value, None)) => {
                choices.values.insert(value.as_bytes().into(), node);
            }
        }
    }

    /// Returns the descriptor that `entry` matches.
    pub(crate) fn find<'r>(&'r self, entry: &Entry) -> Option<Step<'r>> {
        let choices = self.keys.get(&*entry.key);
        let named = choices.and_then(|choices| choices.values.get(&*entry.value));
        if let Some(node) = named {
            return Some(Step { fit: Fit::Value, node });
        }
        let of_key = choices.and_then(|choices| {
            choices.patterns.iter().find(|choice| choice.pattern.fits(&entry.value))
        });
        let first = [of_key, self.fitting_whole(entry)]
            .into_iter()
            .flatten()
            .min_by_key(|choice| choice.node.place);
        if let Some(Choice { pattern, node, .. }) = first {
            return Some(Step { fit: Fit::Pattern(pattern), node });
        }
        choices?.any.as_deref().map(|node| Step { fit: Fit::Key, node })
    }

    fn fitting_whole(&self, entry: &Entry) -> Option<&Choice> {
        if self.whole.is_empty() {
            return None;
        }
        let whole = [&*entry.key, b"_", &*entry.value].concat();
        self.whole.iter().find(|choice| choice.pattern.fits(&whole))
    }

    /// Returns the rule that `entries` match, and the steps to it.
    pub(crate) fn follow<'r>(&'r self, entries: &[Entry]) -> Option<(MatchPath<'r>, &'r Rule)> {
        let (last, before) = entries.split_last()?;
        let (mut level, mut path) = (self, MatchPath::new());
        for entry in before {
            let step = level.find(entry)?;
            path.push(step);
            level = step.node.next.as_deref()?;
        }
        let step = level.find(last)?;
        path.push(step);
        step.node.rule.as_ref().map(|rule| (path, rule))
    }
}
