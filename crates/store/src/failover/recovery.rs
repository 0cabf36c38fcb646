//! One attempt to use a node of the store again after a failure.

use std::{sync::Arc, time::Duration};

use sluice_core::{Action, Algorithm, Check, Cost, Limit, Rate, Subject, Tagger};

use super::{
    guarded_store::{GuardedStore, concerns_store},
    partition_set::PartitionSet,
    timeout::with_timeout,
};
use crate::{NodeId, Store, StoreError};

/// The least time that the first probe and the first check after it may take. No request waits for
/// them, and they may have to open connections, perhaps with TLS, and load scripts.
pub(super) const RECOVERY_TIMEOUT: Duration = Duration::from_millis(500);

/// Charges in one round trip: few enough to stay well within the timeout, and not to delay the
/// checks behind them.
const CHARGES_PER_CALL: usize = 256;

/// The outcome of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// The node has recovered, and nothing is owed to it.
    Complete,
    /// The node has recovered, but more was admitted without it in the meantime.
    ChargesLeft,
    /// The node is still unavailable.
    Failed,
}

impl<S: Store> GuardedStore<S> {
    /// Returns the nodes that need another attempt.
    pub(super) fn nodes_to_recover(&self) -> Vec<NodeId> {
        let open =
            self.fallback.ledger.partitions().iter().chain(self.in_doubt.partitions().iter());
        let concerned: Vec<NodeId> = open.map(|partition| self.store.node(partition)).collect();
        NodeId::all()
            .filter(|node| !self.breakers.is_closed(*node) || concerned.contains(node))
            .collect()
    }

    /// Probes `node`, charges what is owed to it, and closes its breaker.
    pub(super) async fn try_recover(&self, node: NodeId) -> Recovery {
        let breaker = self.breakers.of(node);
        let partitions = self.partitions_of(node);
        if partitions.is_empty() {
            breaker.retired(self.clock.now());
            return Recovery::Complete;
        }
        let call = breaker.admit();
        // The probe comes first even if only charges are left. A batch of charges that gets no
        // reply may be charged again, a probe costs nothing.
        let settled = match self.passes_probes(node, partitions).await {
            Ok(()) => {
                breaker.probes_passed();
                self.settle_accounts(partitions).await
            }
            Err(error) => Err(error),
        };
        let now = self.clock.now();
        match (settled, call) {
            (Ok(()), _) => {
                breaker.recovered(now);
                if self.breakers.all_closed() {
                    self.fallback.end_outage();
                }
                let all_told = self.in_doubt.undos(partitions, now).is_empty();
                if all_told && self.fallback.ledger.len_in(partitions) == 0 {
                    Recovery::Complete
                } else {
                    Recovery::ChargesLeft
                }
            }
            (Err(error), Some(call)) => {
                self.record_failure(call, &error);
                Recovery::Failed
            }
            (Err(error), None) => {
                self.errors.count(&error);
                breaker.recovery_failed(&error, now);
                Recovery::Failed
            }
        }
    }

    /// Succeeds if the node accepts writes, decides checks, and responds within the timeout once it
    /// had time to prepare.
    async fn passes_probes(
        &self,
        node: NodeId,
        partitions: PartitionSet,
    ) -> Result<(), StoreError> {
        let preparation = self.timeout.max(RECOVERY_TIMEOUT);
        with_timeout(preparation, self.store.probe_node(node)).await??;
        let look = look_at(partitions);
        with_timeout(preparation, self.store.decide(&look)).await??;
        with_timeout(self.timeout, self.store.probe_node(node)).await?
    }

    /// Has the node take back what it may have taken as well, and charges what it did not take.
    async fn settle_accounts(&self, partitions: PartitionSet) -> Result<(), StoreError> {
        self.undo_steps_in_doubt(partitions).await?;
        self.charge_owed(partitions).await
    }

    /// Has the node take back steps of holds that were made here. A second time has no effect.
    async fn undo_steps_in_doubt(&self, partitions: PartitionSet) -> Result<(), StoreError> {
        let undos = self.in_doubt.undos(partitions, self.clock.now());
        for undos in undos.chunks(CHARGES_PER_CALL) {
            let results = with_timeout(self.timeout, self.store.decide_all(undos)).await?;
            for (undo, result) in undos.iter().zip(results) {
                match result {
                    Err(error) if concerns_store(&error) => return Err(error),
                    Ok(_) | Err(_) => self.in_doubt.forget(undo),
                }
            }
        }
        Ok(())
    }

    /// Charges what the buckets in `partitions` owe now. What is admitted in the meantime is left
    /// for later; otherwise a busy replica would never finish.
    async fn charge_owed(&self, partitions: PartitionSet) -> Result<(), StoreError> {
        let ledger = &self.fallback.ledger;
        let mut left = ledger.len_in(partitions);
        while left > 0 {
            let count = left.min(CHARGES_PER_CALL);
            left -= count;
            let mut batch = ledger.take_oldest(count, partitions, &self.clock);
            if batch.is_empty() {
                continue;
            }
            let charges = batch.charges();
            let results = with_timeout(self.timeout, self.store.decide_all(&charges)).await?;
            let mut failure = None;
            for (index, result) in results.into_iter().enumerate() {
                match result {
                    Ok(_) => batch.mark_charged(index),
                    // The charge may have been made, and would be made again each time that its
                    // reply cannot be read.
                    Err(StoreError::Unreadable { .. }) => batch.mark_dropped(index),
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(error) = failure {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Returns a check that goes the same way as every check of a node with these partitions, and
/// changes nothing: without buckets, if there is no other node; else with one that nobody uses.
fn look_at(partitions: PartitionSet) -> Check {
    let look = Check::new(Action::Peek);
    if partitions == PartitionSet::ALL {
        return look;
    }
    let rate = Rate::new("1/second".parse().expect("it is a rate"), 1).expect("it is a rate");
    let limit = Limit::new("recovery", Algorithm::TokenBucket(rate)).expect("it is a name");
    let tagger = Tagger::new(b"recovery");
    let tag = (0_u64..)
        .map(|number| tagger.tag(Subject::Client(&number.to_le_bytes())))
        .find(|tag| partitions.contains(tag.partition()))
        .expect("some tag is in every partition");
    look.with(&Arc::new(limit), tag, Cost::NONE)
}
