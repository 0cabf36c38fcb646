use std::sync::Arc;

/// The policy's pattern that covers a request's path, or `other`.
///
/// [`RateLimitLayer`](super::RateLimitLayer) leaves it among the extensions of every response to a
/// request that it decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchedEndpoint(Arc<str>);

impl MatchedEndpoint {
    /// Returns the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Arc<str>> for MatchedEndpoint {
    fn from(pattern: Arc<str>) -> Self {
        Self(pattern)
    }
}
