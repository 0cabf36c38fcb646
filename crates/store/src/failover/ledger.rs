//! What was admitted while the store was unavailable, to be charged to it afterwards.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{Action, Bucket, BucketId, Check, Cost, Limit, Part, Rate, Settled, Timestamp};

use super::{charge_order::ChargeOrder, partition_set::PartitionSet};
use crate::Clock;

/// The most buckets that the ledger of a failover holds: some 20 MB.
pub(super) const CAPACITY: usize = 100_000;

/// How often a full ledger looks for buckets that owe nothing any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps one sum of admitted tokens for each bucket, oldest first, in bounded memory.
///
/// A token that is charged late must not count twice: the refill that came while the store was
/// unavailable has paid for some of what was admitted. So each entry keeps, beside the sum, a
/// bucket with this replica's share of the refill that was empty when the entry was made. The
/// tokens owed are those that this bucket lacks, and never more than the sum. Whatever the real
/// bucket held when the outage began, after the charge it holds at most the tokens that it would
/// hold had every charge been made in time. With a single replica, it holds at most one burst less.
///
/// A full ledger first forgets the buckets that owe nothing any more. If that does not help, it
/// keeps its entries, and drops and counts what is new.
#[derive(Debug)]
pub(super) struct Ledger {
    entries: Mutex<Entries>,
    capacity: usize,
}

/// Tokens that left the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LedgerTotals {
    /// Tokens charged to the store.
    pub(super) charged: u64,
    /// Tokens that found the ledger full, or whose bucket the store could not read.
    pub(super) dropped: u64,
}

#[derive(Debug, Default)]
struct Entries {
    by_bucket: HashMap<BucketId, Entry>,
    /// The keys of `by_bucket`, each once.
    order: ChargeOrder,
    next_sweep: Timestamp,
    totals: LedgerTotals,
}

#[derive(Debug)]
struct Entry {
    /// Its place in the order.
    place: u64,
    limit: Arc<Limit>,
    admitted: Cost,
    refill: Rate,
    /// Lacks the tokens that the refill has not paid for.
    refilled: Bucket,
}

/// Entries taken out of the ledger to be charged. Those that were neither charged nor dropped go
/// back when the batch is dropped, also when its task is aborted.
#[derive(Debug)]
pub(super) struct ChargeBatch<'a> {
    ledger: &'a Ledger,
    entries: Vec<Option<(BucketId, Entry, Cost)>>,
    clock: &'a dyn Clock,
}

impl Ledger {
    pub(super) fn with_capacity(buckets: usize) -> Self {
        Self { entries: Mutex::default(), capacity: buckets }
    }

    /// Returns the number of buckets that owe something, or did when they were last looked at.
    pub(super) fn len(&self) -> usize {
        self.entries.lock().by_bucket.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the partitions whose buckets owe something.
    pub(super) fn partitions(&self) -> PartitionSet {
        self.entries.lock().order.partitions()
    }

    /// Returns the number of buckets in `partitions` that owe something.
    pub(super) fn len_in(&self, partitions: PartitionSet) -> usize {
        self.entries.lock().order.len_in(partitions)
    }

    pub(super) fn totals(&self) -> LedgerTotals {
        self.entries.lock().totals
    }

    /// Records that `part` was admitted on a replica whose share of the rate is `refill`. Drops and
    /// counts it if the ledger is full.
    pub(super) fn record(&self, part: &Part, refill: &Rate, now: Timestamp) {
        if part.cost == Cost::NONE {
            return;
        }
        let mut entries = self.entries.lock();
        if entries.has_room_for(std::slice::from_ref(part), self.capacity, now) {
            entries.add(part, refill, now);
        } else {
            entries.totals.dropped = entries.totals.dropped.saturating_add(part.cost.tokens());
        }
    }

    /// Records all parts with their shares of the rates, or none if there is no room for all.
    /// Returns whether they were recorded.
    pub(super) fn record_all(&self, parts: &[Part], refills: &[Rate], now: Timestamp) -> bool {
        let mut entries = self.entries.lock();
        let fits = entries.has_room_for(parts, self.capacity, now);
        if fits {
            for (part, refill) in
                parts.iter().zip(refills).filter(|(part, _)| part.cost != Cost::NONE)
            {
                entries.add(part, refill, now);
            }
        }
        fits
    }

    /// Takes out the oldest entries of buckets in `partitions`, at most `most`.
    pub(super) fn take_oldest<'a>(
        &'a self,
        most: usize,
        partitions: PartitionSet,
        clock: &'a dyn Clock,
    ) -> ChargeBatch<'a> {
        let now = clock.now();
        let mut entries = self.entries.lock();
        let entries = &mut *entries;
        let taken = std::iter::from_fn(|| entries.order.pop_oldest(partitions))
            .take(most)
            .filter_map(|id| {
                let entry = entries.by_bucket.remove(&id)?;
                let owed = entry.owed(now);
                (owed != Cost::NONE).then_some(Some((id, entry, owed)))
            })
            .collect();
        ChargeBatch { ledger: self, entries: taken, clock }
    }
}

