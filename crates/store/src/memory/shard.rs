//! A part of the memory store with a lock of its own.

use std::{hash::BuildHasher, sync::Arc, time::Duration};

use hashbrown::{HashMap, HashTable, hash_table::Entry};
use sluice_core::{Bucket, BucketId, Epoch, Leases, Limit, Moment, Part, Tag, Timestamp};

use crate::prehashed::Prehashed;

/// How often decisions sweep a shard. At ten million buckets this costs less than a hundredth of a
/// core.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Tables up to this capacity are not worth shrinking.
const SMALL_TABLE: usize = 64;

/// The buckets of the tags with one value of [`Tag::part`].
#[derive(Debug, Default)]
pub(super) struct Shard {
    buckets: HashTable<Kept>,
    /// What is leased of the few buckets of which anything is.
    leases: HashMap<BucketId, Leases, Prehashed>,
    next_sweep: Timestamp,
}

/// A bucket in as few bytes as possible: there may be millions, and each byte is a cache miss.
#[derive(Debug)]
struct Kept {
    tag: Tag,
    /// The limit under which the state was written. Its rate gives the units of `empty_at` and says
    /// when the bucket is full.
    limit: Arc<Limit>,
    empty_at: Moment,
    /// [`NO_DEBT`] without a debt: an `Option` would need eight bytes more.
    indebted_at: Timestamp,
}

/// The value of [`Kept::indebted_at`] for a bucket without a debt.
const NO_DEBT: Timestamp = Timestamp::from_unix_micros(i64::MIN);

// === impl Kept ===

impl Kept {
    fn new(part: &Part, bucket: &Bucket) -> Self {
        let debt = bucket.indebted_at().unwrap_or(NO_DEBT);
        Self {
            tag: part.tag,
            limit: Arc::clone(&part.limit),
            empty_at: bucket.empty_at(),
            indebted_at: debt,
        }
    }

    fn id(&self) -> BucketId {
        BucketId { tag: self.tag, limit: self.limit.key() }
    }

    fn is_of(&self, part: &Part) -> bool {
        self.tag == part.tag && (self.is_kept_for(part) || self.limit.key() == part.limit.key())
    }

    /// Returns whether the state was written under the very limit of `part`, and so its rate.
    fn is_kept_for(&self, part: &Part) -> bool {
        Arc::ptr_eq(&self.limit, &part.limit)
    }

    fn bucket(&self, leases: &HashMap<BucketId, Leases, Prehashed>) -> Bucket {
        let debt = (self.indebted_at != NO_DEBT).then_some(self.indebted_at);
        let bucket = Bucket::from_parts(self.empty_at, self.limit.rate().refill(), debt)
            .expect("the parts come from a bucket under the same limit");
        if leases.is_empty() {
            return bucket;
        }
        bucket.with_leases(leases.get(&self.id()).copied().unwrap_or_default())
    }

    /// Returns the bucket, unless it is full, as one that was never used is too.
    fn unless_forgotten(
        &self,
        leases: &HashMap<BucketId, Leases, Prehashed>,
        epoch: Epoch,
        now: Timestamp,
    ) -> Option<Bucket> {
        let bucket = self.bucket(leases);
        (!epoch.forgets(&bucket, self.limit.rate(), now)).then_some(bucket)
    }

    fn set(&mut self, part: &Part, bucket: &Bucket) {
        // Cloning the `Arc` would write to a counter that all cores share.
        if self.is_kept_for(part) {
            self.empty_at = bucket.empty_at();
            self.indebted_at = bucket.indebted_at().unwrap_or(NO_DEBT);
        } else {
            *self = Self::new(part, bucket);
        }
    }
}

// === impl Shard ===

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.buckets.capacity()
    }

    /// Returns the bucket of `part`, unless it is full and an unused one too.
    pub(super) fn get(&self, part: &Part, epoch: Epoch, now: Timestamp) -> Option<Bucket> {
        self.buckets
            .find(hash(&part.bucket()), |kept| kept.is_of(part))
            .and_then(|kept| kept.unless_forgotten(&self.leases, epoch, now))
    }

    /// Lets `decide` read and change the bucket of `part`, which is looked up only once.
    pub(super) fn update<R>(
        &mut self,
        part: &Part,
        epoch: Epoch,
        now: Timestamp,
        decide: impl FnOnce(&mut Bucket) -> R,
    ) -> R {
        let rate = part.limit.rate();
        let entry = self.buckets.entry(
            hash(&part.bucket()),
            |kept| kept.is_of(part),
            |kept| hash(&kept.id()),
        );
        let kept = match &entry {
            // The decision itself finds that a bucket is full under the limit that it was kept for.
            Entry::Occupied(kept) if kept.get().is_kept_for(part) => {
                Some(kept.get().bucket(&self.leases))
            }
            Entry::Occupied(kept) => kept.get().unless_forgotten(&self.leases, epoch, now),
            Entry::Vacant(_) => None,
        };
        let before = kept.unwrap_or_else(|| epoch.unseen(rate, now));
        let mut after = before;
        let decision = decide(&mut after);
        if after != before {
            // A forgotten bucket may have left some.
            if after.leases().any() || !self.leases.is_empty() {
                match after.leases() {
                    Leases::NONE => drop(self.leases.remove(&part.bucket())),
                    leases => drop(self.leases.insert(part.bucket(), leases)),
                }
            }
            let forgotten = epoch.forgets(&after, rate, now);
            match entry {
                Entry::Occupied(entry) if forgotten => drop(entry.remove()),
                Entry::Occupied(mut entry) => entry.get_mut().set(part, &after),
                Entry::Vacant(_) if forgotten => {}
                Entry::Vacant(entry) => drop(entry.insert(Kept::new(part, &after))),
            }
        }
        decision
    }

    pub(super) fn sweep_if_due(&mut self, epoch: Epoch, now: Timestamp) {
        if now >= self.next_sweep {
            self.sweep(epoch, now);
        }
    }

    pub(super) fn sweep(&mut self, epoch: Epoch, now: Timestamp) {
        self.next_sweep = now.after(SWEEP_INTERVAL);
        self.buckets.retain(|kept| {
            let is_kept = kept.unless_forgotten(&self.leases, epoch, now).is_some();
            if !is_kept && !self.leases.is_empty() {
                self.leases.remove(&kept.id());
            }
            is_kept
        });
        let (length, capacity) = (self.buckets.len(), self.buckets.capacity());
        if capacity > SMALL_TABLE && length < capacity / 4 {
            self.buckets.shrink_to(length * 2, |kept| hash(&kept.id()));
        }
    }
}

fn hash(id: &BucketId) -> u64 {
    Prehashed::default().hash_one(id)
}
