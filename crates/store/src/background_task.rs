//! Runs one background task at most: that which returns idle leases.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

/// At most one task.
#[derive(Debug, Default)]
pub(super) struct IdleTask {
    runs: Arc<AtomicBool>,
    handle: Mutex<Option<AbortHandle>>,
}

/// Held by the task. Released when it is dropped: also when the runtime ends before the task does.
pub(super) struct RunPermit(Arc<AtomicBool>);

impl IdleTask {
    pub(super) fn stop(&self) {
        if let Some(task) = self.handle.lock().take() {
            task.abort();
        }
    }

    /// Starts the task on the current runtime, unless it runs or there is no runtime.
    pub(super) fn start<F>(&self, task: impl FnOnce(RunPermit) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // A load is cheaper than a swap, and every lease comes here.
        if self.runs.load(Ordering::SeqCst) || self.runs.swap(true, Ordering::SeqCst) {
            return;
        }
        let permit = RunPermit(Arc::clone(&self.runs));
        if let Ok(runtime) = Handle::try_current() {
            *self.handle.lock() = Some(runtime.spawn(task(permit)).abort_handle());
        }
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