impl Entries {
    fn has_room_for(&mut self, parts: &[Part], capacity: usize, now: Timestamp) -> bool {
        if self.fits(parts, capacity) {
            return true;
        }
        if now >= self.next_sweep {
            self.next_sweep = now.after(SWEEP_INTERVAL);
            self.sweep(now);
        }
        self.fits(parts, capacity)
    }

    fn fits(&self, parts: &[Part], capacity: usize) -> bool {
        let is_new =
            |part: &&Part| part.cost != Cost::NONE && !self.by_bucket.contains_key(&part.bucket());
        let new = parts.iter().filter(is_new).count();
        // Entries that a batch put back may have raised the number above the capacity.
        new == 0 || self.by_bucket.len() + new <= capacity
    }

    fn sweep(&mut self, now: Timestamp) {
        self.by_bucket.retain(|_, entry| entry.owed(now) != Cost::NONE);
        let by_bucket = &self.by_bucket;
        self.order.retain(|id| by_bucket.contains_key(id));
    }

    fn add(&mut self, part: &Part, refill: &Rate, now: Timestamp) {
        match self.by_bucket.entry(part.bucket()) {
            hash_map::Entry::Occupied(mut known) => {
                let entry = known.get_mut();
                entry.limit = Arc::clone(&part.limit);
                entry.refill = *refill;
                entry.add(part.cost, now);
            }
            hash_map::Entry::Vacant(vacant) => {
                let place = self.order.push_newest(part.bucket());
                vacant.insert(Entry::new(place, part, refill, now));
            }
        }
    }

    /// Puts an entry back to its place, together with what was recorded for its bucket since it was
    /// taken out.
    fn put_back(&mut self, id: BucketId, mut entry: Entry, now: Timestamp) {
        match self.by_bucket.entry(id) {
            hash_map::Entry::Occupied(mut newer) => {
                let newer = newer.get_mut();
                entry.place = newer.place;
                entry.limit = Arc::clone(&newer.limit);
                entry.refill = newer.refill;
                entry.add(newer.admitted, now);
                *newer = entry;
            }
            hash_map::Entry::Vacant(vacant) => {
                self.order.put_back(entry.place, id);
                vacant.insert(entry);
            }
        }
    }
}

impl Entry {
    fn new(place: u64, part: &Part, refill: &Rate, now: Timestamp) -> Self {
        let mut empty = Settled::full(refill, now);
        empty.take(refill.burst());
        let mut entry = Self {
            place,
            limit: Arc::clone(&part.limit),
            admitted: Cost::NONE,
            refill: *refill,
            refilled: empty.bucket(),
        };
        entry.add(part.cost, now);
        entry
    }

    fn add(&mut self, cost: Cost, now: Timestamp) {
        self.admitted = self.admitted.plus(cost);
        let mut refilled = self.refilled.settled(&self.refill, now);
        refilled.take(cost.tokens());
        self.refilled = refilled.bucket();
    }

