//! Limits, and decisions made on full buckets.

use std::sync::Arc;

use sluice_core::{
    Action, Algorithm, Bucket, Check, Cost, Decision, Limit, Rate, Source, Subject, Tag, Tagger,
    Timestamp,
};

/// The limit `name` of `rate` (`60/minute`) and `burst`.
///
/// # Panics
/// When there can be no such limit.
#[must_use]
pub fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let rate = rate.parse().unwrap_or_else(|error| panic!("{error}"));
    let numbers = Rate::new(rate, burst).unwrap_or_else(|error| panic!("{error}"));
    Arc::new(
        Limit::new(name, Algorithm::TokenBucket(numbers)).unwrap_or_else(|error| panic!("{error}")),
    )
}

/// One client's tag.
#[must_use]
pub fn tag() -> Tag {
    Tagger::new(b"").tag(Subject::Client(b"alice"))
}

/// The decision on full buckets, of which each limit is asked its cost.
///
/// # Panics
/// When a cost is none.
#[must_use]
pub fn check_of(action: Action, parts: &[(&Arc<Limit>, u64)], now: Timestamp) -> Decision {
    let cost = |tokens| Cost::new(tokens).unwrap_or_else(|error| panic!("{error}"));
    let check = parts
        .iter()
        .fold(Check::new(action), |check, (limit, tokens)| check.with(limit, tag(), cost(*tokens)));
    let mut buckets: Vec<_> =
        parts.iter().map(|(limit, _)| Bucket::full(limit.rate(), now)).collect();
    check.decide(&mut buckets, now, Source::Store)
}
