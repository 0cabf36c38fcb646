//! Holds, compared with a model that adds up tokens and counts each step of a hold once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use num_rational::Ratio;
use proptest::prelude::*;
use sluice_core::{
    Algorithm, Bucket, BucketId, Check, Cost, CostsDigest, Decision, Guarded, Hold, HoldId,
    HoldStep, Limit, Mode, Part, Rate, Record, RecordWrite, Source, Subject, Tag, Tagger,
    Timestamp,
};

/// 2026-01-01T00:00:00Z
const START_US: i64 = 1_767_225_600_000_000;
const HOLD_FOR: Duration = Duration::from_secs(2);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(START_US + micros)
}

fn tokens(number: u64) -> Cost {
    Cost::new(number).unwrap()
}

fn limit(name: &str, rate: &str) -> Arc<Limit> {
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate.parse().unwrap())).unwrap())
}

fn alice() -> Tag {
    Tagger::new(b"").tag(Subject::Client(b"alice"))
}

/// Returns the digest of costs in the buckets of one client.
fn digest(limits: &[Arc<Limit>], costs: &[u64]) -> CostsDigest {
    let bucket = |limit: &Arc<Limit>| BucketId { tag: alice(), limit: limit.key() };
    CostsDigest::of(limits.iter().map(bucket).zip(costs.iter().map(|&cost| tokens(cost))))
}

/// Buckets of one client under some limits, and records of holds.
struct Store {
    limits: Vec<Arc<Limit>>,
    buckets: Vec<Option<Bucket>>,
    records: HashMap<HoldId, (Record, Timestamp)>,
    now_us: i64,
}

impl Store {
    fn of(limits: Vec<Arc<Limit>>) -> Self {
        let buckets = limits.iter().map(|_| None).collect();
        Self { limits, buckets, records: HashMap::new(), now_us: 0 }
    }

    fn decide(&mut self, check: &Check) -> Decision {
        let now = at(self.now_us);
        self.records.retain(|_, (_, until)| *until > now);
        let id = check.hold().unwrap().id();
        let full = |limit: &Arc<Limit>| Bucket::full(limit.algorithm(), now);
        let stored = self.buckets.iter().zip(&self.limits);
        let mut buckets: Vec<Bucket> =
            stored.map(|(bucket, limit)| bucket.unwrap_or_else(|| full(limit))).collect();
        let record = self.records.get(&id).map(|(record, _)| *record);
        let (decision, write) = check.decide_hold(&mut buckets, record, now, Source::Store);
        self.buckets = buckets.into_iter().map(Some).collect();
        if let Some(RecordWrite { record, until }) = write {
            match record {
                Some(record) => drop(self.records.insert(id, (record, until))),
                None => drop(self.records.remove(&id)),
            }
        }
        decision
    }

    fn remaining(&self, index: usize) -> u64 {
        let (limit, now) = (&self.limits[index], at(self.now_us));
        let bucket = self.buckets[index].unwrap_or_else(|| Bucket::full(limit.algorithm(), now));
        bucket.settled(limit.algorithm(), now).remaining()
    }

    fn taking(&self, id: HoldId, costs: &[u64], step: HoldStep) -> Check {
        let check = Check::of_hold(Hold::new(id, HOLD_FOR, step));
        let parts = self.limits.iter().zip(costs);
        parts.fold(check, |check, (limit, &cost)| check.with(limit, alice(), tokens(cost)))
    }

    fn reserve(&self, id: HoldId, costs: &[u64]) -> Check {
        self.taking(id, costs, HoldStep::Reserve { costs: digest(&self.limits, costs) })
    }

    fn extend(&self, id: HoldId, from: &[u64], extra: &[u64], reserved_us: i64) -> Check {
        let to: Vec<u64> = from.iter().zip(extra).map(|(from, extra)| from + extra).collect();
        let (from, to) = (digest(&self.limits, from), digest(&self.limits, &to));
        self.taking(id, extra, HoldStep::Extend { from, to, reserved_at: at(reserved_us) })
    }

    fn settle(&self, id: HoldId, held: &[u64], actual: &[u64], reserved_us: i64) -> Check {
        let step =
            HoldStep::Settle { actual: digest(&self.limits, actual), reserved_at: at(reserved_us) };
        let mut check = Check::of_hold(Hold::new(id, HOLD_FOR, step));
        for (limit, (&held, &actual)) in self.limits.iter().zip(held.iter().zip(actual)) {
            check.push(Part::settling(Arc::clone(limit), alice(), tokens(held), tokens(actual)));
        }
        check
    }
}

