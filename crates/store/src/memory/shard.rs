//! A part of the memory store with a lock of its own.

use std::{hash::BuildHasher, sync::Arc, time::Duration};

use hashbrown::{HashMap, HashTable, hash_table::Entry};
use sluice_core::{
    Algorithm, Bucket, BucketId, Epoch, HeldTokens, Leases, Limit, MAX_TOKENS, Moment, Part,
    Slices, Slots, Tag, Timestamp, TokenBucket, Window,
};

use crate::prehashed::Prehashed;

/// How often decisions sweep a shard. At ten million buckets this costs less than a hundredth of a
/// core.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Tables up to this capacity are not worth shrinking.
const SMALL_TABLE: usize = 64;

/// The buckets of the tags with one value of [`Tag::part`].
#[derive(Debug)]
pub(super) struct Shard {
    part: u8,
    buckets: HashTable<Kept>,
    /// What only some buckets have. Boxed, so that a shard and its lock are one cache line.
    extras: Box<Extras>,
    next_sweep: Timestamp,
}

/// A bucket in half a cache line: there may be millions, and each line is a cache miss.
#[derive(Debug)]
#[repr(align(32))]
struct Kept {
    /// [`Tag::head`]: the shard has the rest.
    head: u64,
    /// The limit under which the state was written. Its algorithm says what the numbers mean.
    limit: Arc<Limit>,
    /// When a token bucket was empty, in us; when a window ends, in s; or the term of slots.
    when: i64,
    /// The fraction of the instant at which a token bucket was empty, what is used of a window, or
    /// both sums of slots; and [`HAS_EXTRA`].
    amount: u64,
}

/// Set in [`Kept::amount`] for a bucket that has an [`Extra`]. A fraction is less than
/// [`MAX_TOKENS`], which needs 40 bits; what is used of a window needs 48, the sums of slots 56.
const HAS_EXTRA: u64 = 1 << 63;
const _: () = assert!(MAX_TOKENS < HAS_EXTRA);

type Extras = HashMap<BucketId, Extra, Prehashed>;

/// What does not fit into a [`Kept`].
#[derive(Clone, Copy, Debug)]
enum Extra {
    /// Of a token bucket that is in debt or has leases.
    Tokens { indebted_at: Option<Timestamp>, leases: Leases },
    /// Of a window.
    Held(HeldTokens),
    /// All of it.
    Slices(Slices),
}

// === impl Kept ===

impl Kept {
    fn new(part: &Part, bucket: &Bucket, extras: &mut Extras) -> Self {
        let limit = Arc::clone(&part.limit);
        let mut kept = Self { head: part.tag.head(), limit, when: 0, amount: 0 };
        kept.set(part, bucket, extras);
        kept
    }

    fn hash(&self) -> u64 {
        // The hash does not depend on the part.
        hash(&self.id(0))
    }

    /// Returns the bucket's identity in the shard `part`.
    fn id(&self, part: u8) -> BucketId {
        BucketId { tag: Tag::of_head(self.head, part), limit: self.limit.key() }
    }

    /// Returns whether this is the bucket of `part`, which belongs to the same shard.
    fn is_of(&self, part: &Part) -> bool {
        self.head == part.tag.head()
            && (self.is_kept_for(part) || self.limit.key() == part.limit.key())
    }

    /// Returns whether the state was written under the very limit of `part`, and so its rate.
    fn is_kept_for(&self, part: &Part) -> bool {
        Arc::ptr_eq(&self.limit, &part.limit)
    }

    const fn has_extra(&self) -> bool {
        self.amount & HAS_EXTRA != 0
    }

    /// Returns the bucket; `part` is the shard's.
    fn bucket(&self, part: u8, extras: &Extras) -> Bucket {
        let extra = if self.has_extra() { extras.get(&self.id(part)).copied() } else { None };
        let amount = self.amount & !HAS_EXTRA;
        match (self.limit.algorithm(), extra) {
            (Algorithm::TokenBucket(rate), extra) => {
                let (indebted_at, leases) = match extra {
                    Some(Extra::Tokens { indebted_at, leases }) => (indebted_at, leases),
                    _ => (None, Leases::NONE),
                };
                let empty_at = Moment { micros: self.when, fraction: amount };
                let bucket = TokenBucket::from_parts(empty_at, rate.refill(), indebted_at)
                    .expect("the parts come from a bucket under the same limit");
                Bucket::Tokens(bucket.with_leases(leases))
            }
            (Algorithm::Quota(_), extra) => {
                let window = Window::from_parts(self.when.unsigned_abs(), amount);
                Bucket::Window(match extra {
                    Some(Extra::Held(held)) => window.with_held(held),
                    _ => window,
                })
            }
            (Algorithm::AtMost(_), Some(Extra::Slices(slices))) => Bucket::Slices(slices),
            (Algorithm::AtMost(_), _) => Bucket::Slices(Slices::UNUSED),
            (Algorithm::Concurrent(_), _) => Bucket::Slots(unpack_slots(self.when, amount)),
        }
    }

