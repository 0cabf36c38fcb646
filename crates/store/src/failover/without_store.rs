//! Decides checks without the store, and sees to it that the store is charged for them.

use std::sync::Arc;

use sluice_core::{Check, Decision};

use super::{guarded_store::GuardedStore, steps_in_doubt};
use crate::{NodeId, Store, StoreError, spanning::split};

impl<S: Store> GuardedStore<S> {
    /// Decides a check that was kept from the store.
    pub(super) fn reject(self: &Arc<Self>, check: &Check) -> Result<Decision, StoreError> {
        self.errors.count(&StoreError::BreakerOpen);
        self.fall_back(check, StoreError::BreakerOpen)
    }

    /// Decides a check without the store because of `cause`, and sees to it that the store is
    /// charged for that.
    pub(super) fn fall_back(
        self: &Arc<Self>,
        check: &Check,
        cause: StoreError,
    ) -> Result<Decision, StoreError> {
        let cause_of_step = check.hold().map(|_| cause.clone());
        let result = self.fallback.decide(check, cause);
        if let Some(cause) = cause_of_step
            && let Some(undo) = steps_in_doubt::undo(check, &result, &cause, self.clock.now())
        {
            match split(&undo, |part| self.node_of_part(part)) {
                Some(groups) => groups.into_iter().for_each(|of| self.in_doubt.add(of.check)),
                None => self.in_doubt.add(undo),
            }
        }
        if check.parts().is_empty() {
            self.start_recovery(NodeId::ONLY);
        }
        for part in check.parts() {
            self.start_recovery(self.node_of_part(part));
        }
        result
    }
}
