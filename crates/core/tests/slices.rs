//! What an [`AtMost`] promises, compared with a log of everything that was admitted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{AtMost, Slices, Timestamp};

/// 2026-01-01T00:00:00Z
const START_US: i64 = 1_767_225_600_000_000;
/// The longest step back of the clock with which slices stand, in microseconds.
const CLOCK_STEP_US: i64 = 1_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
}

fn period_us(at_most: &AtMost) -> i64 {
    i64::try_from(at_most.period().as_micros()).unwrap()
}

/// Tokens that were admitted at an instant that no clock can change.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    /// As a clock shows it that never steps back.
    true_us: i64,
    /// As the store's clock showed it.
    taken_at: Timestamp,
    tokens: u64,
}

/// Returns what was admitted in the period that ends with `now_us`.
fn admitted_in_period(log: &[Admitted], now_us: i64, period_us: i64) -> u64 {
    let recent = log.iter().rev().take_while(|entry| entry.true_us > now_us - period_us);
    recent.map(|entry| entry.tokens).sum()
}

#[derive(Clone, Debug)]
enum Step {
    /// Time goes on by this many millionths of the period.
    Pause(i64),
    /// The clock steps back, to this far behind the latest time that it has shown.
    Behind(i64),
    /// Takes this many tokens if they are left, or all that are left.
    Take(Option<u64>),
    /// Gives part of what was taken back.
    GiveBack { which: prop::sample::Index, cost: u64, with_time: bool },
    /// The store forgets the state if it may.
    Forget,
}

fn steps(with_clock: bool) -> impl Strategy<Value = Vec<Step>> {
    let pauses = prop_oneof![0..10_000_i64, 0..150_000_i64, 0..2_000_000_i64];
    let behind = if with_clock { CLOCK_STEP_US } else { 0 };
    let step = prop_oneof![
        5 => pauses.prop_map(Step::Pause),
        1 => (0..=behind).prop_map(Step::Behind),
        6 => prop_oneof![(0..8_u64).prop_map(Some), Just(None)].prop_map(Step::Take),
        3 => (any::<prop::sample::Index>(), 0..8_u64, prop::bool::weighted(0.8))
            .prop_map(|(which, cost, with_time)| Step::GiveBack { which, cost, with_time }),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 1..150)
}

fn limits() -> impl Strategy<Value = AtMost> {
    let periods = vec!["100ms", "123450us", "1s", "7s", "60s", "1h", "30d"];
    (1..40_u64, prop::sample::select(periods))
        .prop_map(|(tokens, period)| format!("{tokens} per {period}").parse().unwrap())
}

