//! What a ledger owes, and that it is never more than was admitted.

use proptest::prelude::*;
use sluice_core::{Rate, RefillRate, SettledTokens, Subject, Tag, Tagger};

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
    ledger.record(&part, part.limit.algorithm(), now);
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
    let refills = [both[0].limit.algorithm().clone(), both[1].limit.algorithm().clone()];
    record(&ledger, 3, 1, START);
    assert!(!ledger.record_all(&both, &refills, START));
    assert_eq!(
        (ledger.len(), ledger.totals().dropped),
        (1, 0),
        "the caller gets the error instead"
    );
    assert!(ledger.record_all(&both[..1], &refills, START));
    assert!(ledger.record_all(
        &[part(3, 1), part(1, 1), part(9, 0)],
        &[(); 3].map(|()| refills[0].clone()),
        START
    ));
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
        let mut in_time = SettledTokens::full(&whole, START);
        in_time.take(spent_before.min(burst));
        let spent = in_time.bucket();
        let ledgers: Vec<_> = (0..replicas).map(|_| Ledger::with_capacity(1)).collect();
        for (gap, replica, tokens) in admitted {
            clock.advance(Duration::from_micros(gap));
            let now = clock.now();
            in_time = in_time.bucket().settled(&whole, now);
            in_time.take(tokens);
            let ledger = &ledgers[usize::try_from(replica % replicas).unwrap()];
            ledger.record(&part(1, tokens), &refill.into(), now);
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
