//! One circuit breaker for each node of the store.

use sluice_core::Timestamp;

use super::breaker::{AdmittedCall, Breaker, BreakerHistory, BreakerState};
use crate::NodeId;

/// The breakers of all nodes that a store can have. Those of nodes that it does not have stay
/// closed.
#[derive(Debug)]
pub(super) struct Breakers(Box<[Breaker; NodeId::COUNT as usize]>);

/// What all breakers together report.
#[derive(Debug)]
pub(super) struct BreakersReport {
    /// The state of the node that is worst off.
    pub(super) state: BreakerState,
    /// Since when not all are closed, or when the last one closed; how often any has opened; and
    /// the last failure of any.
    pub(super) history: BreakerHistory,
    /// The number of breakers that are not closed.
    pub(super) unavailable: usize,
}

impl Breakers {
    pub(super) fn closed(now: Timestamp) -> Self {
        let mut nodes = NodeId::all();
        Self(Box::new(std::array::from_fn(|_| {
            Breaker::closed(nodes.next().expect("there are as many ids as breakers"), now)
        })))
    }

    pub(super) fn of(&self, node: NodeId) -> &Breaker {
        &self.0[node.index()]
    }

    /// Lets a call to `node` through, unless the node is unavailable.
    pub(super) fn admit(&self, node: NodeId) -> Option<AdmittedCall> {
        self.of(node).admit()
    }

    pub(super) fn is_closed(&self, node: NodeId) -> bool {
        self.of(node).state() == BreakerState::Closed
    }

    pub(super) fn all_closed(&self) -> bool {
        NodeId::all().all(|node| self.is_closed(node))
    }

    pub(super) fn report(&self) -> BreakersReport {
        let (state, history) = self.of(NodeId::ONLY).report();
        let unavailable = usize::from(state != BreakerState::Closed);
        let first = BreakersReport { state, history, unavailable };
        self.0[1..].iter().map(Breaker::report).fold(first, |mut all, (state, history)| {
            let is_closed = state == BreakerState::Closed;
            match (all.unavailable > 0, is_closed) {
                (false, true) => all.history.since = all.history.since.max(history.since),
                (false, false) => all.history.since = history.since,
                (true, false) => all.history.since = all.history.since.min(history.since),
                (true, true) => {}
            }
            // The states stand in the order of their severity.
            if state as u8 > all.state as u8 {
                all.state = state;
            }
            all.unavailable += usize::from(!is_closed);
            all.history.opened += history.opened;
            if let Some(failure) = history.last_failure
                && all.history.last_failure.as_ref().is_none_or(|known| known.0 <= failure.0)
            {
                all.history.last_failure = Some(failure);
            }
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::StoreError;

    const START: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    fn at(second: u64) -> Timestamp {
        START.after(Duration::from_secs(second))
    }

    fn open(breakers: &Breakers, node: NodeId, now: Timestamp) {
        while let Some(call) = breakers.admit(node) {
            breakers.of(node).call_failed(call, &StoreError::BreakerOpen, now);
        }
    }

    fn recover(breakers: &Breakers, node: NodeId, now: Timestamp) {
        breakers.of(node).probes_passed();
        breakers.of(node).recovered(now);
    }

    #[test]
    fn the_report_is_about_the_worst_node_and_the_whole_outage() {
        let breakers = Breakers::closed(START);
        let nodes: Vec<_> = NodeId::all().collect();
        let report = || {
            let BreakersReport { state, history, unavailable } = breakers.report();
            let failed_at = history.last_failure.map(|(at, _)| at);
            (state, unavailable, history.since, history.opened, failed_at)
        };
        assert_eq!(report(), (BreakerState::Closed, 0, START, 0, None));
        open(&breakers, nodes[5], at(1));
        open(&breakers, nodes[63], at(2));
        open(&breakers, nodes[0], at(3));
        assert_eq!(report(), (BreakerState::Open, 3, at(1), 3, Some(at(3))));
        recover(&breakers, nodes[5], at(4));
        recover(&breakers, nodes[0], at(5));
        breakers.of(nodes[63]).probes_passed();
        assert_eq!(report(), (BreakerState::HalfOpen, 1, at(2), 3, Some(at(3))));
        breakers.of(nodes[63]).recovered(at(6));
        assert_eq!(report(), (BreakerState::Closed, 0, at(6), 3, Some(at(3))));
        assert!(breakers.all_closed());
    }

    #[test]
    fn a_node_without_buckets_is_not_waited_for() {
        let breakers = Breakers::closed(START);
        open(&breakers, NodeId::ONLY, at(1));
        breakers.of(NodeId::ONLY).retired(at(2));
        assert!(breakers.is_closed(NodeId::ONLY) && breakers.admit(NodeId::ONLY).is_some());
        assert_eq!(breakers.report().history.since, at(2));
    }
}
