//! The slots that one request holds.

use std::{fmt, mem, sync::Arc};

use sluice_core::{BucketId, Check, Decision, Timestamp};
use tokio::time::Instant;

use super::keeper::{Holding, SlotKeeper};

/// The slots that a request holds of limits on requests in flight. They are given back when the
/// last clone is dropped, and renewed until then.
///
/// [`Checked::slots`](crate::Checked::slots) returns them. A request under no such limit holds
/// none, and neither does one that was denied.
#[derive(Clone, Default)]
#[must_use = "slots that are dropped are given back"]
pub struct HeldSlots {
    guard: Option<Arc<Guard>>,
}

/// Gives the slots back when it is dropped.
struct Guard {
    keeper: Arc<SlotKeeper>,
    holding: Holding,
}

// === impl HeldSlots ===

impl HeldSlots {
    /// Returns no slots.
    pub const fn none() -> Self {
        Self { guard: None }
    }

    /// Holds the slots that the `decision` on `check` took, at `taken_at`. The check was sent at
    /// this instant.
    pub(crate) fn taken_by(
        keeper: &Arc<SlotKeeper>,
        check: &Check,
        decision: &Decision,
        taken_at: Timestamp,
        sent: Instant,
    ) -> Self {
        let holding = keeper.hold(check, decision, taken_at, sent);
        let guard = holding.map(|holding| Guard { keeper: Arc::clone(keeper), holding });
        Self { guard: guard.map(Arc::new) }
    }

    /// Returns whether the request holds no slots.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.guard.is_none()
    }

    /// Returns a future that is ready once the request should be cut off: it has lost a slot of a
    /// limit that says [`OnLost::Cut`](crate::policy::OnLost::Cut). The future does not keep the
    /// slots. `None` if no limit of the request says so.
    #[must_use]
    pub fn cut(&self) -> Option<impl Future<Output = ()> + Send + Sync + use<>> {
        let mut cut = self.guard.as_ref()?.holding.cut.clone()?;
        Some(async move {
            if cut.wait_for(|is_cut| *is_cut).await.is_err() {
                // The slots were given back.
                std::future::pending::<()>().await;
            }
        })
    }

    /// Stops to renew the slots without giving them back, as [`take_out`](Self::take_out) does, and
    /// does not wait for a renewal that is on its way.
    pub(crate) fn detach(mut self) -> Vec<(BucketId, Timestamp)> {
        let Some(mut guard) = self.guard.take().and_then(Arc::into_inner) else {
            return Vec::new();
        };
        let keys = mem::take(&mut guard.holding.keys).into_iter();
        keys.filter_map(|key| Some((key.bucket(), guard.keeper.detach(key)?))).collect()
    }

    /// Stops to renew the slots without giving them back. Returns since when those count that are
    /// not lost.
    pub(crate) async fn take_out(mut self) -> Vec<(BucketId, Timestamp)> {
        let Some(mut guard) = self.guard.take().and_then(Arc::into_inner) else {
            return Vec::new();
        };
        let mut taken = Vec::with_capacity(guard.holding.keys.len());
        // One after the other: what is left is given back if this future is dropped.
        while let Some(key) = guard.holding.keys.last().copied() {
            let taken_at = guard.keeper.take_out(key).await;
            guard.holding.keys.pop();
            taken.extend(taken_at.map(|taken_at| (key.bucket(), taken_at)));
        }
        taken
    }
}

impl fmt::Debug for HeldSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.guard.as_ref().map_or(0, |guard| guard.holding.keys.len());
        f.debug_struct("HeldSlots").field("buckets", &slots).finish_non_exhaustive()
    }
}

// === impl Guard ===

impl Drop for Guard {
    fn drop(&mut self) {
        self.keeper.give_back(&self.holding.keys, &self.holding.ticket);
    }
}
