//! The bucket's arithmetic, compared with a model in rational numbers, and what it promises.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use num_rational::Ratio;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{Bucket, Rate, Settled, Timestamp};
use sluice_testkit::strategies::{costs, rates};

/// 2026-01-01T00:00:00Z
const START_US: i64 = 1_767_225_600_000_000;
const START: Timestamp = Timestamp::from_unix_micros(START_US);
const DAY_US: i64 = 86_400_000_000;

/// A token bucket as its definition says: tokens at an instant, in rational numbers.
struct Model {
    tokens: Ratio<i128>,
    at_us: i64,
    per_us: Ratio<i128>,
    burst: Ratio<i128>,
}

impl Model {
    fn full(rate: &Rate, now_us: i64) -> Self {
        let refill = rate.refill_rate();
        let burst = Ratio::from(i128::from(rate.burst()));
        let period_us = i128::try_from(refill.period().as_micros()).unwrap();
        let per_us = Ratio::new(refill.tokens().into(), period_us);
        Self { tokens: burst, at_us: now_us, per_us, burst }
    }

    fn advance(&mut self, now_us: i64) {
        let refilled = self.per_us * Ratio::from(i128::from(now_us - self.at_us));
        self.tokens = (self.tokens + refilled).min(self.burst);
        self.at_us = now_us;
    }

    fn take(&mut self, cost: u64) -> bool {
        let cost = Ratio::from(i128::from(cost));
        let admitted = self.tokens >= cost;
        if admitted {
            self.tokens -= cost;
        }
        admitted
    }

    fn charge(&mut self, cost: u64) {
        self.tokens -= Ratio::from(i128::from(cost));
    }

    fn give_back(&mut self, cost: u64) {
        self.tokens = (self.tokens + Ratio::from(i128::from(cost))).min(self.burst);
    }

    fn remaining(&self) -> u64 {
        u64::try_from(self.tokens.floor().to_integer().max(0)).unwrap()
    }

    /// The first whole microsecond at which there are `tokens` tokens.
    fn reaches_us(&self, tokens: u64) -> i64 {
        let missing = Ratio::from(i128::from(tokens)) - self.tokens;
        self.at_us + i64::try_from((missing / self.per_us).ceil().to_integer().max(0)).unwrap()
    }
}

/// What is done to a bucket after a pause.
#[derive(Clone, Debug)]
enum Step {
    Take(u64),
    Charge(u64),
    GiveBack(u64),
}

/// Steps with the pauses before them, in microseconds. The pauses are about as long as one token,
/// or the whole bucket, needs to come back.
fn steps(rate: Rate, count: usize) -> impl Strategy<Value = Vec<(i64, Step)>> {
    let token_us = rate.span_of(1).micros.max(1);
    let fill_us = rate.fill().micros.max(1);
    let pauses = prop_oneof![
        2 => Just(0),
        4 => 0..=token_us,
        2 => 0..=token_us.saturating_mul(10).min(fill_us),
        1 => 0..=fill_us,
    ];
    let burst = rate.burst();
    let step = prop_oneof![
        12 => costs(burst).prop_map(Step::Take),
        1 => (1..=burst.min(1_000)).prop_map(Step::Charge),
        1 => costs(burst).prop_map(Step::GiveBack),
    ];
    prop::collection::vec((pauses, step), count)
}

fn rate_and_steps(count: usize) -> impl Strategy<Value = (Rate, Vec<(i64, Step)>)> {
    rates().prop_flat_map(move |rate| (Just(rate), steps(rate, count)))
}

/// A rate, and how many tokens to take from its bucket: from none to all.
fn rate_and_taken() -> impl Strategy<Value = (Rate, u64)> {
    rates().prop_flat_map(|rate| (Just(rate), 0..=rate.burst()))
}

/// Takes `steps` on the bucket and on the model, and compares everything that both can answer.
fn compare(rate: &Rate, steps: &[(i64, Step)]) -> Result<(), TestCaseError> {
    let mut now_us = START_US;
    let mut stored = Bucket::full(rate, START);
    let mut model = Model::full(rate, now_us);
    for (pause_us, step) in steps {
        now_us += pause_us;
        let now = Timestamp::from_unix_micros(now_us);
        model.advance(now_us);
        prop_assert_eq!(stored.is_full(rate, now), stored.settled(rate, now).full_at() <= now);
        let mut bucket = stored.settled(rate, now);
        match *step {
            Step::Take(cost) => {
                let admitted = bucket.covers(cost);
                if admitted {
                    bucket.take(cost);
                } else {
                    let at = bucket.covers_at(cost).map(Timestamp::unix_micros);
                    prop_assert_eq!(at, (cost <= rate.burst()).then(|| model.reaches_us(cost)));
                }
                prop_assert_eq!(admitted, model.take(cost));
            }
            Step::Charge(cost) => {
                bucket.take(cost);
                model.charge(cost);
            }
            Step::GiveBack(cost) => {
                bucket.give_back(cost);
                model.give_back(cost);
            }
        }
        prop_assert_eq!(bucket.remaining(), model.remaining());
        prop_assert_eq!(bucket.full_at().unix_micros(), model.reaches_us(rate.burst()));
        stored = bucket.bucket();
    }
    Ok(())
}

