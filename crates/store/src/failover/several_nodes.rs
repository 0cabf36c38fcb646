//! Checks and batches whose buckets are on several nodes.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use sluice_core::{Action, Check, Decision};
use tokio::time::{Instant, timeout_at};

use super::{breaker::AdmittedCall, failover_store::Failover, guarded_store::GuardedStore};
use crate::{
    NodeId, Store, StoreError, StoreFuture,
    join_all::join_all,
    spanning::{Group, GroupFuture, decide_in_order_or},
};

type Result<T> = std::result::Result<T, StoreError>;

/// The checks of one node in a batch.
struct NodeBatch {
    node: NodeId,
    checks: Vec<Check>,
    /// The indices of the checks in the whole batch.
    indices: Vec<usize>,
}

impl<S: Store> Failover<S> {
    /// Decides a check whose groups are on several nodes, within `limit` for all of them together.
    ///
    /// The nodes that respond decide their parts. The others' parts are decided locally, together
    /// and last: then nothing that was admitted locally ever has to be given back.
    pub(super) async fn decide_across(
        &self,
        check: &Check,
        groups: Vec<Group<NodeId>>,
        limit: Duration,
    ) -> Result<Decision> {
        let deadline = Instant::now() + limit;
        let guarded = Arc::clone(&self.guarded);
        let decide = move |node: &NodeId, check| guarded.send(*node, check, deadline);
        let instead = |check: &Check, cause| self.guarded.fall_back(check, cause);
        decide_in_order_or(check, groups, decide, &instead).await
    }

    /// Decides a batch whose checks are on several nodes: one call for each node, all at once.
    /// Checks that are themselves on several nodes are decided beside them.
    pub(super) async fn decide_all_across(&self, checks: &[Check]) -> Vec<Result<Decision>> {
        let mut batches: Vec<NodeBatch> = Vec::new();
        let mut spanning = Vec::new();
        for (index, check) in checks.iter().enumerate() {
            let Some(node) = self.guarded.node_of_one(check) else {
                spanning.push(index);
                continue;
            };
            match batches.iter_mut().find(|batch| batch.node == node) {
                Some(batch) => {
                    batch.checks.push(check.clone());
                    batch.indices.push(index);
                }
                None => batches.push(NodeBatch {
                    node,
                    checks: vec![check.clone()],
                    indices: vec![index],
                }),
            }
        }
        let sent = batches.iter().map(|batch| self.decide_batch(batch.node, &batch.checks));
        let timeout = self.guarded.timeout;
        let alone = spanning.iter().map(|&index| self.decide_in(&checks[index], timeout).boxed());
        let (by_node, alone) = tokio::join!(join_all(sent), join_all(alone));
        let by_node =
            batches.iter().flat_map(|batch| &batch.indices).zip(by_node.into_iter().flatten());
        let mut results: Vec<_> = by_node.chain(spanning.iter().zip(alone)).collect();
        results.sort_unstable_by_key(|(index, _)| **index);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

impl<S: Store> GuardedStore<S> {
    /// Sends the check of one node, for a caller that waits until `deadline`.
    fn send(self: &Arc<Self>, node: NodeId, check: Check, deadline: Instant) -> GroupFuture {
        if let Some(decision) = self.fallback.made_before(&check) {
            return StoreFuture::ready(Ok(decision));
        }
        let Some(call) = self.admit(node, &check) else {
            self.errors.count(&StoreError::BreakerOpen);
            return StoreFuture::ready(Err(StoreError::BreakerOpen));
        };
        let guarded = Arc::clone(self);
        if let Action::GiveBack | Action::Undo = check.action() {
            return StoreFuture::pending(guarded.send_back(call, check, deadline));
        }
        StoreFuture::pending(async move {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // A check that is decided after its caller has an answer would be charged twice.
                let error = StoreError::Timeout { within: left };
                guarded.record_unanswered(call, left, &error);
                return Err(error);
            }
            guarded.decide_one(call, &check, left).await
        })
    }

    /// Gives tokens back. This goes on when the caller's time is over: it would be a pity to lose
    /// them.
    async fn send_back(
        self: Arc<Self>,
        call: AdmittedCall,
        check: Check,
        deadline: Instant,
    ) -> Result<Decision> {
        let timeout = self.timeout;
        let mut sending = Box::pin(async move { self.decide_one(call, &check, timeout).await });
        // A store that does not wait needs no task.
        let first = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
        if let Poll::Ready(result) = first {
            return result;
        }
        match timeout_at(deadline, tokio::spawn(sending)).await {
            Ok(Ok(result)) => result,
            // The task was cancelled, since the runtime ends, or the caller's time is over.
            Ok(Err(_)) | Err(_) => Err(StoreError::Timeout { within: timeout }),
        }
    }

    /// Decides one check within `limit`, and records the outcome.
    async fn decide_one(
        self: &Arc<Self>,
        call: AdmittedCall,
        check: &Check,
        limit: Duration,
    ) -> Result<Decision> {
        let result = match self.store.decide(check) {
            ready @ StoreFuture::Ready(_) => ready.await,
            StoreFuture::Pending(mut pending) => self.wait(call, limit, pending.as_mut()).await?,
        };
        self.record(call, std::slice::from_ref(check), std::slice::from_ref(&result));
        if result.is_ok() {
            self.fallback.settled_by_store(check);
        }
        result
    }
}
