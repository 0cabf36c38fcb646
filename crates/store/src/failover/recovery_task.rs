//! The background task that attempts recovery of a node until it is usable again.
//!
//! The first call that needs recovery spawns its node's task, since only then is there certainly a
//! runtime. The task ends when the recovery is complete.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    guarded_store::GuardedStore, local_fallback::RETRY_AFTER, node_tasks::RunPermit,
    recovery::Recovery,
};
use crate::{NodeId, Store};

/// The pause before the first attempt; each failed attempt doubles it. Long enough for a short
/// disturbance to pass, short enough that no one notices the outage.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between attempts. With it, a fleet of a thousand replicas sends a failing
/// store at most a thousand probes a second.
const LONGEST_PAUSE: Duration = RETRY_AFTER;

impl<S: Store> GuardedStore<S> {
    /// Starts the recovery of `node` unless it is under way. Outside of a runtime it cannot start;
    /// a later call will start it.
    pub(super) fn start_recovery(self: &Arc<Self>, node: NodeId) {
        self.recoveries.start(node, |permit| recover(Arc::downgrade(self), permit));
    }
}

/// Attempts recovery of one node until it is complete. Does not keep the store alive during its
/// pauses.
async fn recover<S: Store>(store: Weak<GuardedStore<S>>, permit: RunPermit) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        let Some(store) = store.upgrade() else { return };
        pause = match store.try_recover(permit.node()).await {
            Recovery::Failed => LONGEST_PAUSE.min(pause * 2),
            Recovery::ChargesLeft => FIRST_PAUSE,
            Recovery::Complete => {
                // Released before looking for more work, so that none is lost: a caller that added
                // work either finds the permit free, or did so before it is looked for here. Other
                // nodes may have taken over buckets of this one.
                drop(permit);
                for node in store.nodes_to_recover() {
                    store.start_recovery(node);
                }
                return;
            }
        };
    }
}
