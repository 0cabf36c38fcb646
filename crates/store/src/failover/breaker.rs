//! Whether the store is asked.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use sluice_core::Timestamp;

use crate::StoreError;

/// Failures, one after the other, that open the breaker.
///
/// Three, since the first two may be one slow call and the call that waited behind it (a fork, a
/// failover in the making), and each more would cost every caller another deadline while the store
/// hangs.
const FAILURES_TO_OPEN: u32 = 3;

const HALF_OPEN: u32 = u32::MAX - 1;
const OPEN: u32 = u32::MAX;

/// Whether checks go to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// They do.
    Closed,
    /// The store answers again, and is told first what was admitted meanwhile; checks do not go
    /// there yet.
    HalfOpen,
    /// The store is away: no check goes there, and none waits.
    Open,
}

impl BreakerState {
    /// The state's name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Counts failures, and remembers that the store is away.
///
/// A failure counts only when no other was counted since its call began. So the hundreds of checks
/// that wait in one hanging round trip are one failure together, and yet nobody who asks again and
/// again pays for more than [`FAILURES_TO_OPEN`] deadlines.
#[derive(Debug)]
pub(super) struct Breaker {
    /// The failures counted since the last success, or [`HALF_OPEN`] or [`OPEN`]. Read without the
    /// lock, changed under it.
    state: AtomicU32,
    record: Mutex<Record>,
}

/// What is told about the breaker.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Since when it is closed, or not.
    pub(super) since: Timestamp,
    /// How often it has opened.
    pub(super) opened: u64,
    /// The last failure, and when.
    pub(super) last_failure: Option<(Timestamp, StoreError)>,
}

/// A call to the store, from its begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    failures_before: u32,
}

impl Breaker {
    pub(super) fn closed(now: Timestamp) -> Self {
        Self {
            state: AtomicU32::new(0),
            record: Mutex::new(Record { since: now, opened: 0, last_failure: None }),
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Acquire) {
            OPEN => BreakerState::Open,
            HALF_OPEN => BreakerState::HalfOpen,
            _ => BreakerState::Closed,
        }
    }

    pub(super) fn observe(&self) -> (BreakerState, Record) {
        let record = self.record.lock();
        (self.state(), record.clone())
    }

    /// Lets a call through, unless the store is away.
    pub(super) fn admit(&self) -> Option<Call> {
        let failures_before = self.state.load(Ordering::Acquire);
        (failures_before < HALF_OPEN).then_some(Call { failures_before })
    }

    /// A call proved that the store takes writes.
    pub(super) fn succeeded(&self) {
        let failures = self.state.load(Ordering::Acquire);
        if (1..HALF_OPEN).contains(&failures) {
            // When this loses the race, another failure was counted just now, and it stands.
            let _ = self.state.compare_exchange(failures, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// A call failed.
    pub(super) fn failed(&self, call: Call, error: &StoreError, now: Timestamp) {
        let mut record = self.record.lock();
        record.last_failure = Some((now, error.clone()));
        let failures = call.failures_before + 1;
        let next = if failures >= FAILURES_TO_OPEN { OPEN } else { failures };
        let counted = self
            .state
            .compare_exchange(call.failures_before, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if counted && next == OPEN {
            record.since = now;
            record.opened += 1;
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the store is away: limits answer by themselves until it is back"
            );
        }
    }

    /// The store answered a probe: an open breaker is half open now.
    pub(super) fn answered(&self) {
        let _ = self.state.compare_exchange(OPEN, HALF_OPEN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The store did not answer a probe, or failed again after one.
    pub(super) fn still_away(&self, error: &StoreError, now: Timestamp) {
        let mut record = self.record.lock();
        record.last_failure = Some((now, error.clone()));
        let _ = self.state.compare_exchange(HALF_OPEN, OPEN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The store is back and knows what it missed: a half-open breaker closes.
    pub(super) fn recovered(&self, now: Timestamp) {
        let mut record = self.record.lock();
        if self.state.compare_exchange(HALF_OPEN, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            tracing::info!(away = ?now.since(record.since), "the store is back");
            record.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    fn fail(breaker: &Breaker) {
        let call = breaker.admit().unwrap();
        breaker.failed(call, &StoreError::BreakerOpen, NOW);
    }

    #[test]
    fn three_failures_one_after_the_other_open_it() {
        let breaker = Breaker::closed(NOW);
        fail(&breaker);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit().is_none());
    }

    #[test]
    fn failures_that_began_together_count_once() {
        let breaker = Breaker::closed(NOW);
        let together: Vec<Call> = (0..100).map(|_| breaker.admit().unwrap()).collect();
        for call in together {
            breaker.failed(call, &StoreError::BreakerOpen, NOW);
        }
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn a_success_forgives_what_came_before() {
        let breaker = Breaker::closed(NOW);
        for _ in 0..10 {
            fail(&breaker);
            fail(&breaker);
            breaker.succeeded();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn what_ends_late_neither_closes_nor_opens_it() {
        let breaker = Breaker::closed(NOW);
        let late = breaker.admit().unwrap();
        (0..3).for_each(|_| fail(&breaker));
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.answered();
        breaker.recovered(NOW);
        (0..2).for_each(|_| fail(&breaker));
        breaker.failed(late, &StoreError::BreakerOpen, NOW);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_relapse_is_the_same_outage() {
        let breaker = Breaker::closed(NOW);
        (0..3).for_each(|_| fail(&breaker));
        breaker.answered();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit().is_none());
        breaker.still_away(&StoreError::BreakerOpen, NOW);
        breaker.recovered(NOW);
        let (state, record) = breaker.observe();
        assert_eq!(
            (state, record.opened),
            (BreakerState::Open, 1),
            "only a store that answered can be back"
        );
    }
}