fn check_history(
    at_most: &AtMost,
    steps: Vec<Step>,
    with_clock: bool,
) -> Result<(), TestCaseError> {
    let period_us = period_us(at_most);
    let (mut true_us, mut behind_us) = (START_US, 0);
    let mut latest_us = START_US;
    let mut stored = Slices::UNUSED;
    let mut log: Vec<Admitted> = Vec::new();
    for step in steps {
        match step {
            Step::Pause(share) => {
                true_us += period_us * share / 1_000_000;
            }
            Step::Behind(behind) => {
                behind_us = behind_us.max(true_us - (latest_us - behind));
            }
            _ => {}
        }
        let now_us = true_us - behind_us;
        latest_us = latest_us.max(now_us);
        let now = at(now_us);
        // If the clock may step back, a state is kept for a second longer, or what has left may be
        // given back once more.
        let forgotten_us = if with_clock { now_us - CLOCK_STEP_US } else { now_us };
        let unused = stored.settled(at_most, at(forgotten_us)).slices().sum() == 0;
        if matches!(step, Step::Forget) && unused {
            stored = Slices::UNUSED;
        }
        let mut slices = stored.settled(at_most, now);
        let before = slices;
        prop_assert!(!slices.is_repaired());
        prop_assert_eq!(slices.full_at() <= now, slices.slices().sum() == 0);
        match step {
            Step::Take(cost) => {
                let cost = cost.unwrap_or(slices.remaining());
                let covered = slices.covers(cost);
                prop_assert_eq!(covered, cost <= slices.remaining());
                let covers_at = slices.covers_at(cost);
                prop_assert_eq!(covered, covers_at == Some(now));
                if covered {
                    slices.take(cost);
                    log.push(Admitted { true_us, taken_at: now, tokens: cost });
                    let admitted = admitted_in_period(&log, true_us, period_us);
                    prop_assert!(admitted <= at_most.tokens(), "{admitted} of {at_most}");
                } else if let Some(covers_at) = covers_at {
                    let just_before = at(covers_at.unix_micros() - 1);
                    let slices = slices.slices();
                    prop_assert!(!slices.settled(at_most, just_before).covers(cost));
                    prop_assert!(slices.settled(at_most, covers_at).covers(cost));
                } else {
                    prop_assert!(cost > at_most.tokens());
                }
            }
            Step::GiveBack { which, cost, with_time } if !log.is_empty() => {
                let entry = which.get_mut(&mut log);
                let cost = cost.min(entry.tokens);
                // Without its time, only a caller that has just taken the tokens may give back.
                let known = with_time || entry.true_us <= true_us - period_us;
                let counted = slices.slices().sum();
                let gave_back = slices.give_back(cost, known.then_some(entry.taken_at));
                let missing = counted - slices.slices().sum();
                let most = if gave_back { cost } else { 0 };
                prop_assert!(missing <= most, "{missing} tokens of {most} returned");
                if !with_clock && entry.true_us > true_us - period_us {
                    prop_assert!(gave_back, "it is counted for at least one period");
                }
                // Whether they returned or not, the request has not used them.
                entry.tokens -= cost;
            }
            _ => {}
        }
        let admitted = admitted_in_period(&log, true_us, period_us);
        prop_assert!(slices.slices().sum() >= admitted, "all of the last period is counted");
        // As a store does, which writes a state only if it changed.
        if slices != before {
            stored = slices.slices();
        }
    }
    Ok(())
}

#[test]
fn no_span_as_long_as_the_period_admits_more() {
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let histories = (limits(), steps(false));
    let result = runner.run(&histories, |(at_most, steps)| check_history(&at_most, steps, false));
    result.unwrap();
}

#[test]
fn no_span_admits_more_when_the_clock_steps_back() {
    // Longer periods than the clock's step, or states are forgotten that the clock returns to.
    let limits =
        limits().prop_filter("longer than a second", |at_most| period_us(at_most) > CLOCK_STEP_US);
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let histories = (limits, steps(true));
    let result = runner.run(&histories, |(at_most, steps)| check_history(&at_most, steps, true));
    result.unwrap();
}

#[test]
fn under_load_nine_tenths_are_admitted_in_each_period() {
    // A request waits for up to a third of a slice before it asks again.
    let pauses = prop::collection::vec(1..33_000_i64, 64);
    let costs = prop::sample::select(vec![1_u64, 2, 5]);
    let mut runner = TestRunner::new(Config { cases: 100, ..Config::default() });
    let result = runner.run(&(limits(), pauses, costs), |(at_most, pauses, cost)| {
        let period_us = period_us(&at_most);
        let (mut now_us, mut stored) = (START_US, Slices::UNUSED);
        let mut admitted = 0;
        let periods = 22;
        for pause in pauses.iter().cycle() {
            if now_us >= START_US + periods * period_us {
                break;
            }
            let mut slices = stored.settled(&at_most, at(now_us));
            while slices.covers(cost) {
                slices.take(cost);
                admitted += cost;
            }
            stored = slices.slices();
            now_us += (period_us * pause / 1_000_000).max(1);
        }
        let whole = at_most.tokens() / cost * cost;
        let least = whole * 22 * 9 / 10;
        prop_assert!(admitted >= least, "{admitted} in 22 periods of {at_most}");
        prop_assert!(admitted <= at_most.tokens() * 22);
        Ok(())
    });
    result.unwrap();
}
