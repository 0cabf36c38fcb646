//! The circuit breaker before one node of the store.

use std::{
    error::Error,
    sync::atomic::{AtomicU32, Ordering},
};

use parking_lot::Mutex;
use sluice_core::Timestamp;

use crate::{NodeId, StoreError};

/// Failures in a row that open the breaker.
///
/// Three, because the first two may be one slow call and the call that waited behind it (Redis
/// forked, or a failover began), and each further one would cost every caller another timeout while
/// the store hangs.
const FAILURES_TO_OPEN: u32 = 3;

const HALF_OPEN: u32 = u32::MAX - 1;
const OPEN: u32 = u32::MAX;

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Checks are sent to the store.
    Closed,
    /// The store responds again and is being charged for what was admitted without it. Checks are
    /// not sent to it yet.
    HalfOpen,
    /// The store is unavailable. Checks are not sent to it, so none waits.
    Open,
}

impl BreakerState {
    /// Returns the state's label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Counts failures of one node, and rejects calls while it is unavailable.
///
/// A failure counts only when no other failure was counted since its call began. So the hundreds of
/// checks that wait in one hanging round trip count as one failure, and a caller that retries still
/// waits for no more than [`FAILURES_TO_OPEN`] timeouts.
#[derive(Debug)]
pub(super) struct Breaker {
    node: NodeId,
    /// The failures counted since the last success, or [`HALF_OPEN`] or [`OPEN`]. Read without the
    /// lock; changed by failures and recoveries only under it.
    state: AtomicU32,
    history: Mutex<BreakerHistory>,
}

/// What a breaker remembers for reports.
#[derive(Clone, Debug)]
pub(super) struct BreakerHistory {
    /// When the breaker last closed, or last left the closed state if it is not closed now.
    pub(super) since: Timestamp,
    /// How often it has opened.
    pub(super) opened: u64,
    /// The time and the error of the last failure.
    pub(super) last_failure: Option<(Timestamp, StoreError)>,
}

/// A call that the breaker let through, for its outcome to be counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdmittedCall {
    /// The node that it goes to.
    pub(super) node: NodeId,
    failures_before: u32,
}

impl Breaker {
    pub(super) fn closed(node: NodeId, now: Timestamp) -> Self {
        let history = BreakerHistory { since: now, opened: 0, last_failure: None };
        Self { node, state: AtomicU32::new(0), history: Mutex::new(history) }
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Acquire) {
            OPEN => BreakerState::Open,
            HALF_OPEN => BreakerState::HalfOpen,
            _failures => BreakerState::Closed,
        }
    }

    pub(super) fn report(&self) -> (BreakerState, BreakerHistory) {
        let history = self.history.lock();
        (self.state(), history.clone())
    }

    /// Lets a call through, unless the node is unavailable.
    pub(super) fn admit(&self) -> Option<AdmittedCall> {
        let failures_before = self.state.load(Ordering::Acquire);
        (failures_before < HALF_OPEN).then_some(AdmittedCall { node: self.node, failures_before })
    }

    /// Records that a call proved that the store accepts writes.
    pub(super) fn call_succeeded(&self) {
        let failures = self.state.load(Ordering::Acquire);
        if (1..HALF_OPEN).contains(&failures) {
            // If this loses the race, another failure was counted just now, and that one counts.
            let _ = self.state.compare_exchange(failures, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Records that a call failed.
    pub(super) fn call_failed(&self, call: AdmittedCall, error: &StoreError, now: Timestamp) {
        let mut history = self.history.lock();
        history.last_failure = Some((now, error.clone()));
        let failures = call.failures_before + 1;
        let next = if failures >= FAILURES_TO_OPEN { OPEN } else { failures };
        let counted = self
            .state
            .compare_exchange(call.failures_before, next, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if counted && next == OPEN {
            history.since = now;
            history.opened += 1;
            tracing::warn!(
                node = self.node.index(),
                error = error as &dyn Error,
                "the store is unavailable: each limit's on_store_failure applies until it recovers"
            );
        }
    }

    /// Records that the store passed its probes: an open breaker becomes half-open.
    pub(super) fn probes_passed(&self) {
        let _ = self.state.compare_exchange(OPEN, HALF_OPEN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Records that the store failed a probe, or failed again after one.
    pub(super) fn recovery_failed(&self, error: &StoreError, now: Timestamp) {
        let mut history = self.history.lock();
        history.last_failure = Some((now, error.clone()));
        let _ = self.state.compare_exchange(HALF_OPEN, OPEN, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Records that the store has been charged for what it missed: a half-open breaker closes.
    pub(super) fn recovered(&self, now: Timestamp) {
        let mut history = self.history.lock();
        if self.state.compare_exchange(HALF_OPEN, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let outage = now.since(history.since);
            let node = self.node.index();
            tracing::info!(node, ?outage, "the store has recovered");
            history.since = now;
        }
    }

    /// Records that the node has no buckets any more, so that nothing has to be sent to it.
    pub(super) fn retired(&self, now: Timestamp) {
        let mut history = self.history.lock();
        if self.state.swap(0, Ordering::AcqRel) >= HALF_OPEN {
            history.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    fn fail(breaker: &Breaker) {
        let call = breaker.admit().unwrap();
        breaker.call_failed(call, &StoreError::BreakerOpen, NOW);
    }

    #[test]
    fn three_failures_in_a_row_open_the_breaker() {
        let breaker = Breaker::closed(NodeId::ONLY, NOW);
        fail(&breaker);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit().is_none());
    }

    #[test]
    fn failures_of_calls_that_began_together_count_once() {
        let breaker = Breaker::closed(NodeId::ONLY, NOW);
        let together: Vec<AdmittedCall> = (0..100).map(|_| breaker.admit().unwrap()).collect();
        for call in together {
            breaker.call_failed(call, &StoreError::BreakerOpen, NOW);
        }
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn a_success_resets_the_count_of_failures() {
        let breaker = Breaker::closed(NodeId::ONLY, NOW);
        for _ in 0..10 {
            fail(&breaker);
            fail(&breaker);
            breaker.call_succeeded();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn calls_that_end_late_neither_close_nor_open_the_breaker() {
        let breaker = Breaker::closed(NodeId::ONLY, NOW);
        let late = breaker.admit().unwrap();
        (0..3).for_each(|_| fail(&breaker));
        breaker.call_succeeded();
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.probes_passed();
        breaker.recovered(NOW);
        (0..2).for_each(|_| fail(&breaker));
        breaker.call_failed(late, &StoreError::BreakerOpen, NOW);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failure_during_recovery_belongs_to_the_same_outage() {
        let breaker = Breaker::closed(NodeId::ONLY, NOW);
        (0..3).for_each(|_| fail(&breaker));
        breaker.probes_passed();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.admit().is_none());
        breaker.recovery_failed(&StoreError::BreakerOpen, NOW);
        breaker.recovered(NOW);
        let (state, history) = breaker.report();
        assert_eq!(
            (state, history.opened),
            (BreakerState::Open, 1),
            "only a store that passed its probes can recover"
        );
    }
}