    fn set(&mut self, part: &Part, bucket: &Bucket, extras: &mut Extras) {
        let (when, amount, extra) = match bucket {
            Bucket::Tokens(tokens) => {
                let (indebted_at, leases) = (tokens.indebted_at(), tokens.leases());
                let has_extra = indebted_at.is_some() || leases.any();
                let Moment { micros, fraction } = tokens.empty_at();
                (micros, fraction, has_extra.then_some(Extra::Tokens { indebted_at, leases }))
            }
            Bucket::Window(window) => {
                let held = Some(window.held()).filter(|held| held.sum() > 0);
                let ends_at_s = i64::try_from(window.ends_at_s()).unwrap_or(i64::MAX);
                (ends_at_s, window.used(), held.map(Extra::Held))
            }
            Bucket::Slices(slices) => (0, 0, Some(Extra::Slices(*slices))),
            Bucket::Slots(slots) => {
                let (when, amount) = pack_slots(slots);
                (when, amount, None)
            }
        };
        let has_extra = if extra.is_some() { HAS_EXTRA } else { 0 };
        if let Some(extra) = extra {
            extras.insert(part.bucket(), extra);
        } else if self.has_extra() {
            extras.remove(&part.bucket());
        }
        (self.when, self.amount) = (when, amount | has_extra);
        // Cloning the `Arc` would write to a counter that all cores share.
        if !self.is_kept_for(part) {
            self.limit = Arc::clone(&part.limit);
        }
    }
}

/// Slots have their term, and then the earlier sum above the 32 bits of the current one.
fn pack_slots(slots: &Slots) -> (i64, u64) {
    (slots.term().into(), u64::from(slots.earlier()) << 32 | u64::from(slots.current()))
}

fn unpack_slots(when: i64, amount: u64) -> Slots {
    let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
    let term = u32::try_from(when).unwrap_or(0);
    Slots::from_parts(term, number(amount >> 32), number(amount & u64::from(u32::MAX)))
}

// === impl Shard ===