fn outcome(decision: &Decision) -> (bool, Guarded) {
    (decision.is_allowed(), decision.guarded().unwrap())
}

const ONE: HoldId = HoldId::from_bytes([1; 16]);
const OTHER: HoldId = HoldId::from_bytes([2; 16]);

#[test]
fn each_step_of_a_hold_counts_once() {
    let mut store =
        Store::of(vec![limit("requests", "1/day, burst 10"), limit("tokens", "1/day, burst 1000")]);
    let reserve = store.reserve(ONE, &[1, 600]);
    assert_eq!(outcome(&store.decide(&reserve)), (true, Guarded::First));
    assert_eq!(outcome(&store.decide(&reserve)), (true, Guarded::Repeated));
    assert_eq!((store.remaining(0), store.remaining(1)), (9, 400));
    let other_costs = store.reserve(ONE, &[1, 601]);
    let conflict = store.decide(&other_costs);
    assert_eq!(outcome(&conflict), (false, Guarded::Conflict));
    assert!(conflict.verdicts().iter().all(|verdict| !verdict.admitted));
    let denied = store.reserve(OTHER, &[1, 401]);
    assert_eq!(outcome(&store.decide(&denied)), (false, Guarded::First));
    assert_eq!((store.remaining(0), store.remaining(1)), (9, 400));

    let too_much = store.extend(ONE, &[1, 600], &[0, 401], 0);
    assert_eq!(outcome(&store.decide(&too_much)), (false, Guarded::First));
    let extend = store.extend(ONE, &[1, 600], &[0, 100], 0);
    assert_eq!(outcome(&store.decide(&extend)), (true, Guarded::First));
    assert_eq!(outcome(&store.decide(&extend)), (true, Guarded::Repeated));
    assert_eq!(outcome(&store.decide(&too_much)), (false, Guarded::Conflict));
    assert_eq!(outcome(&store.decide(&reserve)), (false, Guarded::Conflict));
    assert_eq!((store.remaining(0), store.remaining(1)), (9, 300));

    let settle = store.settle(ONE, &[1, 700], &[1, 250], 0);
    assert_eq!(outcome(&store.decide(&settle)), (true, Guarded::First));
    assert_eq!(outcome(&store.decide(&settle)), (true, Guarded::Repeated));
    assert_eq!((store.remaining(0), store.remaining(1)), (9, 750));
    for late in [store.settle(ONE, &[1, 700], &[1, 0], 0), extend, reserve] {
        assert_eq!(outcome(&store.decide(&late)), (false, Guarded::Conflict));
    }
    assert_eq!((store.remaining(0), store.remaining(1)), (9, 750));
}

#[test]
fn a_lost_record_costs_nothing_and_makes_nothing() {
    let mut store = Store::of(vec![limit("tokens", "1/day, burst 1000")]);
    assert!(store.decide(&store.reserve(ONE, &[600])).is_allowed());
    store.records.clear();
    let extend = store.extend(ONE, &[600], &[100], 0);
    assert_eq!(outcome(&store.decide(&extend)), (true, Guarded::Late));
    assert_eq!(outcome(&store.decide(&extend)), (true, Guarded::Repeated));
    assert_eq!(store.remaining(0), 300);
    store.records.clear();
    let settle = store.settle(ONE, &[700], &[200], 0);
    assert_eq!(outcome(&store.decide(&settle)), (true, Guarded::Late));
    assert_eq!(outcome(&store.decide(&settle)), (true, Guarded::Repeated));
    assert_eq!(store.remaining(0), 800);
}

#[test]
fn nothing_is_given_back_after_a_holds_lifetime() {
    let lifetime = 2 * i64::try_from(HOLD_FOR.as_micros()).unwrap();
    for (waited, left) in [(lifetime - 1, 900), (lifetime, 400), (lifetime * 1_000, 400)] {
        let mut store = Store::of(vec![limit("tokens", "1/day, burst 1000")]);
        assert!(store.decide(&store.reserve(ONE, &[600])).is_allowed());
        store.now_us = waited;
        let settle = store.settle(ONE, &[600], &[100], 0);
        let decision = store.decide(&settle);
        assert!(decision.is_allowed());
        assert_eq!(decision.verdicts()[0].admitted, left == 900);
        for _ in 0..3 {
            store.decide(&settle);
        }
        assert_eq!(store.remaining(0), left, "after {waited} us");
        // A charge is made all the same.
        let charge = store.settle(OTHER, &[100], &[150], 0);
        assert!(store.decide(&charge).verdicts()[0].admitted);
        assert_eq!(store.remaining(0), left - 50);
    }
}

