//! One attempt to use the store again after a failure.

use std::time::Duration;

use sluice_core::{Action, Check};

use super::{breaker::BreakerState, guarded_store::GuardedStore, timeout::with_timeout};
use crate::{Store, StoreError};

/// The least time that the first probe and the first check after it may take. No request waits for
/// them, and they may have to open connections, perhaps with TLS, and load scripts.
pub(super) const RECOVERY_TIMEOUT: Duration = Duration::from_millis(500);

/// Charges in one round trip: few enough to stay well within the timeout, and not to delay the
/// checks behind them.
const CHARGES_PER_CALL: usize = 256;

/// The outcome of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// The store has recovered, and nothing is owed to it.
    Complete,
    /// The store has recovered, but more was admitted without it in the meantime.
    ChargesLeft,
    /// The store is still unavailable.
    Failed,
}

impl<S: Store> GuardedStore<S> {
    /// Returns whether another attempt is needed.
    pub(super) fn needs_recovery(&self) -> bool {
        self.breaker.state() != BreakerState::Closed || !self.fallback.ledger.is_empty()
    }

    /// Probes the store, charges what is owed to it, and closes the breaker.
    pub(super) async fn try_recover(&self) -> Recovery {
        let call = self.breaker.admit();
        // The probe comes first even if only charges are left. A batch of charges that gets no
        // reply may be charged again, a probe costs nothing.
        let charged = match self.passes_probes().await {
            Ok(()) => {
                self.breaker.probes_passed();
                self.charge_owed().await
            }
            Err(error) => Err(error),
        };
        let now = self.clock.now();
        match (charged, call) {
            (Ok(()), _) => {
                self.breaker.recovered(now);
                self.fallback.end_outage();
                if self.fallback.ledger.is_empty() {
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
                self.breaker.recovery_failed(&error, now);
                Recovery::Failed
            }
        }
    }

    /// Succeeds if the store accepts writes, decides checks, and responds within its timeout once
    /// it had time to prepare.
    async fn passes_probes(&self) -> Result<(), StoreError> {
        let preparation = self.timeout.max(RECOVERY_TIMEOUT);
        with_timeout(preparation, self.store.probe()).await??;
        // An empty check goes the same way as every check.
        with_timeout(preparation, self.store.decide(&Check::new(Action::Peek))).await??;
        with_timeout(self.timeout, self.store.probe()).await?
    }

    /// Charges what is owed now. What is admitted in the meantime is left for later; otherwise a
    /// busy replica would never finish.
    async fn charge_owed(&self) -> Result<(), StoreError> {
        let mut left = self.fallback.ledger.len();
        while left > 0 {
            let count = left.min(CHARGES_PER_CALL);
            left -= count;
            let mut batch = self.fallback.ledger.take_oldest(count, &self.clock);
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
