//! The store itself: shards, a list of replicas and a clock.

use std::{collections::HashMap, fmt};

use parking_lot::{Mutex, MutexGuard};
use sluice_core::{
    Bucket, Check, Decision, Epoch, Part, Record, RecordKey, Source, Tag, Timestamp,
};
use smallvec::SmallVec;

use super::{announcements::Announcements, records::Records, shard::Shard};
use crate::{Clock, ColdStart, Fleet, MonotonicClock, Replica, Store, StoreError, StoreFuture};

const _: () = assert!(size_of::<LockedShard>() == 64, "a shard is one cache line");

/// Keeps buckets in the process's memory.
///
/// A bucket is removed once it is full again, so the store holds no more buckets than were used
/// within the time that a bucket needs to fill. Decisions sweep the shards that they use;
/// [`Store::announce`] sweeps all of them, so that an idle store frees its memory.
///
/// # Examples
/// [`ManualClock`](crate::ManualClock) shows one.
pub struct MemoryStore<C = MonotonicClock> {
    /// One shard for each value of [`Tag::part`]. Enough that two threads rarely need the same one,
    /// and that sweeping one takes microseconds.
    shards: Box<[LockedShard]>,
    /// Locked before any shard.
    records: Mutex<Records>,
    announcements: Mutex<Announcements>,
    /// The values that all users of the store agree on, by name.
    agreed: Mutex<HashMap<String, Vec<u8>>>,
    clock: C,
    epoch: Epoch,
}

/// A shard in a cache line of its own, so that two threads share none.
#[repr(align(64))]
struct LockedShard(Mutex<Shard>);

impl LockedShard {
    fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock()
    }
}

impl MemoryStore {
    /// Makes an empty store on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(MonotonicClock::new())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> MemoryStore<C> {
    /// Makes an empty store that takes the time from `clock`.
    pub fn with_clock(clock: C) -> Self {
        let shards = (0..=u8::MAX).map(|part| LockedShard(Mutex::new(Shard::new(part)))).collect();
        Self {
            shards,
            records: Mutex::default(),
            announcements: Mutex::default(),
            agreed: Mutex::default(),
            clock,
            epoch: Epoch::NONE,
        }
    }

    /// Sets what a bucket holds that was never used since now, when the memory begins.
    #[must_use]
    pub fn cold_start(self, cold_start: ColdStart) -> Self {
        let epoch = match cold_start {
            ColdStart::Full => Epoch::NONE,
            ColdStart::Empty => Epoch::at(self.clock.now()),
        };
        Self { epoch, ..self }
    }