#[test]
fn a_settlement_lives_until_nothing_is_given_back_any_more() {
    let lifetime = 2 * i64::try_from(HOLD_FOR.as_micros()).unwrap();
    let mut store = Store::of(vec![limit("tokens", "1/day, burst 1000")]);
    assert!(store.decide(&store.reserve(ONE, &[600])).is_allowed());
    let settle = store.settle(ONE, &[600], &[500], 0);
    for waited in [0, 1, lifetime / 2, lifetime - 1, lifetime, lifetime + 1] {
        store.now_us = waited;
        store.decide(&settle);
        assert_eq!(store.remaining(0), 500);
    }
    assert!(store.records.is_empty());
}

#[test]
fn a_settlement_may_leave_a_debt() {
    let mut store = Store::of(vec![limit("tokens", "1/day, burst 1000")]);
    assert!(store.decide(&store.reserve(ONE, &[1_000])).is_allowed());
    assert!(store.decide(&store.settle(ONE, &[1_000], &[1_500], 0)).is_allowed());
    assert!(store.decide(&store.reserve(OTHER, &[0])).is_denied(), "it is in debt");
}

#[test]
fn what_a_limit_in_shadow_mode_lacked_is_known_when_a_step_is_repeated() {
    let shadow = (*limit("shadow", "1/day, burst 10")).clone().with_mode(Mode::Shadow);
    let mut store = Store::of(vec![limit("tokens", "1/day, burst 1000"), Arc::new(shadow)]);
    let reserve = store.reserve(ONE, &[5, 11]);
    for _ in 0..2 {
        let decision = store.decide(&reserve);
        let admitted: Vec<bool> = decision.verdicts().iter().map(|one| one.admitted).collect();
        assert_eq!(admitted, [true, false]);
    }
    assert_eq!((store.remaining(0), store.remaining(1)), (995, 10));
}

#[test]
fn a_step_that_is_undone_can_be_made_again() {
    let mut store = Store::of(vec![limit("tokens", "1/day, burst 1000")]);
    let reserve = store.reserve(ONE, &[600]);
    let undo_of = |store: &mut Store, check: &Check| {
        let decision = store.decide(check);
        check.undone(&decision).unwrap()
    };
    let undo = undo_of(&mut store, &reserve);
    assert_eq!(outcome(&store.decide(&undo)), (true, Guarded::First));
    assert_eq!(outcome(&store.decide(&undo)), (true, Guarded::Repeated));
    assert_eq!(store.remaining(0), 1_000);
    assert!(store.records.is_empty());
    assert_eq!(outcome(&store.decide(&reserve)), (true, Guarded::First));
    let repeated = store.decide(&reserve);
    assert!(reserve.undone(&repeated).is_none(), "it took nothing");

    let extend = store.extend(ONE, &[600], &[300], 0);
    let undo = undo_of(&mut store, &extend);
    assert_eq!(outcome(&store.decide(&undo)), (true, Guarded::First));
    assert_eq!(store.remaining(0), 400);
    assert_eq!(outcome(&store.decide(&reserve)), (true, Guarded::Repeated));
    assert_eq!(outcome(&store.decide(&extend)), (true, Guarded::First));
    assert_eq!(outcome(&store.decide(&undo)), (true, Guarded::First));
    assert!(store.decide(&store.settle(ONE, &[600], &[0], 0)).is_allowed());
    assert_eq!(outcome(&store.decide(&undo)), (true, Guarded::Repeated), "it is settled");
    assert_eq!(store.remaining(0), 1_000);
}

#[test]
fn without_records_a_settlement_gives_nothing_back() {
    let mut store = Store::of(vec![limit("tokens", "1/day, burst 1000")]);
    assert!(store.decide(&store.reserve(ONE, &[600])).is_allowed());
    let mut buckets = [store.buckets[0].unwrap()];
    for (actual, left) in [(100, 400), (700, 300)] {
        let settle = store.settle(ONE, &[600], &[actual], 0);
        let decision = settle.decide(&mut buckets, at(0), Source::Store);
        assert_eq!(decision.guarded(), None);
        assert_eq!(decision.verdicts()[0].remaining, left);
    }
}

