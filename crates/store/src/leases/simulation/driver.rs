//! Who decides what happens in a schedule.

use std::fmt::Debug;

use sluice_core::{Rate, Timestamp};

use super::{
    act::Act,
    random::Random,
    replica::{Lease, Replica},
    time::{Nanos, StoreClock},
};

/// What a driver sees: all there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'w> {
    pub(super) now: Nanos,
    pub(super) store: StoreClock,
    pub(super) rate: &'w Rate,
    pub(super) replicas: &'w [Replica],
}

/// Makes a schedule as it goes.
pub(super) trait Driver: Debug {
    /// Returns what happens next and when, with an [`Act::Choose`] among it.
    fn choose(&mut self, view: &View<'_>, random: &mut Random) -> Vec<(Nanos, Act)>;

    /// Returns what happens since a replica has got a lease.
    fn granted(
        &mut self,
        replica: usize,
        lease: Lease,
        view: &View<'_>,
        random: &mut Random,
    ) -> Vec<(Nanos, Act)>;
}

impl View<'_> {
    pub(super) fn store_now(&self) -> Timestamp {
        self.store.at(self.now)
    }

    /// Returns how long an empty bucket needs to fill.
    pub(super) fn fill(&self) -> Nanos {
        self.rate.fill().micros * super::time::MICROSECOND
    }
}
