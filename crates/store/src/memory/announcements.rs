//! The replicas that announced themselves in this process.

use sluice_core::Timestamp;

use crate::{
    Replica,
    fleet::{FORGOTTEN_AFTER, Fleet, LiveReplica},
};

/// The replicas that share a memory store: usually one.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    /// In the order of the first announcements.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    replica: Replica,
    first_seen: Timestamp,
    last_seen: Timestamp,
}

impl Announcements {
    pub(super) fn announce(&mut self, replica: &Replica, now: Timestamp) -> Fleet {
        self.entries.retain(|entry| now.since(entry.last_seen) < FORGOTTEN_AFTER);
        match self.entries.iter_mut().find(|entry| entry.replica.id == replica.id) {
            Some(entry) => {
                // Its secret may have changed.
                entry.replica.clone_from(replica);
                entry.last_seen = now;
            }
            None => self.entries.push(Entry {
                replica: replica.clone(),
                first_seen: now,
                last_seen: now,
            }),
        }
        let live = |entry: &Entry| {
            let (age, seen_ago) = (now.since(entry.first_seen), now.since(entry.last_seen));
            LiveReplica::new(entry.replica.clone(), age, seen_ago)
        };
        Fleet::new(self.entries.iter().map(live).collect())
    }

    pub(super) fn depart(&mut self, replica: &Replica) {
        self.entries.retain(|entry| entry.replica.id != replica.id);
    }
}
