//! Steps of holds that were decided here, and that the store may have made as well.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{Action, Check, Decision, Part, RecordKey, Retry, Source, Timestamp, Verdict};

use super::partition_set::PartitionSet;
use crate::StoreError;

/// The most steps that are remembered: some 5 MB. Few requests are under way when an outage begins,
/// and the circuit breaker keeps the later ones from the store.
const CAPACITY: usize = 10_000;

/// By how much a server's clock may be ahead of this one's. If a window began in between, what the
/// store took stays taken: the new window did not count it, and cannot give it back.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// Remembers each step of a hold that was decided here because the store's reply was late or lost,
/// until the store has taken it back.
///
/// The store may count what the ledger charges to it as well. Other charges have nothing by which
/// it could find them; a hold has an id. Until the step is taken back, the circuit breaker counts
/// as open for the hold: its other steps are made here, where all of it is known.
///
/// Steps that find no room count twice. None counts too little: what is taken back is charged if it
/// was made here too.
#[derive(Debug, Default)]
pub(super) struct StepsInDoubt {
    /// The checks that take them back.
    undos: Mutex<HashMap<RecordKey, Check>>,
    /// How many there are, so that nearly no check needs the lock.
    len: AtomicUsize,
}

/// Returns the check that takes `check` back in the store, which has not decided it because of
/// `cause`, so that it was decided here, with this `result`. `None` if the store was not asked, or
/// if what it took is not to be taken back:
///
/// - A step that was made here is taken back, since it is charged. So is a reservation that was
///   refused here, if its id has no [name](sluice_core::HoldId::named): nobody will ever settle it.
/// - Other refused steps are not. Their caller may have sent them to another replica as well, which
///   found them made and said so.
pub(super) fn undo(
    check: &Check,
    result: &Result<Decision, StoreError>,
    cause: &StoreError,
    now: Timestamp,
) -> Option<Check> {
    let was_asked = match cause {
        StoreError::BreakerOpen | StoreError::TooLarge { .. } | StoreError::NoHolds { .. } => false,
        StoreError::Timeout { within } => !within.is_zero(),
        _ => true,
    };
    let hold = check.hold().filter(|_| was_asked)?;
    let taken_at = now.before(CLOCK_TOLERANCE);
    match result {
        Ok(made) if made.is_allowed() => {
            let verdicts = made.verdicts().iter().cloned();
            let guarded = made.guarded().zip(made.hold_ends_at());
            let by_store = Decision::new(true, verdicts, taken_at, made.source());
            check.undone(&by_store.with_guarded(guarded))
        }
        _ if check.action() == Action::Reserve && !hold.id().is_named() => {
            let verdicts = check.parts().iter().map(if_taken);
            check.undone(&Decision::new(true, verdicts, taken_at, Source::Store))
        }
        _ => None,
    }
}

/// Returns the verdict of a store that has allowed the check of this part. A limit in shadow mode
/// may not have had the tokens.
fn if_taken(part: &Part) -> Verdict {
    Verdict {
        limit: Arc::clone(&part.limit),
        cost: part.cost,
        admitted: part.limit.denies(),
        remaining: 0,
        reset_in: None,
        retry: Retry::Now,
    }
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
