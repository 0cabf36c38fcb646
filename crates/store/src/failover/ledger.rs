//! What was admitted while the store was away, to be charged to it afterwards.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{Action, Bucket, BucketId, Check, Cost, Limit, Part, Rate, Settled, Timestamp};

use crate::Clock;

/// Buckets that the ledger has room for: some 20 MB at most.
pub(super) const ROOM: usize = 100_000;

/// A full ledger looks this often for buckets that owe nothing any more.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Keeps one sum for each bucket, oldest first, in bounded memory.
///
/// Charged late, a token must not count twice: the refill that came while the store was away has
/// paid for some of what was admitted. So each entry keeps, beside the sum, a bucket with this
/// replica's part of the refill that was empty when the entry began. What is owed is what that
/// bucket lacks, and never more than the sum. Whatever the real bucket held when the store went
/// away, it then has, after the charge, at most the tokens that it would have had with every charge
/// in its time; and, of a single replica, at most a burst less.
///
/// When there is no room for a further bucket, those that owe nothing any more are forgotten. If
/// that does not help, what is known stays and what is new is dropped and counted.
#[derive(Debug)]
pub(super) struct Ledger {
    pages: Mutex<Pages>,
    room: usize,
}

/// What the ledger has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Tokens charged to the store so far.
    pub(super) charged: u64,
    /// Tokens that found no room, or that the store could not make sense of.
    pub(super) dropped: u64,
}

#[derive(Debug, Default)]
struct Pages {
    entries: HashMap<BucketId, Entry>,
    /// The entries' ids, each once, oldest first.
    order: VecDeque<BucketId>,
    next_sweep: Timestamp,
    totals: Totals,
}

#[derive(Debug)]
struct Entry {
    limit: Arc<Limit>,
    admitted: Cost,
    refill: Rate,
    refilled: Bucket,
}

/// Entries taken out of the ledger to be charged; those not settled go back when it falls, also
/// when its task is ended in the middle.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    ledger: &'a Ledger,
    entries: Vec<Option<(BucketId, Entry, Cost)>>,
    clock: &'a dyn Clock,
}

impl Ledger {
    pub(super) fn with_room_for(buckets: usize) -> Self {
        Self { pages: Mutex::default(), room: buckets }
    }

    /// How many buckets owe something, or did when they were last looked at.
    pub(super) fn len(&self) -> usize {
        self.pages.lock().entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn totals(&self) -> Totals {
        self.pages.lock().totals
    }

    /// Notes that `part` was admitted, on a replica whose part of the refill is `refill`; drops and
    /// counts it when there is no room.
    pub(super) fn note(&self, part: &Part, refill: &Rate, now: Timestamp) {
        if part.cost == Cost::NONE {
            return;
        }
        let mut pages = self.pages.lock();
        if pages.has_room_for(std::slice::from_ref(part), self.room, now) {
            pages.add(part, refill, now);
        } else {
            pages.totals.dropped = pages.totals.dropped.saturating_add(part.cost.tokens());
        }
    }

    /// Notes all parts with their parts of the refill, or none when there is no room for all; says
    /// which.
    pub(super) fn note_all(&self, parts: &[Part], refills: &[Rate], now: Timestamp) -> bool {
        let mut pages = self.pages.lock();
        let noted = pages.has_room_for(parts, self.room, now);
        if noted {
            for (part, refill) in
                parts.iter().zip(refills).filter(|(part, _)| part.cost != Cost::NONE)
            {
                pages.add(part, refill, now);
            }
        }
        noted
    }

    /// Takes out the oldest entries, `most` at most.
    pub(super) fn take<'a>(&'a self, most: usize, clock: &'a dyn Clock) -> Batch<'a> {
        let now = clock.now();
        let mut pages = self.pages.lock();
        let count = most.min(pages.order.len());
        let ids: Vec<BucketId> = pages.order.drain(..count).collect();
        let entries = ids
            .into_iter()
            .filter_map(|id| {
                let entry = pages.entries.remove(&id)?;
                let owed = entry.owed(now);
                (owed != Cost::NONE).then_some(Some((id, entry, owed)))
            })
            .collect();
        Batch { ledger: self, entries, clock }
    }
}

impl Pages {
    fn has_room_for(&mut self, parts: &[Part], room: usize, now: Timestamp) -> bool {
        if self.fits(parts, room) {
            return true;
        }
        if now >= self.next_sweep {
            self.next_sweep = now.after(SWEEP_EVERY);
            self.sweep(now);
        }
        self.fits(parts, room)
    }

