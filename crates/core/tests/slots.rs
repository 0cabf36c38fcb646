//! What a [`Concurrent`] promises, compared with a list of everyone who holds a slot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{Algorithm, Bucket, Concurrent, Slots, Timestamp};

/// 2026-01-01T00:00:00Z
const START_US: i64 = 1_767_225_600_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
}

#[derive(Clone, Debug)]
enum Step {
    /// Time goes on by this many thousandths of a term.
    Pause(i64),
    /// The clock steps back, to this many thousandths of a term behind its latest time.
    Behind(i64),
    /// Takes this many slots if they are free.
    Acquire(u64),
    /// A request ends.
    Release(prop::sample::Index),
    /// A replica crashes, or loses its connection: the slot is not renewed any more.
    Crash(prop::sample::Index),
    /// A request ends that was not renewed in time.
    ReleaseLate(prop::sample::Index),
    /// A look, after which the store forgets the state if it may.
    Forget,
}

fn steps(with_clock: bool) -> impl Strategy<Value = Vec<Step>> {
    let pauses = prop_oneof![0..100_i64, 0..1_500_i64, 0..5_000_i64];
    let clock = if with_clock {
        (0..3_000_i64).prop_map(Step::Behind).boxed()
    } else {
        Just(Step::Forget).boxed()
    };
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => pauses.prop_map(Step::Pause),
        1 => clock,
        8 => (1..3_u64).prop_map(Step::Acquire),
        4 => which().prop_map(Step::Release),
        2 => which().prop_map(Step::Crash),
        2 => which().prop_map(Step::ReleaseLate),
    ];
    prop::collection::vec(step, 1..150)
}

fn limits() -> impl Strategy<Value = Concurrent> {
    let terms = prop::sample::select(vec![1_000_000_u64, 10_000_000, 12_345_678]);
    (1..12_u64, terms).prop_map(|(slots, term_us)| {
        Concurrent::new(slots).unwrap().with_term(Duration::from_micros(term_us)).unwrap()
    })
}

/// A request that holds slots.
#[derive(Clone, Copy, Debug)]
struct Holder {
    slots: u64,
    /// When the slots were taken or last renewed, as the store's clock showed it.
    renewed_at: Timestamp,
    /// When they are renewed next, as a clock shows it that never steps back.
    due_us: i64,
}

/// A store with one limit, and everyone who holds its slots.
struct Fleet {
    concurrent: Concurrent,
    stored: Slots,
    true_us: i64,
    behind_us: i64,
    latest_us: i64,
    live: Vec<Holder>,
    /// They crashed or were not renewed in time.
    lost: Vec<Holder>,
    /// How long until each slot is renewed, in thousandths of a term; used one after the other.
    waits: Vec<i64>,
    renewals: usize,
}

impl Fleet {
    fn now(&self) -> Timestamp {
        at(self.true_us - self.behind_us)
    }

    fn term_us(&self) -> i64 {
        i64::try_from(self.concurrent.term_us()).unwrap()
    }

    fn due_us(&mut self) -> i64 {
        self.renewals += 1;
        let wait = self.waits[self.renewals % self.waits.len()];
        self.true_us + self.term_us() * wait / 1_000
    }

    /// Lets time go on, in which each live holder renews its slots within a term.
    fn advance_to(&mut self, until_us: i64) {
        loop {
            let due = (0..self.live.len())
                .filter(|&index| self.live[index].due_us <= until_us)
                .min_by_key(|&index| self.live[index].due_us);
            let Some(index) = due else { break };
            self.set_time(self.live[index].due_us);
            let (now, due_us) = (self.now(), self.due_us());
            let mut slots = self.stored.settled(&self.concurrent, now);
            let holder = &mut self.live[index];
            if slots.renew(holder.slots, holder.renewed_at) {
                (holder.renewed_at, holder.due_us) = (now, due_us);
            } else {
                self.lost.push(self.live.swap_remove(index));
            }
            self.stored = slots.slots();
        }
        self.set_time(until_us);
    }

    fn set_time(&mut self, true_us: i64) {
        self.true_us = true_us;
        self.latest_us = self.latest_us.max(self.now().unix_micros());
    }

    /// Returns whether slots that were renewed at `renewed_at` count, if the clock never stepped
    /// back: until the end of the next term.
    fn counts(&self, renewed_at: Timestamp) -> bool {
        let term = renewed_at.unix_micros().div_euclid(self.term_us());
        self.now().unix_micros() < (term + 2) * self.term_us()
    }

    fn held_by_live(&self) -> u64 {
        self.live.iter().map(|holder| holder.slots).sum()
    }
}