    /// Returns the number of buckets, including those that have become full since the last sweep.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Returns whether the store holds no bucket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of buckets that fit without allocating.
    pub fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().capacity()).sum()
    }

    /// Returns the number of records of holds, including those whose time has ended since the last
    /// sweep.
    pub fn records(&self) -> usize {
        self.records.lock().len()
    }

    /// Removes every bucket that is full again and every record whose time has ended, and frees the
    /// memory.
    pub fn sweep(&self) {
        self.records.lock().sweep(self.clock.now());
        for shard in &self.shards {
            shard.lock().sweep(self.epoch, self.clock.now());
        }
    }

    /// Decides without a future: nothing has to be waited for.
    pub fn decide_now(&self, check: &Check) -> Decision {
        if let Some(key) = check.record_key() {
            return self.decide_hold(check, key);
        }
        if let [part] = check.parts() {
            return self.decide_one(check, part);
        }
        self.decide_together(check, |check, buckets, now| check.decide(buckets, now, Source::Store))
    }

    /// Decides a step of a hold, whose record has this key.
    fn decide_hold(&self, check: &Check, key: RecordKey) -> Decision {
        self.decide_recorded(check, key, &mut self.records.lock())
    }

    fn decide_recorded(&self, check: &Check, key: RecordKey, records: &mut Records) -> Decision {
        self.decide_together(check, |check, buckets, now| {
            records.sweep_if_due(now);
            let before = records.get(&key, now);
            let (decision, write) = check.decide_hold(buckets, before, now, Source::Store);
            if let Some(write) = write {
                records.write(key, write);
            }
            decision
        })
    }

    /// Decides a step of a hold if `is_known` returns true for its record; `None` otherwise, and if
    /// there is no record.
    pub(crate) fn decide_if(
        &self,
        check: &Check,
        is_known: impl FnOnce(Record) -> bool,
    ) -> Option<Decision> {
        let key = check.record_key()?;
        let mut records = self.records.lock();
        let known = records.get(&key, self.clock.now()).is_some_and(is_known);
        known.then(|| self.decide_recorded(check, key, &mut records))
    }

    /// Returns whether any hold is known, or was until a moment ago.
    pub(crate) fn has_records(&self) -> bool {
        self.records.lock().len() > 0
    }

    /// Forgets the record of a hold.
    pub(crate) fn forget_record(&self, key: &RecordKey) {
        self.records.lock().forget(key);
    }

    /// Locks the shards of all parts, and lets `decide` see and change their buckets.
    fn decide_together(
        &self,
        check: &Check,
        decide: impl FnOnce(&Check, &mut [Bucket], Timestamp) -> Decision,
    ) -> Decision {
        let mut shards: SmallVec<[u8; 4]> =
            check.parts().iter().map(|part| part.tag.part()).collect();
        // Locked in the same order by every check, so that two checks never deadlock.
        shards.sort_unstable();
        shards.dedup();
        let mut guards: SmallVec<[MutexGuard<'_, Shard>; 4]> =
            shards.iter().map(|&shard| self.shards[usize::from(shard)].lock()).collect();
        self.decide_in(check, &mut guards, &shards, decide)
    }

    /// Decides a check of one part, as nearly every check is: its bucket is looked up once.
    fn decide_one(&self, check: &Check, part: &Part) -> Decision {
        let mut shard = self.shards[usize::from(part.tag.part())].lock();
        let now = self.clock.now();
        shard.sweep_if_due(self.epoch, now);
        shard.update(part, self.epoch, now, |bucket| check.decide_one(bucket, now, Source::Store))
    }

    /// Decides on locked shards; `numbers` are theirs, in the same order.
    fn decide_in(
        &self,
        check: &Check,
        locked: &mut [MutexGuard<'_, Shard>],
        numbers: &[u8],
        decide: impl FnOnce(&Check, &mut [Bucket], Timestamp) -> Decision,
    ) -> Decision {
        let index_of =
            |tag: Tag| numbers.binary_search(&tag.part()).expect("every part's shard is locked");
        // Read after locking, so that time never goes back between two decisions on one bucket.
        let now = self.clock.now();
        let before: SmallVec<[Bucket; 4]> = check
            .parts()
            .iter()
            .map(|part| {
                locked[index_of(part.tag)]
                    .get(part, self.epoch, now)
                    .unwrap_or_else(|| self.epoch.unseen(part.limit.algorithm(), now))
            })
            .collect();
        let mut after = before.clone();
        let decision = decide(check, &mut after, now);
        for (part, (before, after)) in check.parts().iter().zip(before.iter().zip(&after)) {
            if before != after {
                locked[index_of(part.tag)].update(part, self.epoch, now, |_| ((), Some(*after)));
            }
        }
        for shard in locked {
            shard.sweep_if_due(self.epoch, now);
        }
        decision
    }

    /// Returns the store's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl<C: Clock> Store for MemoryStore<C> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::ready(Ok(self.decide_now(check)))
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        StoreFuture::ready(checks.iter().map(|check| Ok(self.decide_now(check))).collect())
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        StoreFuture::ready(Ok(()))
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        self.sweep();
        StoreFuture::ready(Ok(self.announcements.lock().announce(replica, self.clock.now())))
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        self.announcements.lock().depart(replica);
        StoreFuture::ready(Ok(()))
    }

    fn agree<'a>(
        &'a self,
        name: &'a str,
        value: &'a [u8],
    ) -> StoreFuture<'a, Result<Vec<u8>, StoreError>> {
        let mut agreed = self.agreed.lock();
        let value = agreed.entry(name.to_owned()).or_insert_with(|| value.to_vec());
        StoreFuture::ready(Ok(value.clone()))
    }
}

impl<C> fmt::Debug for MemoryStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use sluice_core::{Action, Algorithm, Cost, Limit, Rate, Subject, Tagger};

    use super::*;
    use crate::ManualClock;

    /// A store on a clock that stands still, and checks that take one token of 60 a minute.
    struct Fixture {
        store: MemoryStore<Arc<ManualClock>>,
        clock: Arc<ManualClock>,
        limit: Arc<Limit>,
        tagger: Tagger,
    }

    impl Fixture {
        fn new() -> Self {
            let start = Timestamp::from_unix_micros(1_800_000_000_000_000);
            let clock = Arc::new(ManualClock::new(start));
            let rate = Rate::new("60/minute".parse().unwrap(), 10).unwrap();
            Self {
                store: MemoryStore::with_clock(Arc::clone(&clock)),
                clock,
                limit: Arc::new(Limit::new("default", Algorithm::TokenBucket(rate)).unwrap()),
                tagger: Tagger::new(b""),
            }
        }

        fn take(&self, client: u32) -> Decision {
            let tag = self.tagger.tag(Subject::Client(&client.to_le_bytes()));
            self.store.decide_now(&Check::new(Action::Take).with(&self.limit, tag, Cost::ONE))
        }
    }

    #[test]
    fn a_million_idle_buckets_free_their_memory() {
        let fixture = Fixture::new();
        (0..1_000_000).for_each(|client| assert!(fixture.take(client).is_allowed()));
        let Fixture { store, clock, .. } = fixture;
        assert_eq!(store.len(), 1_000_000);
        clock.advance(Duration::from_millis(999));
        store.sweep();
        assert_eq!(store.len(), 1_000_000, "no bucket is removed before it is full");
        clock.advance(Duration::from_millis(1));
        store.sweep();
        assert_eq!(store.len(), 0);
        assert!(store.capacity() < 10_000, "{}", store.capacity());
    }

    #[test]
    fn decisions_remove_buckets_that_are_full() {
        let fixture = Fixture::new();
        (0..100_000).for_each(|client| assert!(fixture.take(client).is_allowed()));
        fixture.clock.advance(Duration::from_secs(60));
        (0..100_000).step_by(20).for_each(|client| assert!(fixture.take(client).is_allowed()));
        assert!(fixture.store.len() < 10_000, "{}", fixture.store.len());
    }
}
