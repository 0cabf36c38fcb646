//! The slots that a request occupies while it is in flight.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use sluice::slots::HeldSlots;

/// The slots that a request holds of limits on requests in flight, and whether they are lost. They
/// are given back when this is dropped.
pub struct OccupiedSlots {
    slots: HeldSlots,
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl OccupiedSlots {
    pub(crate) const NONE: Self = Self { slots: HeldSlots::none(), cut: None };

    /// Keeps `slots` while the request is in flight.
    #[must_use]
    pub fn new(slots: HeldSlots) -> Self {
        let cut = slots.cut();
        Self { slots, ..Self::kept_elsewhere(cut) }
    }

    /// Keeps no slots. The request is cut off when `cut` is ready.
    #[must_use]
    pub fn kept_elsewhere(cut: Option<impl Future<Output = ()> + Send + Sync + 'static>) -> Self {
        let cut = cut.map(|cut| Box::pin(cut) as Pin<Box<dyn Future<Output = ()> + Send + Sync>>);
        Self { slots: HeldSlots::none(), cut }
    }

    /// Waits until the request has to be cut off.
    pub(crate) async fn cut(&mut self) {
        std::future::poll_fn(|context| self.poll_cut(context)).await;
    }

    /// Returns whether the request has to be cut off.
    pub(crate) fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.cut.as_mut().map_or(Poll::Pending, |cut| cut.as_mut().poll(context))
    }

    /// Gives the slots back.
    pub(crate) fn release(&mut self) {
        *self = Self::NONE;
    }
}

impl fmt::Debug for OccupiedSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OccupiedSlots").field(&self.slots).finish()
    }
}
