//! The wrapped store with its timeout, breakers and fallback, shared with the recovery tasks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sluice_core::{Action, Check, Decision, Guarded, Part, Partition};

use super::{
    breaker::AdmittedCall, breakers::Breakers, failover_state::ErrorCounts,
    local_fallback::LocalFallback, node_tasks::NodeTasks, partition_set::PartitionSet,
    slow_calls::SlowCalls, steps_in_doubt::StepsInDoubt,
};
use crate::{Clock, NodeId, Store, StoreError};

/// A store behind a timeout and a breaker for each node, and the fallback that takes its place.
pub(super) struct GuardedStore<S> {
    pub(super) store: S,
    pub(super) timeout: Duration,
    pub(super) breakers: Breakers,
    pub(super) fallback: LocalFallback,
    pub(super) in_doubt: StepsInDoubt,
    /// The recovery of nodes that failed.
    pub(super) recoveries: NodeTasks,
    pub(super) errors: ErrorCounts,
    /// Calls that ended before the store replied.
    pub(super) unanswered: AtomicU64,
    pub(super) slow_calls: SlowCalls,
    pub(super) clock: Arc<dyn Clock>,
}

impl<S> GuardedStore<S> {
    pub(super) fn new(store: S, timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            timeout,
            breakers: Breakers::closed(clock.now()),
            fallback: LocalFallback::new(Arc::clone(&clock)),
            in_doubt: StepsInDoubt::default(),
            recoveries: NodeTasks::default(),
            errors: ErrorCounts::default(),
            unanswered: AtomicU64::new(0),
            slow_calls: SlowCalls::of(timeout),
            clock,
        }
    }

    /// Records the outcome of a call that carried `checks`: as one failure, or as one success.
    pub(super) fn record(
        &self,
        call: AdmittedCall,
        checks: &[Check],
        results: &[Result<Decision, StoreError>],
    ) {
        let errors = || results.iter().filter_map(|result| result.as_ref().err());
        if let Some(error) = errors().find(|error| concerns_store(error)) {
            self.record_failure(call, error);
        } else if let Some(error) = errors().next() {
            self.errors.count(error);
        } else if checks.iter().zip(results).any(|(check, result)| {
            result.as_ref().is_ok_and(|decision| proves_writes(check, decision))
        }) {
            self.breakers.of(call.node).call_succeeded();
        }
    }

    /// Records that a caller went on without a reply after it had waited for `waited`.
    ///
    /// Each one counts, since it was decided without the store, or not at all. It speaks against
    /// the store only if the store had time to reply.
    pub(super) fn record_unanswered(
        &self,
        call: AdmittedCall,
        waited: Duration,
        error: &StoreError,
    ) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        if self.had_time(waited) {
            self.record_failure(call, error);
        } else {
            self.errors.count(error);
        }
    }

    /// Returns whether a store that did not reply to a caller within `waited` is to blame.
    pub(super) fn had_time(&self, waited: Duration) -> bool {
        waited >= self.timeout / 2
    }

    /// Records that a call failed for a reason that concerns its node as a whole.
    pub(super) fn record_failure(&self, call: AdmittedCall, error: &StoreError) {
        self.errors.count(error);
        self.breakers.of(call.node).call_failed(call, error, self.clock.now());
    }
}

impl<S: Store> GuardedStore<S> {
    /// Lets a call to `node` through that carries `check`, unless the node is unavailable, or must
    /// be told first what became of another step of the check's hold.
    pub(super) fn admit(&self, node: NodeId, check: &Check) -> Option<AdmittedCall> {
        if self.in_doubt.concern(check) { None } else { self.breakers.admit(node) }
    }

    /// Returns the node that has all buckets of `checks`; `None` if several have. Checks without
    /// buckets are sent to the only node, whether or not there are others.
    pub(super) fn node_of(&self, checks: &[Check]) -> Option<NodeId> {
        let mut nodes = checks.iter().map(|check| self.node_of_one(check));
        let Some(first) = nodes.next() else { return Some(NodeId::ONLY) };
        nodes.all(|node| node == first).then_some(first?)
    }

    /// Returns the node that has all buckets of `check`, as [`node_of`](Self::node_of) does.
    pub(super) fn node_of_one(&self, check: &Check) -> Option<NodeId> {
        let mut nodes = check.parts().iter().map(|part| self.node_of_part(part));
        let Some(first) = nodes.next() else { return Some(NodeId::ONLY) };
        nodes.all(|node| node == first).then_some(first)
    }

    pub(super) fn node_of_part(&self, part: &Part) -> NodeId {
        self.store.node(part.tag.partition())
    }

    /// Returns the partitions whose buckets `node` has.
    pub(super) fn partitions_of(&self, node: NodeId) -> PartitionSet {
        Partition::all().filter(|partition| self.store.node(*partition) == node).collect()
    }

    /// Returns the number of nodes.
    pub(super) fn nodes(&self) -> usize {
        let mut nodes: Vec<_> =
            Partition::all().map(|partition| self.store.node(partition)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len()
    }
}

/// Returns whether an error concerns the whole store, and not only a bucket that another version or
/// another program wrote.
pub(super) fn concerns_store(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Unreadable { .. } | StoreError::TooLarge { .. } | StoreError::NoHolds { .. }
    )
}

/// Returns whether a decision needed a write. Denials and peeks do not: they succeed on a primary
/// that has become read-only. Nor does a step of a hold that is repeated.
fn proves_writes(check: &Check, decision: &Decision) -> bool {
    decision.is_allowed()
        && check.action() != Action::Peek
        && decision.guarded() != Some(Guarded::Repeated)
}
