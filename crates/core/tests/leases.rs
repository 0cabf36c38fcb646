//! Leases, compared with a model in rational numbers that ends each of them on time, and the
//! promise that they keep.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use num_rational::Ratio;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{Leases, Rate, Term, Timestamp, TokenBucket};

/// 2026-01-01T00:00:00Z
const START_US: i64 = 1_767_225_600_000_000;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(micros)
}

/// A lease that a replica has.
#[derive(Clone, Copy, Debug)]
struct Lease {
    term: Term,
    lent: u64,
}

/// A token bucket with leases as its definition says.
struct Model {
    tokens: Ratio<i128>,
    at_us: i64,
    per_us: Ratio<i128>,
    burst: Ratio<i128>,
    out: Vec<Lease>,
}

impl Model {
    fn full(rate: &Rate, now_us: i64) -> Self {
        let refill = rate.refill();
        let burst = Ratio::from(i128::from(rate.burst()));
        let per_us = Ratio::new(refill.tokens().into(), refill.micros().into());
        Self { tokens: burst, at_us: now_us, per_us, burst, out: Vec::new() }
    }

    fn out(&self) -> Ratio<i128> {
        Ratio::from(self.out.iter().map(|lease| i128::from(lease.lent)).sum::<i128>())
    }

    fn cap(&mut self) {
        self.tokens = self.tokens.min(self.burst - self.out());
    }

    /// Goes on to `now`, and ends each lease at its time.
    fn advance(&mut self, now_us: i64) {
        while self.at_us < now_us {
            let ends = self.out.iter().map(|lease| lease.term.lease_end().unix_micros());
            let until = ends.min().unwrap_or(now_us).min(now_us);
            let refilled = self.per_us * Ratio::from(i128::from(until - self.at_us));
            self.tokens += refilled;
            self.cap();
            self.at_us = until;
            self.out.retain(|lease| lease.term.lease_end().unix_micros() > until);
        }
    }

    fn take(&mut self, cost: u64) -> bool {
        let cost = Ratio::from(i128::from(cost));
        let admitted = self.tokens >= cost;
        if admitted {
            self.tokens -= cost;
        }
        admitted
    }

    fn give_back(&mut self, tokens: u64) {
        self.tokens += Ratio::from(i128::from(tokens));
        self.cap();
    }

    /// Half of what is there, while at most half of the burst is out, in multiples of `group`.
    fn lend(&mut self, want: u64, least: u64, group: u64) -> u64 {
        let group = Ratio::from(i128::from(group));
        let half = Ratio::new(1, 2);
        // Counted in whole microseconds, as the bucket does.
        let micros = |tokens: Ratio<i128>| (tokens / self.per_us).floor();
        let most = micros(self.burst) * half - micros(self.out());
        let span = (micros(self.tokens) * half).min(most.floor()).floor();
        let held = ((span * self.per_us) / group).floor();
        let wanted = (Ratio::from(i128::from(want)) / group).floor();
        let lent = (held.min(wanted) * group).to_integer();
        let lent = u64::try_from(lent.max(0)).unwrap();
        if lent == 0 || lent < least {
            return 0;
        }
        self.tokens -= Ratio::from(i128::from(lent));
        lent
    }

    fn settle(&mut self, lease: Lease, unspent: u64) -> bool {
        let same = |other: &Lease| other.term == lease.term && other.lent == lease.lent;
        let Some(index) = self.out.iter().position(same) else { return false };
        self.out.remove(index);
        self.give_back(unspent);
        true
    }

    fn remaining(&self) -> u64 {
        u64::try_from(self.tokens.floor().to_integer().max(0)).unwrap()
    }
}

/// What is done to a bucket after a pause.
#[derive(Clone, Debug)]
enum Step {
    Look,
    Take(u64),
    Charge(u64),
    GiveBack(u64),
    Lend { want: u64, least: u64 },
    Settle { which: prop::sample::Index, unspent: f64 },
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let pause = prop_oneof![0..1_000_i64, 0..300_000_i64, 0..5_000_000_i64];
    let step = prop_oneof![
        Just(Step::Look),
        (1..50_u64).prop_map(Step::Take),
        (1..80_u64).prop_map(Step::Charge),
        (1..50_u64).prop_map(Step::GiveBack),
        (1..200_u64, 1..10_u64).prop_map(|(want, least)| Step::Lend { want, least }),
        (any::<prop::sample::Index>(), 0.0..1.0_f64)
            .prop_map(|(which, unspent)| Step::Settle { which, unspent }),
    ];
    prop::collection::vec((pause, step), 1..60)
}

