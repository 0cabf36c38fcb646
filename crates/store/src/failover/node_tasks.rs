//! Background tasks, one for each node that needs one, so that none waits for a node that hangs.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

use crate::NodeId;

/// Starts and stops tasks, at most one for each node.
#[derive(Debug, Default)]
pub(super) struct NodeTasks {
    /// One bit for each node whose task runs.
    running: Arc<AtomicU64>,
    /// The tasks that were started last.
    handles: Mutex<HashMap<NodeId, AbortHandle>>,
}

impl NodeTasks {
    /// Starts the task of `node` unless it is running, or there is no runtime.
    pub(super) fn start<F>(&self, node: NodeId, task: impl FnOnce(RunPermit) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(permit) = RunPermit::acquire(&self.running, node) else { return };
        if let Ok(runtime) = Handle::try_current() {
            let task = runtime.spawn(task(permit));
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
#[derive(Debug)]
pub(super) struct RunPermit {
    running: Arc<AtomicU64>,
    node: NodeId,
}

const _: () = assert!(NodeId::COUNT as u32 <= u64::BITS, "each node has a bit");

impl RunPermit {
    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

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