#[test]
fn a_million_operations_equal_the_rational_model() {
    let config = Config {
        cases: 1_000,
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&rate_and_steps(1_000), |(rate, steps)| compare(&rate, &steps))
        .unwrap();
}

#[test]
fn one_bucket_does_not_drift_in_a_hundred_thousand_operations() {
    let rate = Rate::new("999983/hour".parse().unwrap(), 1_000).unwrap();
    let config = Config { cases: 1, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&steps(rate, 100_000), |steps| compare(&rate, &steps)).unwrap();
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_window_admits_at_most_the_burst_and_the_refill((rate, steps) in rate_and_steps(150)) {
        let mut stored = Bucket::full(&rate, START);
        let mut now_us = START_US;
        let mut admitted: Vec<(i64, u64)> = Vec::new();
        for (pause_us, step) in steps {
            now_us += pause_us;
            let mut bucket = stored.settled(&rate, Timestamp::from_unix_micros(now_us));
            if let Step::Take(cost) = step && bucket.covers(cost) {
                bucket.take(cost);
                admitted.push((now_us, cost));
            }
            stored = bucket.bucket();
        }
        let refill = rate.refill();
        let (tokens, micros) = (u128::from(refill.tokens()), u128::from(refill.micros()));
        for first in 0..admitted.len() {
            let mut sum = 0;
            for &(at_us, cost) in &admitted[first..] {
                sum += u128::from(cost);
                let span = u128::try_from(at_us - admitted[first].0).unwrap();
                // sum <= burst + span * tokens / micros, in whole numbers
                let allowed = u128::from(rate.burst()) * micros + span * tokens;
                prop_assert!(sum * micros <= allowed, "{sum} tokens in {span} us");
            }
        }
    }

    #[test]
    fn a_denial_names_the_first_instant_at_which_the_cost_is_covered(
        (rate, taken, cost) in rates()
            .prop_flat_map(|rate| (Just(rate), 0..=rate.burst(), 1..=rate.burst()))
    ) {
        let mut bucket = Settled::full(&rate, START);
        bucket.take(taken);
        prop_assume!(!bucket.covers(cost));
        let at = bucket.covers_at(cost).expect("the cost is within the burst");
        let before = Timestamp::from_unix_micros(at.unix_micros() - 1);
        prop_assert!(!bucket.bucket().settled(&rate, before).covers(cost));
        prop_assert!(bucket.bucket().settled(&rate, at).covers(cost));
    }

    #[test]
    fn a_changed_rate_keeps_the_tokens_and_adds_none(
        (old, taken) in rate_and_taken(),
        new in rates(),
    ) {
        let mut bucket = Settled::full(&old, START);
        bucket.take(taken);
        let tokens = bucket.remaining().min(new.burst());
        let changed = bucket.bucket().settled(&new, START).remaining();
        prop_assert!(changed <= tokens);
        // The conversion may lose the refill of one microsecond, which is a token or two at the
        // fastest rates.
        let refill_of_one_us = new.refill().tokens().div_ceil(new.refill().micros());
        prop_assert!(changed + refill_of_one_us + 1 >= tokens);
    }

    #[test]
    fn a_clock_that_steps_back_adds_no_tokens_and_stops_the_refill_for_at_most_a_second(
        (rate, taken) in rate_and_taken(),
        step_us in 1_i64..=DAY_US,
    ) {
        let mut bucket = Settled::full(&rate, START);
        bucket.take(taken);
        let back = Timestamp::from_unix_micros(START_US - step_us);
        let after = bucket.bucket().settled(&rate, back);
        prop_assert!(after.remaining() <= bucket.remaining());
        let token = after.covers_at(1).expect("a burst is at least one token");
        let longest = step_us.min(1_000_000) + rate.span_of(1).micros + 1;
        let wait_us = token.unix_micros() - back.unix_micros();
        prop_assert!(wait_us <= longest, "the next token comes after {wait_us} us");
    }

    #[test]
    fn a_debt_survives_a_clock_that_steps_back_and_is_paid_by_refill(
        (rate, owed) in rates().prop_flat_map(|rate| (Just(rate), 1..=rate.burst())),
        step_us in 0_i64..=DAY_US,
    ) {
        let mut bucket = Settled::full(&rate, START);
        bucket.take(rate.burst() + owed);
        let paid = bucket.covers_at(0).expect("a cost of 0 is within every burst");
        let back = Timestamp::from_unix_micros(START_US - step_us);
        let after = bucket.bucket().settled(&rate, back);
        let wait_us = after.covers_at(0).expect("as above").unix_micros() - back.unix_micros();
        let owed_us = paid.unix_micros() - START_US;
        prop_assert!(wait_us >= owed_us, "{wait_us} us instead of {owed_us} us");
        prop_assert!(wait_us <= owed_us + step_us.min(1_000_000) + 1);
        let at_last = Timestamp::from_unix_micros(back.unix_micros() + wait_us);
        prop_assert!(after.bucket().settled(&rate, at_last).covers(0));
    }
}
