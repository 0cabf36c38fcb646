//! The background task that returns idle leases.
//!
//! The first lease starts it, since only then is there certainly a runtime. It ends when the
//! replica holds no lease any more.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

use super::shared_books::SharedBooks;
use crate::Store;

/// How often idle leases are looked for.
const PAUSE: Duration = Duration::from_millis(50);

/// At most one task.
#[derive(Debug, Default)]
pub(super) struct IdleTask {
    runs: Arc<AtomicBool>,
    handle: Mutex<Option<AbortHandle>>,
}

/// Held by the task. Released when it is dropped: also when the runtime ends before the task does.
struct RunPermit(Arc<AtomicBool>);

impl IdleTask {
    pub(super) fn stop(&self) {
        if let Some(task) = self.handle.lock().take() {
            task.abort();
        }
    }

    fn start<F>(&self, task: impl FnOnce(RunPermit) -> F)
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

impl<S: Store> SharedBooks<S> {
    /// Starts the task, unless it runs.
    pub(super) fn start_returning(self: &Arc<Self>) {
        self.idle_task.start(|permit| return_leases(Arc::downgrade(self), permit));
    }
}

/// Returns idle leases as long as there are leases. Does not keep the store alive in its pauses.
async fn return_leases<S: Store>(books: Weak<SharedBooks<S>>, permit: RunPermit) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let Some(books) = books.upgrade() else { return };
        books.return_idle().await;
        if !books.hold_any() {
            // Released before looking again, so that no lease is missed: one that was granted since
            // either finds the permit free, or is seen here.
            drop(permit);
            if books.hold_any() {
                books.start_returning();
            }
            return;
        }
    }
}
