//! Finds the most specific of many path patterns, each of which covers everything below it.

use crate::policy::pattern::{Segments, segments};

/// Values by path pattern: `/a/b` covers `/a/b` and everything below it, `*` stands for one
/// segment.
///
/// Of the patterns that cover a path, the one with the most segments is chosen. Among equally long
/// ones the first difference from the left decides, where a literal precedes `*`.
#[derive(Clone, Debug)]
pub(super) struct Endpoints<T> {
    nodes: Vec<Node<T>>,
    /// Every pattern with its node, the longest first, and `/` as an empty one; `None` when there
    /// are many patterns, or one contains a `*`.
    few: Option<Vec<(Box<str>, usize)>>,
}

/// Up to this number, it is faster to compare the patterns one by one than to split the path.
const FEW: usize = 12;

#[derive(Clone, Debug)]
struct Node<T> {
    /// Sorted, for binary search.
    literals: Vec<(Box<str>, usize)>,
    star: Option<usize>,
    value: Option<T>,
}

impl<T> Node<T> {
    const EMPTY: Self = Self { literals: Vec::new(), star: None, value: None };

    /// Returns where the literal is, or where to insert it.
    fn place(&self, segment: &str) -> Result<usize, usize> {
        self.literals.binary_search_by(|(literal, _)| (**literal).cmp(segment))
    }

    /// Returns the child node of the literal.
    fn literal(&self, segment: &str) -> Option<usize> {
        // In a short list, testing for equality is faster than comparing for order.
        let place = match self.literals.len() {
            0 => None,
            1..=8 => self.literals.iter().position(|(literal, _)| **literal == *segment),
            _ => self.place(segment).ok(),
        };
        place.map(|place| self.literals[place].1)
    }
}

impl<T> Endpoints<T> {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::EMPTY], few: Some(Vec::new()) }
    }

    /// Inserts `value` for `pattern`, which is in normal form, and returns the value that it
    /// replaces.
    pub(super) fn insert(&mut self, pattern: &str, value: T) -> Option<T> {
        let mut at = 0;
        for segment in segments(pattern) {
            at = self.child(at, segment);
        }
        let before = self.nodes[at].value.replace(value);
        if before.is_none() {
            self.list(pattern, at);
        }
        before
    }

    fn list(&mut self, pattern: &str, node: usize) {
        let literal = segments(pattern).all(|segment| segment != "*");
        self.few = self.few.take().filter(|few| literal && few.len() < FEW).map(|mut few| {
            few.push((pattern.trim_end_matches('/').into(), node));
            few.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
            few
        });
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
            _ => match node.place(segment) {
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

    /// Returns the values of all patterns.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.nodes.iter().filter_map(|node| node.value.as_ref())
    }

    /// Returns the value of the most specific pattern that covers `path`, which is in normal form,
    /// among the values that are `wanted`.
    pub(super) fn find(&self, path: &str, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        if let Some(few) = &self.few {
            // Of two literal patterns that cover one path, the longer one has more segments.
            let mut covering = few.iter().filter(|(pattern, _)| covers(pattern, path));
            return covering.find_map(|&(_, node)| {
                self.nodes[node].value.as_ref().filter(|value| wanted(value))
            });
        }
        let mut best = None;
        self.search(0, 0, segments(path), &wanted, &mut best);
        best.map(|(_, value)| value)
    }

    /// Searches literals first, so that of equally long patterns the first that is found is the
    /// most specific.
    fn search<'t>(
        &'t self,
        mut at: usize,
        mut depth: usize,
        mut rest: Segments<'_>,
        wanted: &impl Fn(&T) -> bool,
        best: &mut Option<(usize, &'t T)>,
    ) {
        loop {
            let node = &self.nodes[at];
            if let Some(value) = node.value.as_ref().filter(|value| wanted(value))
                && best.is_none_or(|(deepest, _)| depth > deepest)
            {
                *best = Some((depth, value));
            }
            let Some(segment) = rest.next() else { return };
            depth += 1;
            at = match (node.literal(segment), node.star) {
                (Some(literal), Some(star)) => {
                    self.search(literal, depth, rest.clone(), wanted, best);
                    star
                }
                (Some(next), None) | (None, Some(next)) => next,
                (None, None) => return,
            };
        }
    }
}