#[test]
fn differences_in_one_bucket_add_up() {
    let tokens_limit = limit("tokens", "1/day, burst 1000");
    let settling = |held, actual| {
        Part::settling(Arc::clone(&tokens_limit), alice(), tokens(held), tokens(actual))
    };
    for (parts, cost, gives_back) in [
        ([settling(10, 4), settling(10, 13)], 3, true),
        ([settling(10, 13), settling(10, 4)], 3, true),
        ([settling(10, 4), settling(10, 20)], 4, false),
        ([settling(10, 20), settling(10, 4)], 4, false),
        ([settling(10, 4), settling(10, 9)], 7, true),
    ] {
        let step = HoldStep::Settle { actual: CostsDigest::from_number(7), reserved_at: at(0) };
        let mut check = Check::of_hold(Hold::new(ONE, HOLD_FOR, step));
        parts.into_iter().for_each(|part| check.push(part));
        let [part] = check.parts() else { panic!("one bucket") };
        assert_eq!((part.cost.tokens(), part.gives_back()), (cost, gives_back));
    }
}

#[test]
fn a_digest_depends_on_buckets_costs_and_their_order() {
    let limits = [limit("a", "1/day"), limit("b", "1/day")];
    let swapped = [Arc::clone(&limits[1]), Arc::clone(&limits[0])];
    let digests = [
        digest(&limits, &[]),
        digest(&limits, &[1]),
        digest(&limits, &[2]),
        digest(&limits, &[1, 2]),
        digest(&limits, &[2, 1]),
        digest(&swapped, &[1]),
        digest(&swapped, &[1, 2]),
    ];
    assert_eq!(digests.iter().collect::<HashSet<_>>().len(), digests.len());
    assert!(digests.iter().all(|digest| digest.number() < 1 << 48 && digest.number() > 0));
    assert_eq!(digest(&limits, &[1, 2]), digests[3]);
}

/// What a history does to one of a few holds.
#[derive(Clone, Copy, Debug)]
enum Act {
    Reserve(u64),
    Extend(u64),
    Settle(u64),
    /// Makes an earlier step again, whichever it was.
    Repeat(usize),
    /// The store loses the record of the hold.
    Forget,
    Take(u64),
}

/// A hold as its caller knows it.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    held: u64,
    at_us: i64,
}

/// A token bucket as its definition says.
struct Model {
    tokens: Ratio<i128>,
    per_us: Ratio<i128>,
    burst: i128,
    now_us: i64,
}

impl Model {
    fn advance(&mut self, now_us: i64) {
        self.tokens += self.per_us * Ratio::from(i128::from(now_us - self.now_us));
        self.tokens = self.tokens.min(self.burst.into());
        self.now_us = now_us;
    }

    fn take_if_there(&mut self, cost: u64) -> bool {
        let is_there = self.tokens >= i128::from(cost).into();
        if is_there {
            self.add(-i128::from(cost));
        }
        is_there
    }

    fn add(&mut self, tokens: i128) {
        self.tokens = (self.tokens + tokens).min(self.burst.into());
    }

    fn remaining(&self) -> u64 {
        u64::try_from(self.tokens.floor().to_integer().max(0)).unwrap()
    }
}

fn acts() -> impl Strategy<Value = Vec<(i64, u8, Act)>> {
    let act = prop_oneof![
        4 => (0..60_u64).prop_map(Act::Reserve),
        1 => (0..30_u64).prop_map(Act::Extend),
        4 => (0..90_u64).prop_map(Act::Settle),
        4 => any::<usize>().prop_map(Act::Repeat),
        1 => Just(Act::Forget),
        2 => (0..40_u64).prop_map(Act::Take),
    ];
    let pause = prop_oneof![3 => Just(0), 3 => 0..900_000_i64, 1 => 0..5_000_000_i64];
    prop::collection::vec((pause, 0..5_u8, act), 1..60)
}

