//! Decides checks without the store, and sees to it that the store is charged for them.

use std::sync::Arc;

use sluice_core::{Check, Decision};

use super::guarded_store::GuardedStore;
use crate::{NodeId, Store, StoreError};

impl<S: Store> GuardedStore<S> {
    /// Decides a check that the breaker of its node kept from the store.
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
        let result = self.fallback.decide(check, cause);
        if check.parts().is_empty() {
            self.start_recovery(NodeId::ONLY);
        }
        for part in check.parts() {
            self.start_recovery(self.node_of_part(part));
        }
        result
    }
}
