//! Limits, and decisions on full buckets.

use std::sync::Arc;

use sluice_core::{
    Action, Algorithm, Bucket, Check, Cost, Decision, Limit, Rate, Source, Subject, Tag, Tagger,
    Timestamp,
};

/// Returns the limit `name` with `rate`, such as `60/minute`, and `burst`.
///
/// # Panics
/// When a value is invalid.
#[must_use]
pub fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let rate = rate.parse().unwrap_or_else(|error| panic!("{error}"));
    let numbers = Rate::new(rate, burst).unwrap_or_else(|error| panic!("{error}"));
    Arc::new(
        Limit::new(name, Algorithm::TokenBucket(numbers)).unwrap_or_else(|error| panic!("{error}")),
    )
}

/// Returns the tag of one client.
#[must_use]
pub fn tag() -> Tag {
    Tagger::new(b"").tag(Subject::Client(b"alice"))
}

/// Returns the decision on full buckets, from which each limit takes its cost.
///
/// # Panics
/// When a cost is invalid.
#[must_use]
pub fn check_of(action: Action, parts: &[(&Arc<Limit>, u64)], now: Timestamp) -> Decision {
    let cost = |tokens| Cost::new(tokens).unwrap_or_else(|error| panic!("{error}"));
    let check = parts
        .iter()
        .fold(Check::new(action), |check, (limit, tokens)| check.with(limit, tag(), cost(*tokens)));
    let mut buckets: Vec<_> =
        parts.iter().map(|(limit, _)| Bucket::full(limit.algorithm(), now)).collect();
    check.decide(&mut buckets, now, Source::Store)
}