proptest! {
    /// Whatever the order of steps, repetitions and losses, the bucket equals one in which each
    /// step counts once. What it admits in any window is what the bucket promises.
    #[test]
    fn a_bucket_with_holds_equals_a_sum(history in acts(), fast in any::<bool>()) {
        let rate: Rate = if fast { "70/second, burst 100" } else { "7/minute, burst 100" }
            .parse()
            .unwrap();
        let limit = Arc::new(Limit::new("tokens", Algorithm::TokenBucket(rate)).unwrap());
        let mut store = Store::of(vec![Arc::clone(&limit)]);
        let refill = rate.refill();
        let per_us = Ratio::new(refill.tokens().into(), refill.micros().into());
        let mut model =
            Model { tokens: 100.into(), per_us, burst: 100, now_us: 0 };
        let mut reserved: HashMap<u8, Reserved> = HashMap::new();
        let mut settled: HashSet<u8> = HashSet::new();
        let mut next_id = 10_u8;
        let mut ids: HashMap<u8, u8> = HashMap::new();
        // The last step of each hold that was made.
        let mut made: Vec<Check> = Vec::new();
        // Tokens taken, charged and given back, with their times, and whether they were admitted.
        let mut taken: Vec<(i64, i128, bool)> = Vec::new();
        for (pause, slot, act) in history {
            store.now_us += pause;
            model.advance(store.now_us);
            let now_us = store.now_us;
            let name = *ids.entry(slot).or_insert_with(|| { next_id += 1; next_id });
            let id = HoldId::from_bytes([name; 16]);
            match act {
                Act::Reserve(cost) if !reserved.contains_key(&name) => {
                    let check = store.reserve(id, &[cost]);
                    let decision = store.decide(&check);
                    prop_assert_eq!(decision.guarded(), Some(Guarded::First));
                    prop_assert_eq!(decision.is_allowed(), model.take_if_there(cost));
                    if decision.is_allowed() {
                        taken.push((now_us, cost.into(), true));
                        reserved.insert(name, Reserved { held: cost, at_us: now_us });
                        made.push(check);
                    }
                }
                Act::Reserve(cost) => {
                    // Another reservation under the id of one that is known conflicts.
                    let known = store.records.contains_key(&id)
                        && at(now_us) < at(reserved[&name].at_us).after(HOLD_FOR * 2);
                    if known && (settled.contains(&name) || cost != reserved[&name].held) {
                        let decision = store.decide(&store.reserve(id, &[cost]));
                        prop_assert_eq!(outcome(&decision), (false, Guarded::Conflict));
                    }
                }
                Act::Extend(extra) => {
                    let Some(known) = reserved.get_mut(&name) else { continue };
                    if settled.contains(&name) || extra == 0 { continue }
                    let check = store.extend(id, &[known.held], &[extra], known.at_us);
                    let decision = store.decide(&check);
                    prop_assert_eq!(decision.is_allowed(), model.take_if_there(extra));
                    if decision.is_allowed() {
                        taken.push((now_us, extra.into(), true));
                        known.held += extra;
                        made.retain(|made| made.hold().unwrap().id() != id);
                        made.push(check);
                    }
                }
                Act::Settle(actual) => {
                    let Some(known) = reserved.get(&name) else { continue };
                    if !settled.insert(name) { continue }
                    let check = store.settle(id, &[known.held], &[actual], known.at_us);
                    let is_over = at(now_us) >= at(known.at_us).after(HOLD_FOR * 2);
                    let decision = store.decide(&check);
                    prop_assert!(decision.is_allowed());
                    let difference = i128::from(known.held) - i128::from(actual);
                    prop_assert_eq!(
                        decision.verdicts()[0].admitted,
                        !is_over || difference <= 0
                    );
                    if !is_over || difference < 0 {
                        model.add(difference);
                        taken.push((now_us, -difference, false));
                    }
                    made.retain(|made| made.hold().unwrap().id() != id);
                    if !is_over {
                        made.push(check);
                    }
                    // The next reservation in this slot is another hold.
                    ids.remove(&slot);
                }
                Act::Repeat(which) => {
                    let now = at(now_us);
                    made.retain(|check| {
                        let hold = check.hold().unwrap();
                        store.records.get(&hold.id()).is_some_and(|(_, until)| *until > now)
                    });
                    if made.is_empty() { continue }
                    let check = made[which % made.len()].clone();
                    prop_assert_eq!(outcome(&store.decide(&check)), (true, Guarded::Repeated));
                }
                Act::Forget => drop(store.records.remove(&id)),
                Act::Take(cost) => {
                    let fresh = HoldId::from_bytes([0; 16]);
                    store.records.remove(&fresh);
                    let decision = store.decide(&store.reserve(fresh, &[cost]));
                    prop_assert_eq!(decision.is_allowed(), model.take_if_there(cost));
                    if decision.is_allowed() {
                        taken.push((now_us, cost.into(), true));
                    }
                }
            }
            prop_assert_eq!(store.remaining(0), model.remaining());
        }
        // In every window that ends with an admission: what was taken and charged, less what was
        // given back.
        for (first, &(from_us, ..)) in taken.iter().enumerate() {
            let mut sum = 0;
            for &(until_us, tokens, is_admission) in &taken[first..] {
                sum += tokens;
                let refilled = per_us * Ratio::from(i128::from(until_us - from_us));
                prop_assert!(!is_admission || Ratio::from(sum) <= refilled + 100);
            }
        }
    }
}
