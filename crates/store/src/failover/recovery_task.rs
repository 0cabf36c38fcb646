//! The task that brings a store back.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{Action, Check};
use tokio::{runtime::Handle, task::AbortHandle};

use super::{Shared, breaker::BreakerState, timeout::within};
use crate::{Store, StoreError};

/// The pause before the store is probed for the first time; each vain probe doubles it. Long enough
/// for a hiccup to pass, short enough that nobody remarks on the outage.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between probes: a fleet of a thousand replicas costs an ailing store a
/// thousand probes a second at most.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long the first probe and the first check after it may take, where the timeout is shorter:
/// nobody waits for them, and they may have to open connections, perhaps with TLS, and load
/// scripts.
pub(super) const RECOVERY_TIMEOUT: Duration = Duration::from_millis(500);
/// Charges in one round trip: few enough to stay far within the deadline, and not to hold up the
/// checks behind them.
const BATCH: usize = 256;

/// Whether the task runs, and how to end it.
///
/// It is spawned by the first call that leaves it something to do, since only then there is a
/// runtime for certain, and ends when all is done.
#[derive(Debug, Default)]
pub(super) struct RecoveryTask {
    running: AtomicBool,
    task: Mutex<Option<AbortHandle>>,
}

impl RecoveryTask {
    pub(super) fn end(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

/// How one attempt to mend things ended.
enum Mended {
    /// The store is back, and nothing is owed.
    Wholly,
    /// The store is back, but something was admitted without it since.
    NearlyWholly,
    NotYet,
}

impl<S: Store> Shared<S> {
    /// Sees to it that the task runs. Outside a runtime it does not, and a later call spawns it.
    pub(super) fn wake_recovery_task(self: &Arc<Self>) {
        // Read first: while the store is away every check comes by.
        if self.recovery.running.load(Ordering::SeqCst)
            || self.recovery.running.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let running = Running(Arc::downgrade(self));
        if let Ok(runtime) = Handle::try_current() {
            *self.recovery.task.lock() = Some(runtime.spawn(keep(running)).abort_handle());
        }
    }

    fn has_work(&self) -> bool {
        self.breaker.state() != BreakerState::Closed || !self.fallback.ledger.is_empty()
    }

    /// Charges what is owed, if the store answers: for one who stops, and has no later.
    pub(super) async fn charge_at_last(&self) {
        let _ = self.mend().await;
    }

    async fn mend(&self) -> Mended {
        let call = self.breaker.admit();
        // Probed first even when only charges are left: a batch that ends in a hang may be charged
        // again, a probe costs nothing.
        let settled = match self.answers_in_time().await {
            Ok(()) => {
                self.breaker.answered();
                self.settle().await
            }
            Err(error) => Err(error),
        };
        let now = self.clock.now();
        match (settled, call) {
            (Ok(()), _) => {
                self.breaker.recovered(now);
                self.fallback.over();
                if self.fallback.ledger.is_empty() { Mended::Wholly } else { Mended::NearlyWholly }
            }
            (Err(error), Some(call)) => {
                self.failed(call, &error);
                Mended::NotYet
            }
            (Err(error), None) => {
                self.errors.count(&error);
                self.breaker.still_away(&error, now);
                Mended::NotYet
            }
        }
    }

    /// Whether the store takes writes, decides checks, and answers within the deadline once it had
    /// the time to get ready.
    async fn answers_in_time(&self) -> Result<(), StoreError> {
        let timeout = self.timeout.max(RECOVERY_TIMEOUT);
        within(timeout, self.inner.probe()).await??;
        // A check of nothing travels the way that checks do.
        within(timeout, self.inner.decide(&Check::new(Action::Peek))).await??;
        within(self.timeout, self.inner.probe()).await?
    }

    /// Charges what is owed now; what is admitted during that is left for later, else a busy
    /// replica would never come to an end.
    async fn settle(&self) -> Result<(), StoreError> {
        let mut left = self.fallback.ledger.len();
        while left > 0 {
            let count = left.min(BATCH);
            left -= count;
            let mut batch = self.fallback.ledger.take(count, &self.clock);
            if batch.is_empty() {
                continue;
            }
            let charges = batch.charges();
            let answers = within(self.timeout, self.inner.decide_all(&charges)).await?;
            let mut failure = None;
            for (place, answer) in answers.into_iter().enumerate() {
                match answer {
                    Ok(_) => batch.settled(place),
                    // It may have been made all the same, and would be made again each time that
                    // the answer cannot be read.
                    Err(StoreError::Unreadable { .. }) => batch.dropped(place),
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

/// Says that the task runs, until it falls: so also when its runtime ends before its work.
struct Running<S>(Weak<Shared<S>>);

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.recovery.running.store(false, Ordering::SeqCst);
        }
    }
}

/// Mends until nothing is left to do. Keeps nothing alive in its pauses.
async fn keep<S: Store>(mut running: Running<S>) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(shared) = running.0.upgrade() else { return };
        pause = match shared.mend().await {
            Mended::NotYet => LONGEST_PAUSE.min(pause * 2),
            Mended::NearlyWholly => FIRST_PAUSE,
            Mended::Wholly => {
                // In this order, so that work left by somebody who saw the task running is seen
                // here.
                shared.recovery.running.store(false, Ordering::SeqCst);
                if !shared.has_work() || shared.recovery.running.swap(true, Ordering::SeqCst) {
                    // From here on it is another task that runs, or none.
                    running.0 = Weak::new();
                    return;
                }
                FIRST_PAUSE
            }
        };
    }
}