fn rates() -> impl Strategy<Value = Rate> {
    prop::sample::select(vec![
        "100/second, burst 100",
        "10/second, burst 40",
        "7000/second, burst 700",
        "1000/second, burst 5000",
        "3 per 10ms, burst 64",
        "90/minute, burst 30",
    ])
    .prop_map(|rate| rate.parse().unwrap())
}

#[test]
fn a_bucket_that_is_seen_now_and_then_equals_one_that_ends_every_lease_on_time() {
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let histories = (rates(), steps());
    let result = runner.run(&histories, |(rate, steps)| {
        let mut now_us = START_US;
        let (mut bucket, mut model) =
            (TokenBucket::full(&rate, at(now_us)), Model::full(&rate, now_us));
        let mut leases: Vec<Lease> = Vec::new();
        for (pause, step) in steps {
            now_us += pause;
            model.advance(now_us);
            let mut settled = bucket.settled(&rate, at(now_us));
            let before = settled;
            match step {
                Step::Look => {}
                Step::Take(cost) => {
                    let admitted = settled.covers(cost);
                    prop_assert_eq!(admitted, model.take(cost));
                    if admitted {
                        settled.take(cost);
                    }
                }
                Step::Charge(cost) => {
                    settled.take(cost);
                    model.tokens -= Ratio::from(i128::from(cost));
                }
                Step::GiveBack(tokens) => {
                    settled.give_back(tokens);
                    model.give_back(tokens);
                }
                Step::Lend { want, least } => {
                    let lent = settled.lend(want, least);
                    prop_assert_eq!(lent, model.lend(want, least, rate.refill().tokens()));
                    if lent > 0 {
                        let lease = Lease { term: Term::at(at(now_us)), lent };
                        model.out.push(lease);
                        leases.push(lease);
                    }
                }
                Step::Settle { which, unspent } => {
                    if !leases.is_empty() {
                        let lease = leases.swap_remove(which.index(leases.len()));
                        #[expect(
                            clippy::cast_possible_truncation,
                            clippy::cast_precision_loss,
                            clippy::cast_sign_loss,
                            reason = "a lease is a few hundred tokens"
                        )]
                        let unspent = (lease.lent as f64 * unspent) as u64;
                        let unspent = unspent - unspent % rate.refill().tokens();
                        let ended = settled.end_lease(lease.term, lease.lent, unspent);
                        prop_assert_eq!(ended, model.settle(lease, unspent));
                    }
                }
            }
            prop_assert_eq!(settled.remaining(), model.remaining());
            prop_assert_eq!(
                settled.bucket().leases().any(),
                !model.out.is_empty(),
                "what is out: {:?}",
                settled.bucket().leases()
            );
            // As a store does, which writes a state only if it changed or had to be repaired.
            if settled != before || settled.is_repaired() {
                bucket = settled.bucket();
            }
        }
        Ok(())
    });
    result.unwrap();
}

/// What a replica does with its lease.
#[derive(Clone, Debug)]
enum Spend {
    /// Part of it at once, and returns the rest.
    Some { spent: f64 },
    /// All of it in the last microsecond.
    AtTheEnd,
    /// Nothing: it crashed.
    Crash,
}

