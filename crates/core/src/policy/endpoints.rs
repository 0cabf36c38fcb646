//! Finds the most specific of many path patterns, each of which covers all that lies below it.

use crate::policy::pattern::segments;

/// Values by path pattern: `/a/b` covers `/a/b` and everything below it, `*` stands for one segment.
///
/// The pattern of most segments wins; among equally long ones the first difference from the left decides, where a literal beats `*`.
#[derive(Clone, Debug)]
pub(super) struct Endpoints<T> {
    nodes: Vec<Node<T>>,
}

#[derive(Clone, Debug)]
struct Node<T> {
    /// In order, to be searched.
    literals: Vec<(Box<str>, usize)>,
    star: Option<usize>,
    value: Option<T>,
}

impl<T> Node<T> {
    const EMPTY: Self = Self { literals: Vec::new(), star: None, value: None };

    fn literal(&self, segment: &str) -> Result<usize, usize> {
        self.literals.binary_search_by(|(literal, _)| (**literal).cmp(segment))
    }
}

impl<T> Endpoints<T> {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::EMPTY] }
    }

    /// Keeps `value` for `pattern`, which is in normal form; the value that was there before is handed back.
    pub(super) fn insert(&mut self, pattern: &str, value: T) -> Option<T> {
        let mut at = 0;
        for segment in segments(pattern) {
            at = self.child(at, segment);
        }
        self.nodes[at].value.replace(value)
    }

    fn child(&mut self, at: usize, segment: &str) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        let found = match (segment, node.star) {
            ("*", Some(star)) => return star,
            ("*", None) => {
                node.star = Some(next);
                next
            }
            _ => match node.literal(segment) {
                Ok(known) => node.literals[known].1,
                Err(place) => {
                    node.literals.insert(place, (segment.into(), next));
                    next
                }
            },
        };
        if found == next {
            self.nodes.push(Node::EMPTY);
        }
        found
    }

    /// The value of the most specific pattern that covers `path`, which is in normal form, of those that are `wanted`.
    pub(super) fn find(&self, path: &str, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        let mut best = None;
        self.search(0, 0, segments(path), &wanted, &mut best);
        best.map(|(_, value)| value)
    }

    /// Literals first, so that of equally deep finds the first is the most specific.
    fn search<'t, 'p>(
        &'t self,
        at: usize,
        depth: usize,
        mut rest: impl Iterator<Item = &'p str> + Clone,
        wanted: &impl Fn(&T) -> bool,
        best: &mut Option<(usize, &'t T)>,
    ) {
        let node = &self.nodes[at];
        if let Some(value) = node.value.as_ref().filter(|value| wanted(value))
            && best.is_none_or(|(deepest, _)| depth > deepest)
        {
            *best = Some((depth, value));
        }
        if node.literals.is_empty() && node.star.is_none() {
            return;
        }
        let Some(segment) = rest.next() else { return };
        if let Ok(known) = node.literal(segment) {
            self.search(node.literals[known].1, depth + 1, rest.clone(), wanted, best);
        }
        if let Some(star) = node.star {
            self.search(star, depth + 1, rest, wanted, best);
        }
    }
}
