//! Limits, and decisions made on full buckets.

use std::sync::Arc;

use sluice_core::{Action, Algorithm, Bucket, Check, Cost, Decision, Limit, Source, Subject, Tag, Tagger, Timestamp, TokenBucket};

pub(crate) fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let numbers = TokenBucket::new(rate.parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(numbers)).unwrap())
}

pub(crate) fn tag() -> Tag {
    Tagger::new(b"").tag(Subject::Client(b"alice"))
}

/// The decision on full buckets, of which each limit is asked its cost.
pub(crate) fn check_of(action: Action, parts: &[(&Arc<Limit>, u64)], now: Timestamp) -> Decision {
    let check = parts.iter().fold(Check::new(action), |check, (limit, cost)| check.with(limit, tag(), Cost::new(*cost).unwrap()));
    let mut buckets: Vec<_> = parts.iter().map(|(limit, _)| Bucket::full(limit.numbers(), now)).collect();
    check.decide(&mut buckets, now, Source::Store)
}