#[test]
fn every_window_admits_at_most_its_burst_and_what_is_refilled() {
    let spends = prop_oneof![
        (0.0..1.0_f64).prop_map(|spent| Spend::Some { spent }),
        Just(Spend::AtTheEnd),
        Just(Spend::AtTheEnd),
        Just(Spend::Crash),
    ];
    let pauses = prop_oneof![0..2_000_i64, 0..900_000_i64, 900_000..1_100_000_i64];
    let turns = prop::collection::vec((pauses, 1..120_u64, any::<bool>(), spends), 1..80);
    let mut runner = TestRunner::new(Config { cases: 3_000, ..Config::default() });
    let result = runner.run(&(rates(), turns), |(rate, turns)| {
        let mut admitted: Vec<(i64, u64)> = Vec::new();
        let mut now_us = START_US;
        let mut bucket = TokenBucket::full(&rate, at(now_us));
        for (pause, tokens, leases, spend) in turns {
            now_us += pause;
            let mut settled = bucket.settled(&rate, at(now_us));
            if !leases {
                let all = settled.remaining();
                if all > 0 {
                    settled.take(all);
                    admitted.push((now_us, all));
                }
                bucket = settled.bucket();
                continue;
            }
            let lent = settled.lend(tokens, 1);
            let term = Term::at(at(now_us));
            let end_us = term.lease_end().unix_micros();
            match spend {
                _ if lent == 0 => {}
                Spend::AtTheEnd => admitted.push((end_us - 1, lent)),
                Spend::Crash => {}
                Spend::Some { spent } => {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_precision_loss,
                        clippy::cast_sign_loss,
                        reason = "a lease is a few hundred tokens"
                    )]
                    let spent = (lent as f64 * spent) as u64;
                    admitted.push((now_us, spent));
                    let group = rate.refill().tokens();
                    let unspent = (lent - spent) / group * group;
                    assert!(settled.end_lease(term, lent, unspent), "the lease is out");
                }
            }
            bucket = settled.bucket();
        }
        admitted.sort_unstable();
        // A bucket of which every admission is taken as it happens never owes anything, if and
        // only if no window admits too much.
        let mut virtual_bucket = Model::full(&rate, START_US);
        for (micros, tokens) in admitted {
            virtual_bucket.advance(micros);
            prop_assert!(
                virtual_bucket.take(tokens),
                "{tokens} tokens after {} us are too many: {} are left",
                micros - START_US,
                virtual_bucket.tokens
            );
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn leases_that_the_clock_left_behind_by_a_step_back_end_within_five_terms() {
    let rate: Rate = "100/second, burst 100".parse().unwrap();
    let later_us = START_US + 3_600_000_000;
    let mut settled = TokenBucket::full(&rate, at(later_us)).settled(&rate, at(later_us));
    assert_eq!(settled.lend(50, 1), 50);
    let bucket = settled.bucket();

    let mut settled = bucket.settled(&rate, at(START_US));
    assert!(settled.is_repaired(), "written, or they would last for an hour");
    assert_eq!(settled.bucket().leases().term(), Term::at(at(START_US + 3_000_000)));
    assert_eq!(settled.lend(10, 1), 0, "until the clock has caught up");
    let at_the_end = at(START_US + 5_000_000);
    let settled = settled.bucket().settled(&rate, at_the_end);
    assert_eq!(settled.bucket().leases(), Leases::NONE);
}

#[test]
fn a_settlement_does_not_find_the_leases_of_another_term_after_a_step_back() {
    let rate: Rate = "100/second, burst 100".parse().unwrap();
    let terms = [Term::at(at(START_US + 900_000)), Term::at(at(START_US + 1_000_000))];
    for step_us in [500_000, 1_500_000, 3_600_000_000] {
        let now = at(START_US + 900_000);
        let mut settled = TokenBucket::full(&rate, now).settled(&rate, now);
        assert_eq!(settled.lend(20, 1), 20);
        let mut settled = settled.bucket().settled(&rate, at(START_US + 1_000_000));
        assert_eq!(settled.lend(20, 1), 20);

        let stepped_us = START_US + 1_000_000 - step_us;
        let mut settled = settled.bucket().settled(&rate, at(stepped_us));
        settled.end_lease(terms[0], 20, 0);
        // The second lease may be spent for two seconds less the margin.
        let settled = settled.bucket().settled(&rate, at(stepped_us + 1_979_000));
        assert!(settled.remaining() <= 80, "{} beside 20, {step_us} us", settled.remaining());
    }
}

#[test]
fn a_changed_rate_or_burst_never_makes_tokens_of_what_is_leased() {
    let (old, new): (Rate, Rate) =
        ("100/second, burst 100".parse().unwrap(), "7000/minute, burst 40".parse().unwrap());
    let start = at(START_US);
    let mut settled = TokenBucket::full(&old, start).settled(&old, start);
    assert_eq!(settled.lend(50, 1), 50);
    settled.take(50);
    // 50 are out, which is more than the new burst: it is owed until they have ended.
    let settled = settled.bucket().settled(&new, at(START_US + 500_000));
    assert!(settled.is_repaired());
    assert_eq!(settled.remaining(), 0);
    assert!(!settled.covers(0), "what is out beyond the burst is a debt");
    let ended = at(START_US + 2_000_000);
    let settled = settled.bucket().settled(&new, ended);
    assert_eq!(settled.bucket().leases(), Leases::NONE);
    assert!(!settled.covers(1), "the leases may have been spent a moment before");
    assert!(settled.covers_at(1).unwrap() > ended);
}
