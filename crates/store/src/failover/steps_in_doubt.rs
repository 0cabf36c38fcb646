//! Steps of holds that were made here, and that the store may have made as well.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{Check, Decision, RecordKey, Timestamp};

use super::partition_set::PartitionSet;
use crate::StoreError;

/// The most steps that are remembered: some 5 MB. Few requests are under way when an outage begins,
/// and the circuit breaker keeps the later ones from the store.
const CAPACITY: usize = 10_000;

/// By how much a server's clock may be ahead of this one's. If a window began in between, what the
/// store took stays taken: the new window did not count it, and cannot give it back.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// Remembers each step of a hold that was made here because the store's reply was late or lost,
/// until the store has taken it back.
///
/// The store may count what the ledger charges to it as well. Other charges have no name by which
/// it could find them; a hold has one. Until the step is taken back, the circuit breaker counts as
/// open for the hold: its other steps are made here, where all of it is known.
///
/// Steps that find no room count twice. None counts too little: what is taken back was made here
/// too, and is charged.
#[derive(Debug, Default)]
pub(super) struct StepsInDoubt {
    /// The checks that take them back.
    undos: Mutex<HashMap<RecordKey, Check>>,
    /// How many there are, so that nearly no check needs the lock.
    len: AtomicUsize,
}

/// Returns the check that takes `check` back in the store, which has not decided it because of
/// `cause`, but for the `decision` that was made here. `None` if the store was not asked, or if
/// nothing was taken for a hold.
pub(super) fn undo(check: &Check, decision: &Decision, cause: &StoreError) -> Option<Check> {
    let was_asked = match cause {
        StoreError::BreakerOpen => false,
        StoreError::Timeout { within } => !within.is_zero(),
        _ => true,
    };
    check.hold().filter(|_| was_asked)?;
    let taken_at = decision.at().before(CLOCK_TOLERANCE);
    let verdicts = decision.verdicts().iter().cloned();
    let decision = Decision::new(decision.is_allowed(), verdicts, taken_at, decision.source())
        .with_guarded(decision.guarded().zip(decision.hold_ends_at()));
    check.undone(&decision)
}

impl StepsInDoubt {
    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// Remembers the step that `undo` takes back.
    pub(super) fn add(&self, undo: Check) {
        let Some(key) = undo.record_key() else { return };
        let mut undos = self.undos.lock();
        if undos.len() < CAPACITY {
            undos.insert(key, undo);
        }
        self.len.store(undos.len(), Ordering::Release);
    }

    /// Returns whether `check` is a step of a hold of which another one is in doubt.
    pub(super) fn concern(&self, check: &Check) -> bool {
        let Some(key) = check.record_key() else { return false };
        !self.is_empty() && self.undos.lock().contains_key(&key)
    }

    /// Returns the partitions whose servers have to be told.
    pub(super) fn partitions(&self) -> PartitionSet {
        self.undos.lock().keys().map(|key| key.tag.partition()).collect()
    }

    /// Returns the checks that take back the steps in `partitions`. Forgets the steps of holds that
    /// are over, to which a store gives nothing back.
    pub(super) fn undos(&self, partitions: PartitionSet, now: Timestamp) -> Vec<Check> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut undos = self.undos.lock();
        undos.retain(|_, undo| undo.hold().is_some_and(|hold| now < hold.ends_at(now)));
        self.len.store(undos.len(), Ordering::Release);
        let here = undos.iter().filter(|(key, _)| partitions.contains(key.tag.partition()));
        here.map(|(_, undo)| undo.clone()).collect()
    }

    /// Forgets the step that `undo` takes back: the store has done so, or never will.
    pub(super) fn forget(&self, undo: &Check) {
        let Some(key) = undo.record_key() else { return };
        let mut undos = self.undos.lock();
        undos.remove(&key);
        if undos.is_empty() {
            // Frees the memory that the outage needed.
            *undos = HashMap::new();
        }
        self.len.store(undos.len(), Ordering::Release);
    }
}
