use std::sync::Arc;

/// The policy's pattern that covers a request's path, or `other`: what
/// [`RateLimitLayer`](super::RateLimitLayer) leaves among the extensions of every answer to a
/// request that it decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Arc<str>);

impl Endpoint {
    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Arc<str>> for Endpoint {
    fn from(pattern: Arc<str>) -> Self {
        Self(pattern)
    }
}
