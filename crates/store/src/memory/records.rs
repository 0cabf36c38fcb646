//! The records of holds.

use std::{collections::HashMap, time::Duration};

use sluice_core::{Record, RecordKey, RecordWrite, Timestamp};

/// How often a decision about a hold removes the records whose time is over.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Maps up to this capacity are not worth shrinking.
const SMALL_MAP: usize = 64;

/// The records of holds, each with the instant from which on it may be forgotten.
#[derive(Debug, Default)]
pub(super) struct Records {
    kept: HashMap<RecordKey, (Record, Timestamp)>,
    next_sweep: Timestamp,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn get(&self, key: &RecordKey, now: Timestamp) -> Option<Record> {
        self.kept.get(key).filter(|(_, until)| now < *until).map(|(record, _)| *record)
    }

    pub(super) fn write(&mut self, key: RecordKey, write: RecordWrite) {
        match write.record {
            Some(record) => drop(self.kept.insert(key, (record, write.until))),
            None => drop(self.kept.remove(&key)),
        }
    }

    pub(super) fn forget(&mut self, key: &RecordKey) {
        self.kept.remove(key);
    }

    pub(super) fn sweep_if_due(&mut self, now: Timestamp) {
        if now >= self.next_sweep {
            self.sweep(now);
        }
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.next_sweep = now.after(SWEEP_INTERVAL);
        self.kept.retain(|_, (_, until)| now < *until);
        if self.kept.capacity() > SMALL_MAP && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}
