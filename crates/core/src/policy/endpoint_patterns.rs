//! A list of path patterns that label requests without limiting them.

use std::sync::Arc;

use crate::policy::{
    endpoints::Endpoints,
    path::{self, NormalPath},
    pattern::{self, EndpointPattern, PatternError},
};

/// Path patterns, written and compared like those of a policy's endpoints.
///
/// A pattern covers its path and everything below it; `*`, `{name}` and `:name` stand for one
/// segment. Of the patterns that cover a path, the most specific one is found.
///
/// ```
/// use sluice_core::{EndpointPatterns, NormalPath};
///
/// let mut patterns = EndpointPatterns::default();
/// patterns.insert("/orders/{id}")?;
/// let path = NormalPath::parse("/orders/17/items?page=2")?;
/// assert_eq!(patterns.find(&path).map(|pattern| &**pattern), Some("/orders/{id}"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EndpointPatterns {
    /// Each pattern's text, in normal form with its names.
    texts: Endpoints<Arc<str>>,
    count: usize,
}

impl EndpointPatterns {
    /// Adds a pattern. Returns the one that covers the same paths, which it replaces.
    ///
    /// # Errors
    /// When it is not a pattern of an endpoint.
    pub fn insert(&mut self, pattern: &str) -> Result<Option<Arc<str>>, PatternError> {
        let EndpointPattern { path, named } = pattern::endpoint(pattern)?;
        let before = self.texts.insert(&path, path::printable(&named).into());
        self.count += usize::from(before.is_none());
        Ok(before)
    }

    /// Returns the most specific pattern that covers `path`, in normal form and printable.
    #[must_use]
    pub fn find(&self, path: &NormalPath<'_>) -> Option<&Arc<str>> {
        self.texts.find(path.as_str(), |_| true)
    }

    /// Returns the most specific pattern that covers every path that `pattern` covers.
    ///
    /// # Errors
    /// When `pattern` is not a pattern of an endpoint.
    pub fn find_covering(&self, pattern: &str) -> Result<Option<&Arc<str>>, PatternError> {
        let EndpointPattern { path, .. } = pattern::endpoint(pattern)?;
        Ok(self.texts.find(&path, |_| true))
    }

    /// Returns the patterns, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.texts.values()
    }

    /// Returns how many patterns there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Returns whether there are no patterns.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for EndpointPatterns {
    fn default() -> Self {
        Self { texts: Endpoints::new(), count: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> EndpointPatterns {
        let mut patterns = EndpointPatterns::default();
        for pattern in list {
            assert_eq!(patterns.insert(pattern), Ok(None), "{pattern}");
        }
        patterns
    }

    #[test]
    fn the_most_specific_pattern_is_found_as_it_is_written() {
        let patterns = patterns(&["/orders/{id}", "/orders/{id}/items", "/café/:name", "/"]);
        assert_eq!(patterns.len(), 4);
        for (path, expected) in [
            ("/orders/17", "/orders/{id}"),
            ("//orders/17/items/3?x", "/orders/{id}/items"),
            ("/caf%C3%A9/x", "/caf%C3%A9/:name"),
            ("/orders", "/"),
        ] {
            let path = NormalPath::parse(path).expect("a path");
            assert_eq!(patterns.find(&path).map(|pattern| &**pattern), Some(expected));
        }
    }

    #[test]
    fn a_pattern_replaces_one_that_differs_only_in_names() {
        let mut patterns = patterns(&["/orders/{id}"]);
        let before = patterns.insert("/orders/:number").expect("a pattern");
        assert_eq!(before.as_deref(), Some("/orders/{id}"));
        assert_eq!(patterns.len(), 1);
        assert!(patterns.insert("/orders/**").is_err());
    }

    #[test]
    fn a_covering_pattern_covers_all_paths_of_the_other() {
        let patterns = patterns(&["/a", "/b/7", "/c/{id}"]);
        for (pattern, expected) in [
            ("/a/{id}", Some("/a")),
            ("/a", Some("/a")),
            ("/b/{id}", None),
            ("/c/{x}/d", Some("/c/{id}")),
            ("/d", None),
        ] {
            let found = patterns.find_covering(pattern).expect("a pattern");
            assert_eq!(found.map(|pattern| &**pattern), expected, "{pattern}");
        }
    }
}
