//! The bucket's arithmetic against a model in rational numbers, and its promises.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use num_rational::Ratio;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{Bucket, Rate, Timestamp};
use sluice_testkit::strategies::{costs, rates};

/// 2026-01-01T00:00:00Z
const EPOCH_US: i64 = 1_767_225_600_000_000;

/// A token bucket as its definition says: tokens at an instant, in rational numbers.
struct Model {
    tokens: Ratio<i128>,
    at_us: i64,
    per_us: Ratio<i128>,
    burst: Ratio<i128>,
}

impl Model {
    fn full(numbers: &Rate, now_us: i64) -> Self {
        let rate = numbers.refill_rate();
        let burst = Ratio::from(i128::from(numbers.burst()));
        let per_us =
            Ratio::new(rate.tokens().into(), i128::try_from(rate.period().as_micros()).unwrap());
        Self { tokens: burst, at_us: now_us, per_us, burst }
    }

    fn advance(&mut self, now_us: i64) {
        let refill = self.per_us * Ratio::from(i128::from(now_us - self.at_us));
        self.tokens = (self.tokens + refill).min(self.burst);
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

/// What is done to a bucket, after some time.
#[derive(Clone, Debug)]
enum Step {
    Take(u64),
    Charge(u64),
    GiveBack(u64),
}

/// Steps whose pauses are around what one token, or the whole bucket, takes to come back.
fn steps(numbers: Rate, count: usize) -> impl Strategy<Value = Vec<(i64, Step)>> {
    let token_us = numbers.span_of(1).micros.max(1);
    let fill_us = numbers.fill().micros.max(1);
    let pauses = prop_oneof![2 => Just(0), 4 => 0..=token_us, 2 => 0..=token_us.saturating_mul(10).min(fill_us), 1 => 0..=fill_us];
    let burst = numbers.burst();
    let step = prop_oneof![
        12 => costs(burst).prop_map(Step::Take),
        1 => (1..=burst.min(1_000)).prop_map(Step::Charge),
        1 => costs(burst).prop_map(Step::GiveBack),
    ];
    prop::collection::vec((pauses, step), count)
}

/// Runs `steps` on the bucket and on the model, and compares everything that can be told.
fn compare(numbers: &Rate, steps: &[(i64, Step)]) -> Result<(), TestCaseError> {
    let mut now_us = EPOCH_US;
    let mut bucket = Bucket::full(numbers, Timestamp::from_unix_micros(now_us));
    let mut model = Model::full(numbers, now_us);
    for (pause_us, step) in steps {
        now_us += pause_us;
        let now = Timestamp::from_unix_micros(now_us);
        model.advance(now_us);
        bucket = bucket.settled(numbers, now);
        match *step {
            Step::Take(cost) => {
                let admitted = bucket.covers(numbers, cost, now);
                if admitted {
                    bucket.take(numbers, cost, now);
                } else {
                    let at = bucket.covers_at(numbers, cost).map(Timestamp::unix_micros);
                    prop_assert_eq!(at, (cost <= numbers.burst()).then(|| model.reaches_us(cost)));
                }
                prop_assert_eq!(admitted, model.take(cost));
            }
            Step::Charge(cost) => {
                bucket.take(numbers, cost, now);
                model.charge(cost);
            }
            Step::GiveBack(cost) => {
                bucket.give_back(numbers, cost, now);
                model.give_back(cost);
            }
        }
        prop_assert_eq!(bucket.remaining(now), model.remaining());
        prop_assert_eq!(bucket.full_at(numbers).unix_micros(), model.reaches_us(numbers.burst()));
    }
    Ok(())
}

#[test]
fn a_million_operations_equal_the_rational_model() {
    let histories = rates().prop_flat_map(|numbers| (Just(numbers), steps(numbers, 1_000)));
    let config = Config {
        cases: 1_000,
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config).run(&histories, |(numbers, steps)| compare(&numbers, &steps)).unwrap();
}

#[test]
fn one_bucket_does_not_drift_in_a_hundred_thousand_operations() {
    let numbers = Rate::new("999983/hour".parse().unwrap(), 1_000).unwrap();
    let config = Config { cases: 1, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(numbers, 100_000), |steps| compare(&numbers, &steps))
        .unwrap();
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_window_admits_at_most_the_burst_and_the_refill(
        (numbers, steps) in rates().prop_flat_map(|numbers| (Just(numbers), steps(numbers, 150)))
    ) {
        let mut bucket = Bucket::full(&numbers, Timestamp::from_unix_micros(EPOCH_US));
        let mut now_us = EPOCH_US;
        let mut admitted: Vec<(i64, u64)> = Vec::new();
        for (pause_us, step) in steps {
            now_us += pause_us;
            let now = Timestamp::from_unix_micros(now_us);
            bucket = bucket.settled(&numbers, now);
            if let Step::Take(cost) = step && bucket.covers(&numbers, cost, now) {
                bucket.take(&numbers, cost, now);
                admitted.push((now_us, cost));
            }
        }
        let refill = numbers.refill();
        for first in 0..admitted.len() {
            let mut sum = 0;
            for &(at_us, cost) in &admitted[first..] {
                sum += u128::from(cost);
                let span = u128::try_from(at_us - admitted[first].0).unwrap();
                // sum <= burst + span * tokens / micros, in whole numbers
                let allowed = u128::from(numbers.burst()) * u128::from(refill.micros()) + span * u128::from(refill.tokens());
                prop_assert!(sum * u128::from(refill.micros()) <= allowed, "{sum} tokens in {span} us");
            }
        }
    }

    #[test]
    fn a_denial_names_the_first_instant_that_passes(
        (numbers, drained, cost) in rates().prop_flat_map(|numbers| (Just(numbers), 0..=numbers.burst(), 1..=numbers.burst()))
    ) {
        let now = Timestamp::from_unix_micros(EPOCH_US);
        let mut bucket = Bucket::full(&numbers, now);
        bucket.take(&numbers, drained, now);
        prop_assume!(!bucket.covers(&numbers, cost, now));
        let passes = bucket.covers_at(&numbers, cost).expect("the cost is within the burst");
        let before = Timestamp::from_unix_micros(passes.unix_micros() - 1);
        prop_assert!(!bucket.settled(&numbers, before).covers(&numbers, cost, before));
        prop_assert!(bucket.settled(&numbers, passes).covers(&numbers, cost, passes));
    }

    #[test]
    fn other_numbers_keep_the_tokens_and_give_none_away(
        (old, new, drained) in (rates(), rates())
            .prop_flat_map(|(old, new)| (Just(old), Just(new), 0..=old.burst()))
    ) {
        let now = Timestamp::from_unix_micros(EPOCH_US);
        let mut bucket = Bucket::full(&old, now);
        bucket.take(&old, drained, now);
        let tokens = bucket.remaining(now);
        let changed = bucket.settled(&new, now);
        prop_assert!(changed.remaining(now) <= tokens.min(new.burst()));
        // Converting may cost the refill of a microsecond, which is a token or two at the fastest
        // rates.
        let refill_of_one_us = new.refill().tokens().div_ceil(new.refill().micros());
        prop_assert!(changed.remaining(now) + refill_of_one_us + 1 >= tokens.min(new.burst()));
    }

    #[test]
    fn a_clock_that_steps_back_grants_nothing_and_freezes_for_a_second_at_most(
        (numbers, drained, step_us) in rates().prop_flat_map(|numbers| (Just(numbers), 0..=numbers.burst(), 1_i64..=86_400_000_000))
    ) {
        let now = Timestamp::from_unix_micros(EPOCH_US);
        let mut bucket = Bucket::full(&numbers, now);
        bucket.take(&numbers, drained, now);
        let tokens = bucket.remaining(now);
        let back = Timestamp::from_unix_micros(EPOCH_US - step_us);
        let after = bucket.settled(&numbers, back);
        prop_assert!(after.remaining(back) <= tokens);
        let token = after.covers_at(&numbers, 1).expect("a burst holds at least one token");
        let longest = step_us.min(1_000_000) + numbers.span_of(1).micros + 1;
        prop_assert!(token.unix_micros() - back.unix_micros() <= longest, "the next token is {} us away", token.unix_micros() - back.unix_micros());
    }

    #[test]
    fn a_debt_survives_a_clock_that_steps_back_and_is_paid_by_refill(
        (numbers, owed, step_us) in rates().prop_flat_map(|numbers| (Just(numbers), 1..=numbers.burst(), 0_i64..=86_400_000_000))
    ) {
        let now = Timestamp::from_unix_micros(EPOCH_US);
        let mut bucket = Bucket::full(&numbers, now);
        bucket.take(&numbers, numbers.burst() + owed, now);
        let paid = bucket.covers_at(&numbers, 0).expect("no tokens are always within the burst");
        let back = Timestamp::from_unix_micros(EPOCH_US - step_us);
        let after = bucket.settled(&numbers, back);
        let wait_us = after.covers_at(&numbers, 0).expect("as above").unix_micros() - back.unix_micros();
        let owed_us = paid.unix_micros() - now.unix_micros();
        prop_assert!(wait_us >= owed_us, "{wait_us} us instead of {owed_us} us");
        prop_assert!(wait_us <= owed_us + step_us.min(1_000_000) + 1);
        let at_last = Timestamp::from_unix_micros(back.unix_micros() + wait_us);
        prop_assert!(after.settled(&numbers, at_last).covers(&numbers, 0, at_last));
    }
}
