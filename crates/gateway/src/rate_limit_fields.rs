//! Which header fields describe rate limits.

use http::HeaderName;

/// Returns whether a field describes rate limits: `X-RateLimit-*`, `RateLimit` and its drafts, and
/// those of Anthropic.
pub(crate) fn is_rate_limit_field(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "ratelimit"
        || ["x-ratelimit-", "x-rate-limit-", "ratelimit-", "anthropic-ratelimit-"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}
