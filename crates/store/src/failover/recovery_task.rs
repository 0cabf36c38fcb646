//! The background tasks that attempt recovery of a node until it is usable again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

use super::{guarded_store::GuardedStore, local_fallback::RETRY_AFTER, recovery::Recovery};
use crate::{NodeId, Store};

/// The pause before the first attempt; each failed attempt doubles it. Long enough for a short
/// disturbance to pass, short enough that no one notices the outage.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between attempts. With it, a fleet of a thousand replicas sends a failing
/// store at most a thousand probes a second.
const LONGEST_PAUSE: Duration = RETRY_AFTER;

/// Starts and stops the tasks: one for each node that needs recovery, so that none waits for
/// another one that hangs.
///
/// The first call that needs recovery spawns its node's task, since only then is there certainly a
/// runtime. The task ends when the recovery is complete.
#[derive(Debug, Default)]
pub(super) struct RecoveryTasks {
    /// One bit for each node whose task runs.
    running: Arc<AtomicU64>,
    /// The tasks that were started last.
    handles: Mutex<HashMap<NodeId, AbortHandle>>,
}

impl RecoveryTasks {
    /// Starts the task of `node` unless it is running. Outside of a runtime it cannot start; a
    /// later call will start it.
    pub(super) fn start<S: Store>(&self, store: &Arc<GuardedStore<S>>, node: NodeId) {
        let Some(permit) = RunPermit::acquire(&self.running, node) else { return };
        if let Ok(runtime) = Handle::try_current() {
            let task = runtime.spawn(recover(Arc::downgrade(store), permit));
            self.handles.lock().insert(node, task.abort_handle());
        }
    }

    pub(super) fn stop(&self) {
        for task in std::mem::take(&mut *self.handles.lock()).into_values() {
            task.abort();
        }
    }
}

/// Held by the one task of a node that may run. It is released when it is dropped: also when the
/// runtime ends before the task does.
struct RunPermit {
    running: Arc<AtomicU64>,
    node: NodeId,
}

const _: () = assert!(NodeId::COUNT as u32 <= u64::BITS, "each node has a bit");

impl RunPermit {
    fn acquire(running: &Arc<AtomicU64>, node: NodeId) -> Option<Self> {
        let bit = 1 << node.index();
        // A load is cheaper than a swap, and every check comes here while its node is unavailable.
        let is_held = running.load(Ordering::SeqCst) & bit != 0
            || running.fetch_or(bit, Ordering::SeqCst) & bit != 0;
        (!is_held).then(|| Self { running: Arc::clone(running), node })
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        self.running.fetch_and(!(1 << self.node.index()), Ordering::SeqCst);
    }
}

/// Attempts recovery of one node until it is complete. Does not keep the store alive during its
/// pauses.
async fn recover<S: Store>(store: Weak<GuardedStore<S>>, permit: RunPermit) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(store) = store.upgrade() else { return };
        pause = match store.try_recover(permit.node).await {
            Recovery::Failed => LONGEST_PAUSE.min(pause * 2),
            Recovery::ChargesLeft => FIRST_PAUSE,
            Recovery::Complete => {
                // Released before looking for more work, so that none is lost: a caller that added
                // work either finds the permit free, or did so before it is looked for here. Other
                // nodes may have taken over buckets of this one.
                drop(permit);
                for node in store.nodes_to_recover() {
                    store.recovery.start(&store, node);
                }
                return;
            }
        };
    }
}
