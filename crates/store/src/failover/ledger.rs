//! What was admitted while the store was unavailable, to be charged to it afterwards.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{
    Action, Algorithm, Bucket, BucketId, Check, Cost, Limit, Part, Settled, Timestamp,
};

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
/// Of the other algorithms, the tokens that still count are owed: those of a window, until it ends.
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
    refill: Algorithm,
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
    pub(super) fn record(&self, part: &Part, refill: &Algorithm, now: Timestamp) {
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
    pub(super) fn record_all(&self, parts: &[Part], refills: &[Algorithm], now: Timestamp) -> bool {
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

    /// Records that the cost of `part`, which was admitted before, did not come to pass. What is
    /// not owed any more cannot be forgiven.
    pub(super) fn forgive(&self, part: &Part, now: Timestamp) {
        if let Some(entry) = self.entries.lock().by_bucket.get_mut(&part.bucket()) {
            entry.forgive(part.cost, now);
        }
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

    fn add(&mut self, part: &Part, refill: &Algorithm, now: Timestamp) {
        match self.by_bucket.entry(part.bucket()) {
            hash_map::Entry::Occupied(mut known) => {
                let entry = known.get_mut();
                entry.limit = Arc::clone(&part.limit);
                entry.refill = refill.clone();
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
                entry.refill = newer.refill.clone();
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
    fn new(place: u64, part: &Part, refill: &Algorithm, now: Timestamp) -> Self {
        let mut empty = Settled::full(refill, now);
        if matches!(refill, Algorithm::TokenBucket(_)) {
            empty.take(refill.capacity());
        }
        let mut entry = Self {
            place,
            limit: Arc::clone(&part.limit),
            admitted: Cost::NONE,
            refill: refill.clone(),
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

    fn forgive(&mut self, cost: Cost, now: Timestamp) {
        self.admitted = self.admitted.minus(cost);
        let mut refilled = self.refilled.settled(&self.refill, now);
        refilled.give_back(cost.tokens(), None);
        self.refilled = refilled.bucket();
    }

    /// Returns the tokens to charge now, rounded up.
    fn owed(&self, now: Timestamp) -> Cost {
        let lacking = self.refilled.settled(&self.refill, now).used();
        let lacking = Cost::new(lacking).unwrap_or(Cost::MAX);
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
mod tests;
