//! A part of the memory store that is locked as one.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use sluice_core::{Bucket, BucketId, Timestamp, TokenBucket};

use crate::hashed_already::HashedAlready;

/// A shard in use is swept this often: seldom enough to cost less than a hundredth of a core at ten million buckets.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Below this many places a shard's table is not worth shrinking.
const SMALL_TABLE: usize = 64;

/// The buckets whose tag ends alike.
#[derive(Debug, Default)]
pub(super) struct Shard {
    buckets: HashMap<BucketId, Kept, HashedAlready>,
    next_sweep: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    bucket: Bucket,
    full_at: Timestamp,
}

impl Kept {
    /// The bucket, unless it is full again, which is the same as never seen.
    fn unless_full(&self, now: Timestamp) -> Option<Bucket> {
        (now < self.full_at).then_some(self.bucket)
    }
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.buckets.capacity()
    }

    /// The bucket, unless it is full again, which is the same as never seen.
    pub(super) fn get(&self, id: &BucketId, now: Timestamp) -> Option<Bucket> {
        self.buckets.get(id).and_then(|kept| kept.unless_full(now))
    }

    pub(super) fn put(&mut self, id: BucketId, bucket: Bucket, full_at: Timestamp, now: Timestamp) {
        if full_at <= now {
            self.buckets.remove(&id);
        } else {
            self.buckets.insert(id, Kept { bucket, full_at });
        }
    }

    /// Lets `decide` look at a bucket of `numbers` and change it; in one look-up.
    pub(super) fn update<R>(&mut self, id: BucketId, numbers: &TokenBucket, now: Timestamp, decide: impl FnOnce(&mut Bucket) -> R) -> R {
        let entry = self.buckets.entry(id);
        let kept = if let Entry::Occupied(kept) = &entry { kept.get().unless_full(now) } else { None };
        let before = kept.unwrap_or_else(|| Bucket::full(numbers, now));
        let mut after = before;
        let decision = decide(&mut after);
        if after != before {
            let full_at = after.full_at(numbers);
            let kept = Kept { bucket: after, full_at };
            match entry {
                Entry::Occupied(entry) if full_at <= now => drop(entry.remove()),
                Entry::Occupied(mut entry) => *entry.get_mut() = kept,
                Entry::Vacant(entry) if full_at > now => drop(entry.insert(kept)),
                Entry::Vacant(_) => {}
            }
        }
        decision
    }

    pub(super) fn sweep_if_due(&mut self, now: Timestamp) {
        if now >= self.next_sweep {
            self.sweep(now);
        }
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.next_sweep = now.after(SWEEP_EVERY);
        self.buckets.retain(|_, kept| now < kept.full_at);
        let (length, places) = (self.buckets.len(), self.buckets.capacity());
        if places > SMALL_TABLE && length < places / 4 {
            self.buckets.shrink_to(length * 2);
        }
    }
}