    /// Returns the tokens to charge now, rounded up.
    fn owed(&self, now: Timestamp) -> Cost {
        let rate = self.refill.refill();
        let lacking_us = self.refilled.settled(&self.refill, now).full_in().as_micros();
        let lacking = (lacking_us * u128::from(rate.tokens())).div_ceil(rate.micros().into());
        let lacking = u64::try_from(lacking)
            .ok()
            .and_then(|tokens| Cost::new(tokens).ok())
            .unwrap_or(Cost::MAX);
        self.admitted.min(lacking)
    }
}

impl ChargeBatch<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.iter().all(Option::is_none)
    }

    /// Returns one charge for each entry, in order.
    pub(super) fn charges(&self) -> Vec<Check> {
        let charge = |(id, entry, owed): &(BucketId, Entry, Cost)| {
            Check::new(Action::Charge).with(&entry.limit, id.tag, *owed)
        };
        self.entries.iter().flatten().map(charge).collect()
    }

    /// Records that the charge at `index` was made.
    pub(super) fn mark_charged(&mut self, index: usize) {
        if let Some((_, _, owed)) = self.entries[index].take() {
            let totals = &mut self.ledger.entries.lock().totals;
            totals.charged = totals.charged.saturating_add(owed.tokens());
        }
    }

    /// Records that the charge at `index` can never be made.
    pub(super) fn mark_dropped(&mut self, index: usize) {
        if let Some((_, _, owed)) = self.entries[index].take() {
            let totals = &mut self.ledger.entries.lock().totals;
            totals.dropped = totals.dropped.saturating_add(owed.tokens());
        }
    }
}