fn check_history(
    concurrent: Concurrent,
    steps: Vec<Step>,
    waits: Vec<i64>,
    with_clock: bool,
) -> Result<(), TestCaseError> {
    let mut fleet = Fleet {
        concurrent,
        stored: Slots::UNUSED,
        true_us: START_US,
        behind_us: 0,
        latest_us: START_US,
        live: Vec::new(),
        lost: Vec::new(),
        waits,
        renewals: 0,
    };
    for step in steps {
        match step {
            Step::Pause(thousandths) => {
                fleet.advance_to(fleet.true_us + fleet.term_us() * thousandths / 1_000);
            }
            Step::Behind(thousandths) => {
                let back_us = fleet.latest_us - fleet.term_us() * thousandths / 1_000;
                fleet.behind_us = fleet.behind_us.max(fleet.true_us - back_us);
            }
            _ => {}
        }
        let now = fleet.now();
        let mut slots = fleet.stored.settled(&concurrent, now);
        prop_assert!(!slots.is_repaired());
        match step {
            Step::Acquire(cost) => {
                let covered = slots.covers(cost);
                prop_assert_eq!(covered, cost <= slots.remaining());
                prop_assert_eq!(covered, slots.covers_at(cost) == Some(now));
                prop_assert_eq!(cost > concurrent.slots().into(), slots.covers_at(cost).is_none());
                if covered {
                    slots.take(cost);
                    let due_us = fleet.due_us();
                    fleet.live.push(Holder { slots: cost, renewed_at: now, due_us });
                }
            }
            Step::Release(which) if !fleet.live.is_empty() => {
                let holder = fleet.live.swap_remove(which.index(fleet.live.len()));
                let released = slots.give_back(holder.slots, Some(holder.renewed_at));
                prop_assert!(released || with_clock, "it was renewed in time");
            }
            Step::Crash(which) if !fleet.live.is_empty() => {
                let index = which.index(fleet.live.len());
                fleet.lost.push(fleet.live.swap_remove(index));
            }
            Step::ReleaseLate(which) if !fleet.lost.is_empty() => {
                let holder = fleet.lost.swap_remove(which.index(fleet.lost.len()));
                let released = slots.give_back(holder.slots, Some(holder.renewed_at));
                if !with_clock {
                    prop_assert_eq!(released, fleet.counts(holder.renewed_at));
                }
            }
            Step::Forget if slots.full_at() <= now => {
                prop_assert_eq!(slots.slots().held(), 0);
                fleet.stored = Slots::UNUSED;
                continue;
            }
            _ => {}
        }
        fleet.stored = slots.slots();
        let (held, live) = (fleet.stored.held(), fleet.held_by_live());
        prop_assert!(live <= concurrent.slots().into(), "{live} of {concurrent}");
        prop_assert!(held >= live, "{held} count, {live} are held");
        if !with_clock {
            prop_assert!(fleet.lost.is_empty() || held <= concurrent.slots().into());
            let lost = fleet.lost.iter().filter(|holder| fleet.counts(holder.renewed_at));
            prop_assert_eq!(held, live + lost.map(|holder| holder.slots).sum::<u64>());
        }
    }
    Ok(())
}

fn check_histories(with_clock: bool) {
    let waits = prop::collection::vec(1..=1_000_i64, 16);
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let result = runner.run(&(limits(), steps(with_clock), waits), |(limit, steps, waits)| {
        check_history(limit, steps, waits, with_clock)
    });
    result.unwrap();
}

#[test]
fn those_count_who_hold_a_slot_and_the_crashed_for_two_terms() {
    check_histories(false);
}

#[test]
fn no_more_hold_a_slot_than_there_are_when_the_clock_steps_back() {
    check_histories(true);
}

#[test]
fn slots_are_free_five_terms_after_the_clock_stepped_back_at_the_latest() {
    let term_us = 10_000_000;
    let limit = Concurrent::new(5).unwrap();
    for terms_back in [1, 2, 3, 4, 400] {
        let mut slots = Slots::UNUSED.settled(&limit, at(START_US));
        slots.take(3);
        let mut slots = slots.slots().settled(&limit, at(START_US + term_us));
        slots.take(2);
        let stepped_us = START_US + term_us - terms_back * term_us;
        let slots = slots.slots().settled(&limit, at(stepped_us));
        assert_eq!(slots.remaining(), 0, "{terms_back} terms back");
        assert_eq!(slots.is_repaired(), terms_back > 3);
        let ended = slots.slots().settled(&limit, at(stepped_us + 5 * term_us));
        assert_eq!(ended.remaining(), 5, "{terms_back} terms back");
    }
}

#[test]
fn what_extends_a_hold_renews_its_slots_as_a_renewal_does() {
    let algorithm = Algorithm::Concurrent(Concurrent::new(9).unwrap());
    let Algorithm::Concurrent(concurrent) = &algorithm else { unreachable!() };
    let now = at(START_US);
    let term_us = i64::try_from(concurrent.term_us()).unwrap();
    let stored = Bucket::Slots(Slots::from_parts(concurrent.term_at(now), 2, 3));
    for (terms_ago, counts, expected) in [(0, true, (2, 3)), (1, true, (1, 4)), (2, false, (2, 3))]
    {
        let since = at(START_US - terms_ago * term_us);
        let expected = Slots::from_parts(concurrent.term_at(now), expected.0, expected.1);
        let (mut renewed, mut extended) =
            (stored.settled(&algorithm, now), stored.settled(&algorithm, now));
        assert_eq!((renewed.renew(1, since), extended.hold_on(1, since)), (counts, counts));
        for after in [renewed, extended] {
            assert_eq!(after.bucket(), Bucket::Slots(expected), "{terms_ago} terms ago");
        }
    }
}
