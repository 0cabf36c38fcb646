//! What the tests of the book and of the store share.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, Limit, Part, Precision, Subject, Tagger, Timestamp,
};

use crate::{ManualClock, MemoryStore};

pub(super) type Memory = Arc<MemoryStore<Arc<ManualClock>>>;

/// Half a second into a term.
pub(super) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_500_000)))
}

pub(super) fn memory(clock: &Arc<ManualClock>) -> Memory {
    Arc::new(MemoryStore::with_clock(Arc::clone(clock)))
}

pub(super) fn limit(name: &str, rate: &str, precision: Precision) -> Arc<Limit> {
    let limit = Limit::new(name, Algorithm::TokenBucket(rate.parse().unwrap())).unwrap();
    Arc::new(limit.with_precision(precision))
}

pub(super) fn part(limit: &Arc<Limit>, cost: u64) -> Part {
    let tag = Tagger::new(b"").tag(Subject::Everyone { limit: limit.name() });
    Part::new(Arc::clone(limit), tag, Cost::new(cost).unwrap())
}

/// A check that does `action` with `cost` in the bucket of each limit.
pub(super) fn check(action: Action, limits: &[&Arc<Limit>], cost: u64) -> Check {
    let mut check = Check::new(action);
    limits.iter().for_each(|limit| check.push(part(limit, cost)));
    check
}

/// The tokens that the store's bucket of `limit` holds.
pub(super) fn level(store: &Memory, limit: &Arc<Limit>) -> u64 {
    let peek = check(Action::Peek, &[limit], 1);
    store.decide_now(&peek).verdicts()[0].remaining
}

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