impl Drop for ChargeBatch<'_> {
    fn drop(&mut self) {
        let now = self.clock.now();
        let mut entries = self.ledger.entries.lock();
        for (id, entry, _) in self.entries.drain(..).rev().flatten() {
            entries.put_back(id, entry, now);
        }
        if entries.by_bucket.is_empty() {
            // Frees the memory that the outage needed.
            (entries.by_bucket, entries.order) = Default::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_core::{Algorithm, RefillRate, Subject, Tag, Tagger};

    use super::*;
    use crate::ManualClock;

    const START: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

    fn rate(rate: &str, burst: u64) -> Rate {
        Rate::new(rate.parse().unwrap(), burst).unwrap()
    }

    fn tag(client: u64) -> Tag {
        Tagger::new(b"").tag(Subject::Client(&client.to_le_bytes()))
    }

    fn part(client: u64, tokens: u64) -> Part {
        let limit = Limit::new("hourly", Algorithm::TokenBucket(rate("60/hour", 10))).unwrap();
        Part::new(Arc::new(limit), tag(client), Cost::new(tokens).unwrap())
    }

    fn record(ledger: &Ledger, client: u64, tokens: u64, now: Timestamp) {
        let part = part(client, tokens);
        ledger.record(&part, part.limit.rate(), now);
    }

    /// Returns the clients and tokens of a batch, in the order of the charges.
    fn charged(batch: &ChargeBatch<'_>) -> Vec<(Tag, u64)> {
        batch
            .charges()
            .iter()
            .map(|check| (check.parts()[0].tag, check.parts()[0].cost.tokens()))
            .collect()
    }

    #[test]
    fn each_bucket_is_charged_once_and_the_oldest_comes_first() {
        let (ledger, clock) = (Ledger::with_capacity(10), ManualClock::new(START));
        for (client, tokens) in [(1, 2), (2, 1), (3, 5), (1, 4), (2, 0), (4, 0)] {
            record(&ledger, client, tokens, START);
        }
        assert_eq!(ledger.len(), 3, "a cost of 0 owes nothing");
        let mut batch = ledger.take_oldest(2, PartitionSet::ALL, &clock);
        assert_eq!(charged(&batch), [(tag(1), 6), (tag(2), 1)]);
        assert!(batch.charges().iter().all(|check| check.action() == Action::Charge));
        batch.mark_charged(0);
        batch.mark_charged(1);
        drop(batch);
        assert_eq!(charged(&ledger.take_oldest(2, PartitionSet::ALL, &clock)), [(tag(3), 5)]);
        assert_eq!(ledger.totals(), LedgerTotals { charged: 7, dropped: 0 });
    }

    #[test]
    fn only_buckets_of_the_asked_partitions_are_charged() {
        let (ledger, clock) = (Ledger::with_capacity(1_000), ManualClock::new(START));
        (0..1_000).for_each(|client| record(&ledger, client, 1, START));
        assert_eq!(ledger.partitions(), PartitionSet::ALL);
        let some: PartitionSet = [tag(0), tag(1), tag(2)].map(Tag::partition).into_iter().collect();
        let expected: Vec<_> =
            (0..1_000).map(tag).filter(|tag| some.contains(tag.partition())).collect();
        assert_eq!(ledger.len_in(some), expected.len());
        let mut batch = ledger.take_oldest(1_000, some, &clock);
        let tags: Vec<_> = charged(&batch).into_iter().map(|(tag, _)| tag).collect();
        assert_eq!(tags, expected, "the oldest first");
        for index in 0..tags.len() {
            batch.mark_charged(index);
        }
        drop(batch);
        assert_eq!((ledger.len_in(some), ledger.len()), (0, 1_000 - expected.len()));
        assert!(!some.iter().any(|partition| ledger.partitions().contains(partition)));
    }

    #[test]
    fn an_empty_ledger_frees_its_memory() {
        let (ledger, clock) = (Ledger::with_capacity(CAPACITY), ManualClock::new(START));
        (0..1_000).for_each(|client| record(&ledger, client, 1, START));
        let mut batch = ledger.take_oldest(1_000, PartitionSet::ALL, &clock);
        (0..1_000).for_each(|index| batch.mark_charged(index));
        drop(batch);
        let entries = ledger.entries.lock();
        assert_eq!((entries.by_bucket.capacity(), entries.order.capacity()), (0, 0));
    }

    #[test]
    fn entries_that_were_not_charged_return_to_the_front_with_what_was_recorded_since() {
        let (ledger, clock) = (Ledger::with_capacity(10), ManualClock::new(START));
        (1..=4).for_each(|client| record(&ledger, client, client, START));
        let mut batch = ledger.take_oldest(3, PartitionSet::ALL, &clock);
        record(&ledger, 3, 10, START);
        batch.mark_charged(1);
        drop(batch);
        assert_eq!(
            charged(&ledger.take_oldest(9, PartitionSet::ALL, &clock)),
            [(tag(1), 1), (tag(4), 4), (tag(3), 13)]
        );
    }

    #[test]
    fn a_full_ledger_keeps_its_entries_and_counts_what_it_drops() {
        let (ledger, clock) = (Ledger::with_capacity(2), ManualClock::new(START));
        [1, 2, 3, 1, 4].into_iter().for_each(|client| record(&ledger, client, 5, START));
        assert_eq!(
            charged(&ledger.take_oldest(9, PartitionSet::ALL, &clock)),
            [(tag(1), 10), (tag(2), 5)]
        );
        assert_eq!(ledger.totals().dropped, 10);
    }

    #[test]
    fn a_ledger_above_its_capacity_still_adds_to_its_entries() {
        let (ledger, clock) = (Ledger::with_capacity(1), ManualClock::new(START));
        record(&ledger, 1, 1, START);
        let failed = ledger.take_oldest(1, PartitionSet::ALL, &clock);
        record(&ledger, 2, 1, START);
        drop(failed);
        record(&ledger, 1, 4, START);
        record(&ledger, 2, 5, START);
        assert_eq!(
            charged(&ledger.take_oldest(9, PartitionSet::ALL, &clock)),
            [(tag(1), 5), (tag(2), 6)]
        );
        assert_eq!(ledger.totals().dropped, 0);
    }

    #[test]
    fn a_full_ledger_forgets_entries_that_the_refill_has_paid_for() {
        let (ledger, clock) = (Ledger::with_capacity(2), ManualClock::new(START));
        record(&ledger, 1, 1, START);
        record(&ledger, 2, 10, START);
        // A token a minute: eleven minutes pay for a burst and one token more.
        clock.advance(Duration::from_secs(11 * 60));
        record(&ledger, 3, 1, clock.now());
        record(&ledger, 4, 1, clock.now());
        assert_eq!(
            charged(&ledger.take_oldest(9, PartitionSet::ALL, &clock)),
            [(tag(2), 9), (tag(3), 1)]
        );
        assert_eq!(ledger.totals().dropped, 1);
    }

    #[test]
    fn the_parts_of_one_check_are_recorded_all_or_none() {
        let ledger = Ledger::with_capacity(2);
        let both = [part(1, 1), part(2, 1)];
        let refills = [*both[0].limit.rate(); 2];
        record(&ledger, 3, 1, START);
        assert!(!ledger.record_all(&both, &refills, START));
        assert_eq!(
            (ledger.len(), ledger.totals().dropped),
            (1, 0),
            "the caller gets the error instead"
        );
        assert!(ledger.record_all(&both[..1], &refills, START));
        assert!(ledger.record_all(&[part(3, 1), part(1, 1), part(9, 0)], &[refills[0]; 3], START));
        assert_eq!(ledger.len(), 2);
    }

    #[test]
    fn sums_never_exceed_the_largest_cost() {
        let (ledger, clock) = (Ledger::with_capacity(2), ManualClock::new(START));
        record(&ledger, 1, Cost::MAX.tokens(), START);
        record(&ledger, 1, Cost::MAX.tokens(), START);
        let batch = ledger.take_oldest(1, PartitionSet::ALL, &clock);
        assert!(batch.charges()[0].parts()[0].cost <= Cost::MAX);
        assert!(!batch.is_empty());
    }

    prop_compose! {
        fn rates()(
            tokens in 1_u64..500,
            period in prop::sample::select(vec![1_u64, 7, 60, 3_600]),
        ) -> RefillRate {
            RefillRate::new(tokens, Duration::from_secs(period)).unwrap()
        }
    }

    proptest! {
        /// The promise of the ledger: a fleet that charges late never leaves more tokens in a
        /// bucket than charges in time would have, and a single replica leaves at most one burst
        /// less.
        #[test]
        fn a_bucket_charged_late_never_holds_more_than_one_charged_in_time(
            rate in rates(),
            burst in 1_u64..60,
            replicas in 1_u64..5,
            spent_before in 0_u64..60,
            admitted in prop::collection::vec((0_u64..5_000_000, 0_u64..5, 1_u64..10), 1..60),
            idle in 0_u64..20_000_000,
        ) {
            let whole = Rate::new(rate, burst).unwrap();
            let refill = Rate::new(rate.shared_among(replicas), burst.div_ceil(replicas)).unwrap();
            let clock = ManualClock::new(START);
            let mut in_time = Settled::full(&whole, START);
            in_time.take(spent_before.min(burst));
            let spent = in_time.bucket();
            let ledgers: Vec<_> = (0..replicas).map(|_| Ledger::with_capacity(1)).collect();
            for (gap, replica, tokens) in admitted {
                clock.advance(Duration::from_micros(gap));
                let now = clock.now();
                in_time = in_time.bucket().settled(&whole, now);
                in_time.take(tokens);
                let ledger = &ledgers[usize::try_from(replica % replicas).unwrap()];
                ledger.record(&part(1, tokens), &refill, now);
            }
            clock.advance(Duration::from_micros(idle));
            let now = clock.now();
            in_time = in_time.bucket().settled(&whole, now);
            let mut late = spent.settled(&whole, now);
            for ledger in &ledgers {
                for (_, tokens) in charged(&ledger.take_oldest(1, PartitionSet::ALL, &clock)) {
                    late.take(tokens);
                }
            }
            prop_assert!(
                late.bucket().empty_at() >= in_time.bucket().empty_at(),
                "more tokens than in time: {:?}", (late, in_time)
            );
            if replicas == 1 {
                in_time.take(burst + 1);
                prop_assert!(
                    late.bucket().empty_at() <= in_time.bucket().empty_at(),
                    "more than a burst less than in time: {:?}", (late, in_time)
                );
            }
        }
    }
}
