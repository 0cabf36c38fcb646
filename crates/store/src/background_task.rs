//! Runs one background task at most, which ends by itself when there is nothing to do.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

/// At most one task.
#[derive(Debug, Default)]
pub(crate) struct BackgroundTask {
    runs: Arc<AtomicBool>,
    handle: Mutex<Option<AbortHandle>>,
}

/// Held by the task. Released when it is dropped: also when the runtime ends before the task does.
#[derive(Debug)]
pub(crate) struct RunPermit(Arc<AtomicBool>);

impl BackgroundTask {
    pub(crate) fn stop(&self) {
        if let Some(task) = self.handle.lock().take() {
            task.abort();
        }
    }

    /// Starts the task on the current runtime, unless it runs. Returns whether it runs now: it does
    /// not if there is no runtime.
    pub(crate) fn start<F>(&self, task: impl FnOnce(RunPermit) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // A load is cheaper than a swap, and every call comes here.
        if self.runs.load(Ordering::SeqCst) {
            return true;
        }
        let Ok(runtime) = Handle::try_current() else { return false };
        if !self.runs.swap(true, Ordering::SeqCst) {
            let permit = RunPermit(Arc::clone(&self.runs));
            *self.handle.lock() = Some(runtime.spawn(task(permit)).abort_handle());
        }
        true
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}
