//! What a quota promises: no window has more than its tokens, whatever happens.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, sync::Arc};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{
    Action, Algorithm, Bucket, Calendar, CalendarUnit, Check, Cost, Limit, Quota, Source, Subject,
    Tagger, Timestamp, Window,
};

/// 2026-03-28T22:59:00Z, a minute before the day in Rome that is an hour shorter.
const START_US: i64 = 1_774_738_740_000_000;
/// The longest step back of the clock with which a window stands, in microseconds.
const CLOCK_STEP_US: i64 = 1_000_000;

#[derive(Clone, Debug)]
enum Step {
    /// Time goes on.
    Pause(i64),
    /// The clock is this far behind the latest time that it has shown.
    Behind(i64),
    /// Takes this many tokens if they are left.
    Take(u64),
    /// Gives part of what was taken back.
    GiveBack { which: prop::sample::Index, cost: u64, with_time: bool },
    /// The store forgets the state if it may.
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pauses = prop_oneof![
        0..2_000_000_i64,
        0..100_000_000_i64,
        0..4_000_000_000_i64,
        0..90_000_000_000_i64,
    ];
    let step = prop_oneof![
        3 => pauses.prop_map(Step::Pause),
        2 => (0..CLOCK_STEP_US).prop_map(Step::Behind),
        6 => (0..8_u64).prop_map(Step::Take),
        3 => (any::<prop::sample::Index>(), 0..8_u64, prop::bool::weighted(0.9))
            .prop_map(|(which, cost, with_time)| Step::GiveBack { which, cost, with_time }),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 1..120)
}

fn quotas() -> impl Strategy<Value = Quota> {
    let units = vec![
        CalendarUnit::Second,
        CalendarUnit::Minute,
        CalendarUnit::Hour,
        CalendarUnit::Day,
        CalendarUnit::Week,
    ];
    (1..20_u64, prop::sample::select(units)).prop_map(|(tokens, unit)| {
        let calendar = Calendar::new(unit);
        let calendar = calendar.clone().in_zone("Europe/Rome").unwrap_or(calendar);
        Quota::new(tokens, calendar).unwrap()
    })
}

/// Tokens that a request has.
#[derive(Clone, Copy, Debug)]
struct Taken {
    tokens: u64,
    at: Timestamp,
    window_end: Timestamp,
}

#[test]
fn no_window_has_more_than_the_quota() {
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let result = runner.run(&(quotas(), steps()), |(quota, steps)| {
        let (mut latest_us, mut now_us) = (START_US, START_US);
        let mut stored = Window::UNUSED;
        let mut taken: Vec<Taken> = Vec::new();
        // The tokens that each window has admitted, without those that returned to it.
        let mut admitted: BTreeMap<Timestamp, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Pause(pause) => now_us += pause,
                Step::Behind(behind) => now_us = now_us.min(latest_us - behind),
                _ => {}
            }
            latest_us = latest_us.max(now_us);
            let now = Timestamp::from_unix_micros(now_us);
            // A second later than the end, or the window that ended would begin anew when the clock
            // steps back.
            let forgotten_at_us = stored.ends_at().unix_micros() + CLOCK_STEP_US;
            if matches!(step, Step::Forget) && now_us >= forgotten_at_us {
                stored = Window::UNUSED;
            }
            let mut window = stored.settled(&quota, now);
            let before = window;
            prop_assert!(!window.is_repaired());
            let window_end = window.window().ends_at();
            match step {
                Step::Take(cost) => {
                    let covered = window.covers(cost);
                    prop_assert_eq!(covered, cost <= window.remaining());
                    let covers_at = window.covers_at(cost);
                    prop_assert_eq!(covered, covers_at == Some(now));
                    if covered {
                        window.take(cost);
                        taken.push(Taken { tokens: cost, at: now, window_end });
                        *admitted.entry(window_end).or_default() += cost;
                    } else if let Some(covers_at) = covers_at {
                        let just_before = Timestamp::from_unix_micros(covers_at.unix_micros() - 1);
                        let window = window.window();
                        prop_assert!(!window.settled(&quota, just_before).covers(cost));
                        prop_assert!(window.settled(&quota, covers_at).covers(cost));
                    } else {
                        prop_assert!(cost > quota.tokens());
                    }
                }
                Step::GiveBack { which, cost, with_time } if !taken.is_empty() => {
                    let from = which.get_mut(&mut taken);
                    let cost = cost.min(from.tokens);
                    // Without its time, only a caller that has just taken the tokens may give back.
                    let known = with_time || from.window_end != window_end;
                    if window.give_back(cost, known.then_some(from.at)) && cost > 0 {
                        prop_assert_eq!(from.window_end, window_end, "they are of another window");
                        from.tokens -= cost;
                        *admitted.get_mut(&window_end).unwrap() -= cost;
                    }
                }
                _ => {}
            }
            let net = admitted.get(&window_end).copied().unwrap_or(0);
            prop_assert!(net <= quota.tokens(), "{net} of {}", quota.tokens());
            prop_assert_eq!(window.window().used(), net);
            // As a store does, which writes a state only if it changed.
            if window != before {
                stored = window.window();
            }
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_charge_and_a_changed_calendar_never_admit_more() {
    let looks =
        prop::collection::vec((0..3_usize, 0..100_000_000_i64, 0..30_u64, any::<bool>()), 1..60);
    let mut runner = TestRunner::new(Config { cases: 2_000, ..Config::default() });
    let result = runner.run(&looks, |looks| {
        let quotas: [Quota; 3] =
            ["20/minute", "20/hour", "20/day"].map(|quota| quota.parse().unwrap());
        let mut now_us = START_US;
        let mut stored = Window::UNUSED;
        let mut used_in_minute = (0, 0);
        for (which, pause, cost, charged) in looks {
            now_us += pause;
            let now = Timestamp::from_unix_micros(now_us);
            let minute = now_us / 60_000_000;
            if used_in_minute.0 != minute {
                used_in_minute = (minute, 0);
            }
            let mut window = stored.settled(&quotas[which], now);
            prop_assert_eq!(window.full_at() > now, window.window().used() > 0);
            if charged || window.covers(cost) {
                // The shortest window counts everything that was taken in it.
                prop_assert!(charged || used_in_minute.1 + cost <= 20);
                window.take(cost);
                used_in_minute.1 += cost;
            }
            stored = window.window();
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn a_denied_cost_counts_in_a_window_of_a_changed_calendar_too() {
    let quota = "10/day".parse::<Quota>().unwrap().counting_denied();
    let limit = Arc::new(Limit::new("daily", Algorithm::Quota(quota)).unwrap());
    let client = Tagger::new(b"").tag(Subject::Client(b"alice"));
    let now = Timestamp::from_unix_micros(1_767_225_600_000_000);
    let stored = Bucket::Window(Window::from_parts(1_767_225_600 + 30 * 86_400, 9));
    let check = Check::new(Action::Take).with(&limit, client, Cost::new(2).unwrap());
    let (decision, after) = check.decide_one(stored, now, Source::Store);
    assert!(decision.is_denied());
    assert_eq!(after, Some(Bucket::Window(Window::from_parts(1_767_225_600 + 86_400, 11))));
}
