//! The bucket's arithmetic, compared with a model in rational numbers, and what it promises.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use num_bigint::BigInt;
use num_rational::Ratio;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{
    Action, Algorithm, Bucket, Check, Cost, Decision, Limit, Rate, Retry, SettledTokens, Source,
    Subject, Tagger, Timestamp, TokenBucket,
};
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

/// A look at a bucket under one of several rates, after a pause.
#[derive(Clone, Debug)]
struct Look {
    pause_us: i64,
    version: usize,
    action: Action,
    cost: u64,
}

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let pauses = prop_oneof![Just(0_i64), 0..1_000_i64, 0..60_000_000_i64, 0..DAY_US];
    let actions = prop_oneof![Just(Action::Take), Just(Action::Peek)];
    let costs = prop_oneof![0..3_u64, 0..10_000_000_u64];
    let look = (pauses, 0..3_usize, actions, costs)
        .prop_map(|(pause_us, version, action, cost)| Look { pause_us, version, action, cost });
    prop::collection::vec(look, 1..40)
}

/// Decides about one bucket of tokens.
fn decide(check: &Check, tokens: &mut TokenBucket, now: Timestamp) -> Decision {
    let mut buckets = [Bucket::Tokens(*tokens)];
    let decision = check.decide(&mut buckets, now, Source::Store);
    let [Bucket::Tokens(after)] = buckets else { unreachable!("it stays a bucket of tokens") };
    *tokens = after;
    decision
}

/// Returns the tokens in a bucket at its own rate, without a bound.
fn tokens_in(bucket: &TokenBucket, now: Timestamp) -> Ratio<BigInt> {
    let (empty, refill) = (bucket.empty_at(), bucket.refill());
    let age = BigInt::from(now.unix_micros() - empty.micros);
    let parts = age * BigInt::from(refill.tokens()) - BigInt::from(empty.fraction);
    Ratio::new(parts, BigInt::from(refill.micros()))
}

