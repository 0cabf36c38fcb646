//! A part of the memory store that is locked as one.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    time::Duration,
};

use sluice_core::{Bucket, BucketId, Timestamp};

/// A shard in use is swept this often: seldom enough to cost less than a hundredth of a core at ten million buckets.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Below this many places a shard's table is not worth shrinking.
const SMALL_TABLE: usize = 64;

/// The buckets whose tag ends alike.
#[derive(Debug, Default)]
pub(super) struct Shard {
    buckets: HashMap<BucketId, Entry, HashedAlready>,
    next_sweep: Timestamp,
}

#[derive(Debug)]
struct Entry {
    bucket: Bucket,
    full_at: Timestamp,
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
        self.buckets.get(id).filter(|entry| now < entry.full_at).map(|entry| entry.bucket)
    }

    pub(super) fn put(&mut self, id: BucketId, bucket: Bucket, full_at: Timestamp, now: Timestamp) {
        if full_at <= now {
            self.buckets.remove(&id);
        } else {
            self.buckets.insert(id, Entry { bucket, full_at });
        }
    }

    pub(super) fn sweep_if_due(&mut self, now: Timestamp) {
        if now >= self.next_sweep {
            self.sweep(now);
        }
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.next_sweep = now.after(SWEEP_EVERY);
        self.buckets.retain(|_, entry| now < entry.full_at);
        let (length, places) = (self.buckets.len(), self.buckets.capacity());
        if places > SMALL_TABLE && length < places / 4 {
            self.buckets.shrink_to(length * 2);
        }
    }
}

/// Hands on the 64 bits that a [`BucketId`] hashes to: its tag is a keyed hash already.
#[derive(Clone, Debug, Default)]
struct HashedAlready(u64);

impl BuildHasher for HashedAlready {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for HashedAlready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used by bucket ids; right all the same, so that a change of theirs is slow and not wrong.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
