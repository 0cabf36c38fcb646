//! The background task that attempts recovery until the store is usable again.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

use super::{guarded_store::GuardedStore, local_fallback::RETRY_AFTER, recovery::Recovery};
use crate::Store;

/// The pause before the first attempt; each failed attempt doubles it. Long enough for a short
/// disturbance to pass, short enough that no one notices the outage.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between attempts. With it, a fleet of a thousand replicas sends a failing
/// store at most a thousand probes a second.
const LONGEST_PAUSE: Duration = RETRY_AFTER;

/// Starts and stops the task.
///
/// The first call that needs recovery spawns the task, since only then is there certainly a
/// runtime. The task ends when the recovery is complete.
#[derive(Debug, Default)]
pub(super) struct RecoveryTask {
    running: Arc<AtomicBool>,
    handle: Mutex<Option<AbortHandle>>,
}

impl RecoveryTask {
    /// Starts the task unless it is running. Outside of a runtime it cannot start; a later call
    /// will start it.
    pub(super) fn start<S: Store>(&self, store: &Arc<GuardedStore<S>>) {
        let Some(permit) = RunPermit::acquire(&self.running) else { return };
        if let Ok(runtime) = Handle::try_current() {
            let task = runtime.spawn(recover(Arc::downgrade(store), permit));
            *self.handle.lock() = Some(task.abort_handle());
        }
    }

    pub(super) fn stop(&self) {
        if let Some(task) = self.handle.lock().take() {
            task.abort();
        }
    }
}

/// Held by the one task that may run. It is released when it is dropped: also when the runtime ends
/// before the task does.
struct RunPermit(Arc<AtomicBool>);

impl RunPermit {
    fn acquire(running: &Arc<AtomicBool>) -> Option<Self> {
        // A load is cheaper than a swap, and every check comes here while the store is unavailable.
        let is_held = running.load(Ordering::SeqCst) || running.swap(true, Ordering::SeqCst);
        (!is_held).then(|| Self(Arc::clone(running)))
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Attempts recovery until it is complete. Does not keep the store alive during its pauses.
async fn recover<S: Store>(store: Weak<GuardedStore<S>>, mut permit: RunPermit) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(store) = store.upgrade() else { return };
        pause = match store.try_recover().await {
            Recovery::Failed => LONGEST_PAUSE.min(pause * 2),
            Recovery::ChargesLeft => FIRST_PAUSE,
            Recovery::Complete => {
                let running = Arc::clone(&permit.0);
                // Released before looking for more work, so that none is lost: a caller that added
                // work either finds the permit free, or did so before it is looked for here.
                drop(permit);
                if !store.needs_recovery() {
                    return;
                }
                let Some(acquired) = RunPermit::acquire(&running) else { return };
                permit = acquired;
                FIRST_PAUSE
            }
        };
    }
}