    fn fits(&self, parts: &[Part], room: usize) -> bool {
        let is_new =
            |part: &&Part| part.cost != Cost::NONE && !self.entries.contains_key(&part.bucket());
        let new = parts.iter().filter(is_new).count();
        // Entries that were put back may have made it fuller than full.
        new == 0 || self.entries.len() + new <= room
    }

    fn sweep(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| entry.owed(now) != Cost::NONE);
        let entries = &self.entries;
        self.order.retain(|id| entries.contains_key(id));
    }

    fn add(&mut self, part: &Part, refill: &Rate, now: Timestamp) {
        match self.entries.entry(part.bucket()) {
            hash_map::Entry::Occupied(mut known) => {
                let entry = known.get_mut();
                entry.limit = Arc::clone(&part.limit);
                entry.refill = *refill;
                entry.add(part.cost, now);
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(Entry::new(part, refill, now));
                self.order.push_back(part.bucket());
            }
        }
    }

    /// Puts an entry back to the front, together with what was noted for its bucket meanwhile.
    fn put_back(&mut self, id: BucketId, mut entry: Entry, now: Timestamp) {
        match self.entries.entry(id) {
            hash_map::Entry::Occupied(mut newer) => {
                let newer = newer.get_mut();
                entry.limit = Arc::clone(&newer.limit);
                entry.refill = newer.refill;
                entry.add(newer.admitted, now);
                *newer = entry;
            }
            hash_map::Entry::Vacant(place) => {
                place.insert(entry);
                self.order.push_front(id);
            }
        }
    }
}

