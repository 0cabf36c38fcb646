//! Buckets in the process: for one replica, for tests, and for the time while a shared store is
//! away.

mod roll;
mod shard;

use std::fmt;

use parking_lot::{Mutex, MutexGuard};
use sluice_core::{Bucket, Check, Decision, Part, Source, Tag, Timestamp};
use smallvec::SmallVec;

use self::{roll::Roll, shard::Shard};
use crate::{Clock, Fleet, MonotonicClock, Replica, Store, StoreError, StoreFuture};

/// One for each value of [`Tag::part`]. Enough that two cores rarely meet, and that sweeping one
/// takes microseconds.
const SHARDS: usize = 256;

/// Keeps buckets in the process's memory.
///
/// A bucket is forgotten once it is full again, so what is kept is bounded by who was active within
/// the time a bucket needs to fill. Use sweeps the shards it touches; [`Store::announce`] sweeps
/// all of them, so that an idle store gives its memory back.
pub struct MemoryStore<C = MonotonicClock> {
    shards: Box<[Mutex<Shard>]>,
    roll: Mutex<Roll>,
    clock: C,
}

impl MemoryStore {
    /// An empty store on the system's clock.
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
    /// An empty store that asks `clock` for the time.
    pub fn with_clock(clock: C) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, roll: Mutex::default(), clock }
    }

    /// How many buckets are kept, those included that have become full since the last sweep.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no bucket is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many buckets there is room for without asking for memory.
    pub fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().capacity()).sum()
    }

    /// Forgets every bucket that is full again, and gives their memory back.
    pub fn sweep(&self) {
        for shard in &self.shards {
            shard.lock().sweep(self.clock.now());
        }
    }

    /// Decides at once: what a store over this one need not wait for.
    pub(crate) fn decide_now(&self, check: &Check) -> Decision {
        if let [part] = check.parts() {
            return self.decide_one(check, part);
        }
        let mut shards: SmallVec<[u8; 4]> =
            check.parts().iter().map(|part| part.tag.part()).collect();
        // Always in the same order, so that two checks never wait for each other.
        shards.sort_unstable();
        shards.dedup();
        let mut guards: SmallVec<[MutexGuard<'_, Shard>; 4]> =
            shards.iter().map(|&shard| self.shards[usize::from(shard)].lock()).collect();
        self.decide_in(check, &mut guards, &shards)
    }

    /// Nearly every check has one part: its bucket is looked up once.
    fn decide_one(&self, check: &Check, part: &Part) -> Decision {
        let mut shard = self.shards[usize::from(part.tag.part())].lock();
        let now = self.clock.now();
        shard.sweep_if_due(now);
        shard.update(part, now, |bucket| {
            check.decide(std::slice::from_mut(bucket), now, Source::Store)
        })
    }

    /// Decides on the shards held; `numbers` are theirs, in the same order.
    fn decide_in(
        &self,
        check: &Check,
        held: &mut [MutexGuard<'_, Shard>],
        numbers: &[u8],
    ) -> Decision {
        let place =
            |tag: Tag| numbers.binary_search(&tag.part()).expect("every part's shard is held");
        // Read once the shards are held: time never goes back between two decisions on a bucket.
        let now = self.clock.now();
        let before: SmallVec<[Bucket; 4]> = check
            .parts()
            .iter()
            .map(|part| {
                held[place(part.tag)]
                    .get(part, now)
                    .unwrap_or_else(|| Bucket::full(part.limit.rate(), now))
            })
            .collect();
        let mut after = before.clone();
        let decision = check.decide(&mut after, now, Source::Store);
        for (part, (before, after)) in check.parts().iter().zip(before.iter().zip(&after)) {
            if before != after {
                held[place(part.tag)].update(part, now, |bucket| *bucket = *after);
            }
        }
        for shard in held {
            shard.sweep_if_due(now);
        }
        decision
    }

    /// The store's time.
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
        StoreFuture::ready(Ok(self.roll.lock().announce(replica, self.clock.now())))
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        self.roll.lock().depart(replica);
        StoreFuture::ready(Ok(()))
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

    #[test]
    fn a_million_idle_buckets_give_their_memory_back() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
        let store = MemoryStore::with_clock(Arc::clone(&clock));
        let numbers = Rate::new("60/minute".parse().unwrap(), 10).unwrap();
        let limit = Arc::new(Limit::new("default", Algorithm::TokenBucket(numbers)).unwrap());
        let tagger = Tagger::new(b"");
        for client in 0..1_000_000_u32 {
            let tag = tagger.tag(Subject::Client(&client.to_le_bytes()));
            let decision = store.decide_now(&Check::new(Action::Take).with(&limit, tag, Cost::ONE));
            assert!(decision.is_allowed());
        }
        assert_eq!(store.len(), 1_000_000);
        clock.advance(Duration::from_millis(999));
        store.sweep();
        assert_eq!(store.len(), 1_000_000, "nothing is forgotten before it is full");
        clock.advance(Duration::from_millis(1));
        store.sweep();
        assert_eq!(store.len(), 0);
        assert!(store.capacity() < 10_000, "{}", store.capacity());
    }

    #[test]
    fn use_alone_forgets_what_is_full() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
        let store = MemoryStore::with_clock(Arc::clone(&clock));
        let numbers = Rate::new("60/minute".parse().unwrap(), 10).unwrap();
        let limit = Arc::new(Limit::new("default", Algorithm::TokenBucket(numbers)).unwrap());
        let tagger = Tagger::new(b"");
        let take = |client: u32| {
            let tag = tagger.tag(Subject::Client(&client.to_le_bytes()));
            store.decide_now(&Check::new(Action::Take).with(&limit, tag, Cost::ONE))
        };
        (0..100_000).for_each(|client| assert!(take(client).is_allowed()));
        clock.advance(Duration::from_secs(60));
        (0..100_000).step_by(20).for_each(|client| assert!(take(client).is_allowed()));
        assert!(store.len() < 10_000, "{}", store.len());
    }
}