/// Returns whether `path` is `pattern`, which contains no `*`, or is below it. The empty pattern
/// covers everything.
fn covers(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (pattern.as_bytes(), path.as_bytes());
    // The byte after the pattern's length excludes most paths without comparing the text.
    path.split_at_checked(pattern.len()).is_some_and(|(start, below)| {
        below.first().is_none_or(|&next| next == b'/') && start == pattern
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoints(patterns: &[&str]) -> Endpoints<String> {
        let mut endpoints = Endpoints::new();
        for pattern in patterns {
            assert_eq!(endpoints.insert(pattern, (*pattern).to_owned()), None);
        }
        endpoints
    }

    #[test]
    fn the_most_specific_pattern_is_found() {
        let endpoints = endpoints(&["/a/b", "/a", "/a/b/c/d", "/a/*/c", "/*/b/c", "/x/*"]);
        for (path, expected) in [
            ("/a", Some("/a")),
            ("/ab", None),
            ("/a/b", Some("/a/b")),
            ("/a/bc", Some("/a")),
            ("/a/b/x", Some("/a/b")),
            ("/a/b/c", Some("/a/*/c")),
            ("/a/b/c/d/e", Some("/a/b/c/d")),
            ("/a/x/c/y", Some("/a/*/c")),
            ("/y/b/c", Some("/*/b/c")),
            ("/y/b", None),
            ("/x", None),
            ("/x/y/z", Some("/x/*")),
            ("/", None),
        ] {
            assert_eq!(endpoints.find(path, |_| true).map(String::as_str), expected, "{path}");
        }
    }

    #[test]
    fn the_root_covers_everything() {
        let endpoints = endpoints(&["/"]);
        assert_eq!(endpoints.find("/", |_| true).map(String::as_str), Some("/"));
        assert_eq!(endpoints.find("/a/b", |_| true).map(String::as_str), Some("/"));
    }

    #[test]
    fn unwanted_values_are_skipped() {
        let endpoints = endpoints(&["/a", "/a/b"]);
        assert_eq!(
            endpoints.find("/a/b/c", |pattern| pattern != "/a/b").map(String::as_str),
            Some("/a")
        );
    }

    #[test]
    fn inserting_a_pattern_again_returns_the_old_value() {
        let mut endpoints = endpoints(&["/a/*"]);
        assert_eq!(endpoints.insert("/a/*", "new".to_owned()), Some("/a/*".to_owned()));
        assert_eq!(endpoints.find("/a/b", |_| true).map(String::as_str), Some("new"));
    }

    /// Returns how specific `pattern` is if it covers `path`: its length, then whether each segment
    /// is a literal.
    fn specificity(pattern: &str, path: &str) -> Option<(usize, Vec<bool>)> {
        let (pattern, path): (Vec<_>, Vec<_>) =
            (segments(pattern).collect(), segments(path).collect());
        let covers = pattern.len() <= path.len()
            && pattern
                .iter()
                .zip(&path)
                .all(|(wanted, segment)| *wanted == "*" || wanted == segment);
        covers.then(|| (pattern.len(), pattern.iter().map(|segment| *segment != "*").collect()))
    }

    fn path(segments: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(segments), 0..most)
            .prop_map(|segments| format!("/{}", segments.join("/")))
    }

    /// Patterns with and without stars, few and many, so that both ways to search are tested.
    fn patterns() -> impl Strategy<Value = std::collections::HashSet<String>> {
        use prop::collection::hash_set;
        prop_oneof![
            hash_set(path(&["a", "b", "c", "*"], 5), 0..12),
            hash_set(path(&["a", "b", "c", "bc"], 5), 0..FEW),
            hash_set(path(&["a", "b", "c", "bc"], 5), FEW..3 * FEW),
        ]
    }

    proptest! {
        #[test]
        fn the_pattern_that_is_found_is_the_most_specific_by_definition(
            patterns in patterns(),
            path in path(&["a", "b", "c", "bc", "d"], 7),
            unwanted in path(&["a", "b", "c", "*"], 5),
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let wanted = patterns.iter().filter(|pattern| **pattern != unwanted);
            let covering =
                wanted.filter_map(|pattern| Some((specificity(pattern, &path)?, *pattern)));
            let expected = covering.max();
            let found = endpoints(&patterns);
            let found = found.find(&path, |pattern| *pattern != unwanted);
            prop_assert_eq!(found.map(String::as_str), expected.map(|(_, pattern)| pattern));
        }
    }
}