impl Shard {
    /// Creates the shard of the tags with this value of [`Tag::part`].
    pub(super) fn new(part: u8) -> Self {
        Self {
            part,
            buckets: HashTable::new(),
            extras: Box::default(),
            next_sweep: Timestamp::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.buckets.capacity()
    }

    /// Returns the bucket of `part`, unless it is full and an unused one too.
    pub(super) fn get(&self, part: &Part, epoch: Epoch, now: Timestamp) -> Option<Bucket> {
        let kept = self.buckets.find(hash(&part.bucket()), |kept| kept.is_of(part))?;
        let bucket = kept.bucket(self.part, &self.extras);
        (!epoch.forgets(&bucket, kept.limit.algorithm(), now)).then_some(bucket)
    }

    /// Lets `decide` see the bucket of `part`, which is looked up only once, and writes the bucket
    /// that it returns, if any.
    #[inline]
    pub(super) fn update<R>(
        &mut self,
        part: &Part,
        epoch: Epoch,
        now: Timestamp,
        decide: impl FnOnce(Bucket) -> (R, Option<Bucket>),
    ) -> R {
        let algorithm = part.limit.algorithm();
        let entry = self.buckets.entry(hash(&part.bucket()), |kept| kept.is_of(part), Kept::hash);
        let before = match &entry {
            Entry::Occupied(kept) => {
                let kept = kept.get();
                let bucket = kept.bucket(self.part, &self.extras);
                // The decision itself finds that a bucket is full under the limit that it was kept
                // for.
                let is_known =
                    kept.is_kept_for(part) || !epoch.forgets(&bucket, kept.limit.algorithm(), now);
                is_known.then_some(bucket)
            }
            Entry::Vacant(_) => None,
        };
        let (decision, after) = decide(before.unwrap_or_else(|| epoch.unseen(algorithm, now)));
        let Some(after) = after else { return decision };
        match entry {
            Entry::Occupied(entry) if epoch.forgets(&after, algorithm, now) => {
                if entry.get().has_extra() {
                    self.extras.remove(&part.bucket());
                }
                drop(entry.remove());
            }
            Entry::Occupied(mut entry) => entry.get_mut().set(part, &after, &mut self.extras),
            Entry::Vacant(_) if epoch.forgets(&after, algorithm, now) => {}
            Entry::Vacant(entry) => {
                entry.insert(Kept::new(part, &after, &mut self.extras));
            }
        }
        decision
    }

    pub(super) fn sweep_if_due(&mut self, epoch: Epoch, now: Timestamp) {
        if now >= self.next_sweep {
            self.sweep(epoch, now);
        }
    }

    #[inline(never)]
    pub(super) fn sweep(&mut self, epoch: Epoch, now: Timestamp) {
        self.next_sweep = now.after(SWEEP_INTERVAL);
        let Self { part, buckets, extras, .. } = self;
        buckets.retain(|kept| {
            let bucket = kept.bucket(*part, extras);
            let is_kept = !epoch.forgets(&bucket, kept.limit.algorithm(), now);
            if !is_kept && kept.has_extra() {
                extras.remove(&kept.id(*part));
            }
            is_kept
        });
        if is_sparse(buckets.len(), buckets.capacity()) {
            buckets.shrink_to(buckets.len() * 2, Kept::hash);
        }
        if is_sparse(extras.len(), extras.capacity()) {
            extras.shrink_to(extras.len() * 2);
        }
    }
}

/// Returns whether a table is worth shrinking.
const fn is_sparse(length: usize, capacity: usize) -> bool {
    capacity > SMALL_TABLE && length < capacity / 4
}

fn hash(id: &BucketId) -> u64 {
    Prehashed::default().hash_one(id)
}

#[cfg(test)]
mod tests {
    use sluice_core::Cost;

    use super::*;

    const BUCKETS: usize = 1_000;

    fn after(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_800_000_000_000_000 + micros)
    }

    fn take(shard: &mut Shard, part: &Part, now: Timestamp) {
        shard.update(part, Epoch::NONE, now, |bucket| {
            let mut bucket = bucket.settled(part.limit.algorithm(), now);
            bucket.take(part.cost.tokens());
            ((), Some(bucket.bucket()))
        });
    }

    #[test]
    fn a_debt_is_kept_beside_the_bucket_for_as_long_as_there_is_one() {
        let rate = "60/minute, burst 10".parse().unwrap();
        let limit = Arc::new(Limit::new("ours", Algorithm::TokenBucket(rate)).unwrap());
        let mut shard = Shard::new(7);
        let parts: Vec<Part> = (1..=BUCKETS as u64)
            .map(|number| Tag::of_head(number.wrapping_mul(0x9E37_79B9_7F4A_7C15), 7))
            .map(|tag| Part::new(Arc::clone(&limit), tag, Cost::new(15).unwrap()))
            .collect();
        for part in &parts {
            take(&mut shard, part, after(0));
        }
        let indebted_at = |shard: &Shard, now| {
            parts[0..2]
                .iter()
                .map(|part| {
                    let Bucket::Tokens(tokens) = shard.get(part, Epoch::NONE, now)? else {
                        return None;
                    };
                    tokens.indebted_at()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(indebted_at(&shard, after(0)), [Some(after(0)), Some(after(0))]);
        assert_eq!(shard.extras.len(), BUCKETS);

        let first = Part::new(Arc::clone(&limit), parts[0].tag, Cost::ONE);
        take(&mut shard, &first, after(6_000_000));
        assert_eq!(indebted_at(&shard, after(6_000_000)), [None, Some(after(0))]);
        assert_eq!(shard.extras.len(), BUCKETS - 1);

        shard.sweep(Epoch::NONE, after(14_999_999));
        assert_eq!((shard.len(), shard.extras.len()), (BUCKETS, BUCKETS - 1));
        shard.sweep(Epoch::NONE, after(15_000_000));
        assert_eq!((shard.len(), shard.extras.len()), (1, 0), "only the first took once more");
        assert!(shard.extras.capacity() <= SMALL_TABLE, "{}", shard.extras.capacity());
    }
}