impl Entry {
    fn new(part: &Part, refill: &Rate, now: Timestamp) -> Self {
        let mut refilled = Settled::full(refill, now);
        refilled.take(refill.burst());
        let mut entry = Self {
            limit: Arc::clone(&part.limit),
            admitted: Cost::NONE,
            refill: *refill,
            refilled: refilled.bucket(),
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

    /// The tokens to charge now, rounded up.
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

impl Batch<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.iter().all(Option::is_none)
    }

    /// One charge for each entry, in order.
    pub(super) fn charges(&self) -> Vec<Check> {
        let charge = |(id, entry, owed): &(BucketId, Entry, Cost)| {
            Check::new(Action::Charge).with(&entry.limit, id.tag, *owed)
        };
        self.entries.iter().flatten().map(charge).collect()
    }

    /// The charge at `place` was made.
    pub(super) fn settled(&mut self, place: usize) {
        if let Some((_, _, owed)) = self.entries[place].take() {
            let totals = &mut self.ledger.pages.lock().totals;
            totals.charged = totals.charged.saturating_add(owed.tokens());
        }
    }

    /// The charge at `place` can never be made.
    pub(super) fn dropped(&mut self, place: usize) {
        if let Some((_, _, owed)) = self.entries[place].take() {
            let totals = &mut self.ledger.pages.lock().totals;
            totals.dropped = totals.dropped.saturating_add(owed.tokens());
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let now = self.clock.now();
        let mut pages = self.ledger.pages.lock();
        for (id, entry, _) in self.entries.drain(..).rev().flatten() {
            pages.put_back(id, entry, now);
        }
        if pages.entries.is_empty() {
            // An outage's memory is given back when it is over.
            (pages.entries, pages.order) = Default::default();
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

    fn numbers(rate: &str, burst: u64) -> Rate {
        Rate::new(rate.parse().unwrap(), burst).unwrap()
    }

    fn tag(client: u64) -> Tag {
        Tagger::new(b"").tag(Subject::Client(&client.to_le_bytes()))
    }

    fn part(client: u64, tokens: u64) -> Part {
        let limit = Limit::new("hourly", Algorithm::TokenBucket(numbers("60/hour", 10))).unwrap();
        Part::new(Arc::new(limit), tag(client), Cost::new(tokens).unwrap())
    }

    fn note(ledger: &Ledger, client: u64, tokens: u64, now: Timestamp) {
        let part = part(client, tokens);
        ledger.note(&part, part.limit.rate(), now);
    }

    /// Clients and tokens, in the order of the charges.
    fn charged(batch: &Batch<'_>) -> Vec<(Tag, u64)> {
        batch
            .charges()
            .iter()
            .map(|check| (check.parts()[0].tag, check.parts()[0].cost.tokens()))
            .collect()
    }

    #[test]
    fn one_bucket_is_one_charge_and_the_oldest_comes_first() {
        let (ledger, clock) = (Ledger::with_room_for(10), ManualClock::new(START));
        for (client, tokens) in [(1, 2), (2, 1), (3, 5), (1, 4), (2, 0), (4, 0)] {
            note(&ledger, client, tokens, START);
        }
        assert_eq!(ledger.len(), 3, "nothing is owed for nothing");
        let mut batch = ledger.take(2, &clock);
        assert_eq!(charged(&batch), [(tag(1), 6), (tag(2), 1)]);
        assert!(batch.charges().iter().all(|check| check.action() == Action::Charge));
        batch.settled(0);
        batch.settled(1);
        drop(batch);
        assert_eq!(charged(&ledger.take(2, &clock)), [(tag(3), 5)]);
        assert_eq!(ledger.totals(), Totals { charged: 7, dropped: 0 });
    }

    #[test]
    fn an_empty_ledger_gives_its_memory_back() {
        let (ledger, clock) = (Ledger::with_room_for(ROOM), ManualClock::new(START));
        (0..1_000).for_each(|client| note(&ledger, client, 1, START));
        let mut batch = ledger.take(1_000, &clock);
        (0..1_000).for_each(|place| batch.settled(place));
        drop(batch);
        let pages = ledger.pages.lock();
        assert_eq!((pages.entries.capacity(), pages.order.capacity()), (0, 0));
    }

    #[test]
    fn what_is_not_settled_goes_back_to_the_front_with_what_was_noted_since() {
        let (ledger, clock) = (Ledger::with_room_for(10), ManualClock::new(START));
        (1..=4).for_each(|client| note(&ledger, client, client, START));
        let mut batch = ledger.take(3, &clock);
        note(&ledger, 3, 10, START);
        batch.settled(1);
        drop(batch);
        assert_eq!(charged(&ledger.take(9, &clock)), [(tag(1), 1), (tag(4), 4), (tag(3), 13)]);
    }

    #[test]
    fn a_full_ledger_keeps_what_it_knows_and_counts_what_it_drops() {
        let (ledger, clock) = (Ledger::with_room_for(2), ManualClock::new(START));
        [1, 2, 3, 1, 4].into_iter().for_each(|client| note(&ledger, client, 5, START));
        assert_eq!(charged(&ledger.take(9, &clock)), [(tag(1), 10), (tag(2), 5)]);
        assert_eq!(ledger.totals().dropped, 10);
    }

    #[test]
    fn a_ledger_fuller_than_full_still_adds_to_what_it_knows() {
        let (ledger, clock) = (Ledger::with_room_for(1), ManualClock::new(START));
        note(&ledger, 1, 1, START);
        let failed = ledger.take(1, &clock);
        note(&ledger, 2, 1, START);
        drop(failed);
        note(&ledger, 1, 4, START);
        note(&ledger, 2, 5, START);
        assert_eq!(charged(&ledger.take(9, &clock)), [(tag(1), 5), (tag(2), 6)]);
        assert_eq!(ledger.totals().dropped, 0);
    }

    #[test]
    fn a_full_ledger_makes_room_by_forgetting_what_the_refill_has_paid() {
        let (ledger, clock) = (Ledger::with_room_for(2), ManualClock::new(START));
        note(&ledger, 1, 1, START);
        note(&ledger, 2, 10, START);
        // A token a minute: eleven minutes pay for a burst and one token more.
        clock.advance(Duration::from_secs(11 * 60));
        note(&ledger, 3, 1, clock.now());
        note(&ledger, 4, 1, clock.now());
        assert_eq!(charged(&ledger.take(9, &clock)), [(tag(2), 9), (tag(3), 1)]);
        assert_eq!(ledger.totals().dropped, 1);
    }

    #[test]
    fn charges_that_belong_together_are_noted_all_or_none() {
        let ledger = Ledger::with_room_for(2);
        let both = [part(1, 1), part(2, 1)];
        let refills = [*both[0].limit.rate(); 2];
        note(&ledger, 3, 1, START);
        assert!(!ledger.note_all(&both, &refills, START));
        assert_eq!((ledger.len(), ledger.totals().dropped), (1, 0), "its caller gets the error");
        assert!(ledger.note_all(&both[..1], &refills, START));
        assert!(ledger.note_all(&[part(3, 1), part(1, 1), part(9, 0)], &[refills[0]; 3], START));
        assert_eq!(ledger.len(), 2);
    }

    #[test]
    fn sums_stay_costs() {
        let (ledger, clock) = (Ledger::with_room_for(2), ManualClock::new(START));
        note(&ledger, 1, Cost::MAX.tokens(), START);
        note(&ledger, 1, Cost::MAX.tokens(), START);
        let batch = ledger.take(1, &clock);
        assert!(batch.charges()[0].parts()[0].cost <= Cost::MAX);
        assert!(!batch.is_empty());
    }

    prop_compose! {
        fn rates()(tokens in 1_u64..500, period in prop::sample::select(vec![1_u64, 7, 60, 3_600])) -> RefillRate {
            RefillRate::new(tokens, Duration::from_secs(period)).unwrap()
        }
    }

    proptest! {
        /// The promise of the ledger: a fleet that charges late never leaves more in a bucket than
        /// charges in their time would have; and a replica alone leaves at most a burst less.
        #[test]
        fn charged_late_a_bucket_never_holds_more_than_charged_in_time(
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
            let ledgers: Vec<_> = (0..replicas).map(|_| Ledger::with_room_for(1)).collect();
            for (gap, replica, tokens) in admitted {
                clock.advance(Duration::from_micros(gap));
                let now = clock.now();
                in_time = in_time.bucket().settled(&whole, now);
                in_time.take(tokens);
                ledgers[usize::try_from(replica % replicas).unwrap()].note(&part(1, tokens), &refill, now);
            }
            clock.advance(Duration::from_micros(idle));
            let now = clock.now();
            in_time = in_time.bucket().settled(&whole, now);
            let mut late = spent.settled(&whole, now);
            for ledger in &ledgers {
                for (_, tokens) in charged(&ledger.take(1, &clock)) {
                    late.take(tokens);
                }
            }
            prop_assert!(late.bucket().empty_at() >= in_time.bucket().empty_at(), "more by {:?}", (late, in_time));
            if replicas == 1 {
                in_time.take(burst + 1);
                prop_assert!(late.bucket().empty_at() <= in_time.bucket().empty_at(), "less by more than a burst: {:?}", (late, in_time));
            }
        }
    }
}