/// Takes `steps` on the bucket and on the model, and compares everything that both can answer.
fn compare(rate: &Rate, steps: &[(i64, Step)]) -> Result<(), TestCaseError> {
    let mut now_us = START_US;
    let mut stored = TokenBucket::full(rate, START);
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
        let mut stored = TokenBucket::full(&rate, START);
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
        let mut bucket = SettledTokens::full(&rate, START);
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
        later_us in 0..=DAY_US,
    ) {
        let mut bucket = SettledTokens::full(&old, START);
        bucket.take(taken);
        let now = Timestamp::from_unix_micros(START_US + later_us);
        let before = tokens_in(&bucket.bucket(), now);
        let changed = bucket.bucket().settled(&new, now);
        let after = tokens_in(&changed.bucket(), now);
        let burst = Ratio::from(BigInt::from(new.burst()));
        let of_one_us = Ratio::new(new.refill().tokens().into(), new.refill().micros().into());
        prop_assert!(after <= before, "{after} tokens of {before}");
        prop_assert!(after > before.clone().min(burst) - of_one_us, "{after} tokens of {before}");
    }

    /// Whoever looks, and whatever is decided: between two looks the rate of the first one counts.
    #[test]
    fn looks_under_several_rates_keep_what_was_earned_since_the_look_before(
        versions in [rates(), rates(), rates()],
        (empty, looks) in (any::<bool>(), looks()),
    ) {
        let limits = versions.map(|rate| {
            Arc::new(Limit::new("changing", Algorithm::TokenBucket(rate)).unwrap())
        });
        let tag = Tagger::new(b"").tag(Subject::Client(b"alice"));
        let mut now = START;
        let mut stored = SettledTokens::full(&versions[0], now);
        if empty {
            stored.take(versions[0].burst());
        }
        let mut stored = stored.bucket();
        for Look { pause_us, version, action, cost } in looks {
            now = Timestamp::from_unix_micros(now.unix_micros() + pause_us);
            let rate = &versions[version];
            let (before, before_refill) = (tokens_in(&stored, now), stored.refill());
            let check = Check::new(action).with(&limits[version], tag, Cost::new(cost).unwrap());
            let decision = decide(&check, &mut stored, now);
            let spent = if decision.is_allowed() && action == Action::Take { cost } else { 0 };
            let burst = Ratio::from(BigInt::from(rate.burst()));
            if decision.verdicts()[0].reset_in == Some(Duration::ZERO) {
                prop_assert!(before >= burst, "{before} tokens are found to be {burst}");
                stored = TokenBucket::full(rate, now);
                continue;
            }
            prop_assert_eq!(stored.refill(), rate.refill(), "the look has repaired the state");
            let expected = before.min(burst) - Ratio::from(BigInt::from(spent));
            let after = tokens_in(&stored, now);
            prop_assert!(after <= expected, "{after} tokens instead of {expected}");
            let lost = expected - &after;
            if before_refill == rate.refill() {
                prop_assert_eq!(lost, Ratio::from(BigInt::from(0)));
            } else {
                let refill = rate.refill();
                let one_us = Ratio::new(refill.tokens().into(), refill.micros().into());
                prop_assert!(lost < one_us, "{lost} tokens were lost");
            }
        }
    }

    #[test]
    fn a_repaired_state_needs_no_repair(
        (old, taken) in rate_and_taken(),
        (owed, new) in (0_u64..10_000, rates()),
        step_us in -DAY_US..=DAY_US,
    ) {
        let mut bucket = SettledTokens::full(&old, START);
        bucket.take(taken + owed);
        let now = Timestamp::from_unix_micros(START_US + step_us);
        for rate in [&old, &new] {
            let once = bucket.bucket().settled(rate, now);
            let twice = once.bucket().settled(rate, now);
            prop_assert_eq!(once.bucket(), twice.bucket());
            prop_assert!(!twice.is_repaired());
        }
    }

    /// However the clock steps: a look never finds more tokens than the bucket had and has earned
    /// since, and none waits because of a step for more than a second after its look.
    #[test]
    fn a_client_that_keeps_asking_waits_for_at_most_a_second_after_each_step(
        rate in rates(),
        owed in 0_u64..100,
        steps in prop::collection::vec((0..2_000_000_i64, 0..=DAY_US, any::<bool>()), 1..20),
    ) {
        let limit = Arc::new(Limit::new("stepping", Algorithm::TokenBucket(rate)).unwrap());
        let tag = Tagger::new(b"").tag(Subject::Client(b"alice"));
        let check = Check::new(Action::Peek).with(&limit, tag, Cost::ONE);
        let mut bucket = SettledTokens::full(&rate, START);
        bucket.take(rate.burst() + owed);
        let (mut stored, mut now_us) = (bucket.bucket(), START_US);
        let mut look = |now_us: i64| {
            let now = Timestamp::from_unix_micros(now_us);
            let decision = decide(&check, &mut stored, now);
            if decision.verdicts()[0].reset_in == Some(Duration::ZERO) {
                stored = TokenBucket::full(&rate, now);
            }
            match decision.retry() {
                Retry::After(wait) => i64::try_from(wait.as_micros()).unwrap(),
                Retry::Now | Retry::Never => 0,
            }
        };
        let token_us = rate.span_of(1).micros + 1;
        for (pause_us, back_us, steps_back) in steps {
            now_us += pause_us;
            let before = look(now_us);
            if steps_back {
                now_us -= back_us;
            }
            let after = look(now_us);
            prop_assert!(
                after <= before.max(token_us) + 1_000_000,
                "{after} us instead of {before} us after a step of {back_us} us"
            );
        }
    }

    #[test]
    fn a_clock_that_steps_back_adds_no_tokens_and_stops_the_refill_for_at_most_a_second(
        (rate, taken) in rate_and_taken(),
        step_us in 1_i64..=DAY_US,
    ) {
        let mut bucket = SettledTokens::full(&rate, START);
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
        let mut bucket = SettledTokens::full(&rate, START);
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
