//! What is true of every store.
//!
//! No truth depends on how fast the machine is: a limit of tokens per day gives none back while a
//! test runs, and a test that needs time to pass waits by the store's own clock.

use std::{env, sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};
use sluice_core::{Action, Check, Decision, Limit, Mode, Retry, Tag, Timestamp};
use sluice_store::Replica;

use crate::{
    fixture::{Fixture, algorithm, check, limit, tokens},
    oracle::{self, Oracle},
};

/// The time of one token at a rate of one per day.
const DAY: Duration = Duration::from_secs(86_400);

/// The number of random histories for each store, if not [`FEW_HISTORIES`].
const HISTORIES: &str = "SLUICE_STORE_HISTORIES";
const FEW_HISTORIES: u32 = 100;

/// Returns when a denied check may be retried.
fn retry_at(denied: &Decision) -> Timestamp {
    let Retry::After(wait) = denied.retry() else { panic!("{denied:?}") };
    denied.at().after(wait)
}

pub async fn an_unused_bucket_is_full(fixture: &Fixture) {
    let decision =
        fixture.act(Action::Peek, &limit("daily", "1/day", 10), fixture.client(), 10).await;
    assert!(decision.is_allowed());
    assert_eq!(decision.verdicts()[0].remaining, 10);
    assert_eq!(decision.verdicts()[0].reset_in, Some(Duration::ZERO));
}

pub async fn burst_is_spent_exactly(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 10), fixture.client());
    let first = fixture.take(&daily, client, 1).await;
    assert_eq!((first.is_allowed(), first.verdicts()[0].remaining), (true, 9));
    for left in (0..9).rev() {
        let decision = fixture.take(&daily, client, 1).await;
        assert!(decision.is_allowed());
        assert_eq!(decision.verdicts()[0].remaining, left);
    }
    let decision = fixture.take(&daily, client, 1).await;
    assert!(decision.is_denied());
    assert_eq!(decision.verdicts()[0].remaining, 0);
    assert_eq!(retry_at(&decision), first.at().after(DAY), "a day after the bucket was full");
}

pub async fn a_denied_check_takes_nothing(fixture: &Fixture) {
    let (wide, narrow, client) =
        (limit("wide", "1/day", 10), limit("narrow", "1/day", 3), fixture.client());
    let both = |cost| {
        check(Action::Take).with(&wide, client, tokens(cost)).with(&narrow, client, tokens(cost))
    };
    assert!(fixture.decide(both(3)).await.is_allowed());
    let denied = fixture.decide(both(1)).await;
    assert!(denied.is_denied());
    assert_eq!(denied.binding().map(|verdict| verdict.limit.name()), Some("narrow"));
    assert_eq!(denied.verdicts()[0].remaining, 7);
    assert_eq!(
        (fixture.remaining(&wide, client).await, fixture.remaining(&narrow, client).await),
        (7, 0)
    );
}

pub async fn costs_in_one_bucket_add_up(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 10), fixture.client());
    let twice = |cost| {
        check(Action::Take).with(&daily, client, tokens(cost)).with(&daily, client, tokens(cost))
    };
    assert!(fixture.decide(twice(6)).await.is_denied());
    assert!(fixture.decide(twice(5)).await.is_allowed());
    assert_eq!(fixture.remaining(&daily, client).await, 0);
}

pub async fn a_cost_of_zero_takes_nothing(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 2), fixture.client());
    fixture.take(&daily, client, 2).await;
    let decision = fixture.take(&daily, client, 0).await;
    assert!(decision.is_allowed());
    assert_eq!(decision.verdicts()[0].remaining, 0);
}

pub async fn a_cost_above_the_burst_is_never_admitted(fixture: &Fixture) {
    let (fast, client) = (limit("fast", "100000000/minute", 10), fixture.client());
    let decision = fixture.take(&fast, client, 11).await;
    assert!(decision.is_denied());
    assert_eq!(decision.retry(), Retry::Never);
    assert_eq!(fixture.remaining(&fast, client).await, 10);
}

pub async fn a_denied_cost_is_admitted_after_the_retry_time(fixture: &Fixture) {
    let (fast, client) = (limit("fast", "50/second", 5), fixture.client());
    let take = |cost| check(Action::Take).with(&fast, client, tokens(cost));
    let [_, denied] = fixture.decide_at_once([take(5), take(3)]).await;
    assert!(denied.is_denied());
    assert_eq!(denied.retry(), Retry::After(Duration::from_millis(60)));
    fixture.wait_until(retry_at(&denied)).await;
    assert!(fixture.take(&fast, client, 3).await.is_allowed());
}

pub async fn a_peek_changes_nothing(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 10), fixture.client());
    fixture.take(&daily, client, 4).await;
    assert!(fixture.act(Action::Peek, &daily, client, 6).await.is_allowed());
    assert!(fixture.act(Action::Peek, &daily, client, 7).await.is_denied());
    assert_eq!(fixture.remaining(&daily, client).await, 6);
}

pub async fn tokens_are_given_back_up_to_the_burst(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 10), fixture.client());
    fixture.take(&daily, client, 8).await;
    assert_eq!(fixture.act(Action::GiveBack, &daily, client, 3).await.verdicts()[0].remaining, 5);
    assert_eq!(
        fixture.act(Action::GiveBack, &daily, client, 100).await.verdicts()[0].remaining,
        10
    );
    assert_eq!(fixture.remaining(&daily, client).await, 10);
}

pub async fn a_charge_may_leave_a_debt_that_refill_pays(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 10), fixture.client());
    let charged = fixture.act(Action::Charge, &daily, client, 12).await;
    assert!(charged.is_allowed());
    assert_eq!(charged.verdicts()[0].remaining, 0);
    let denied = fixture.take(&daily, client, 1).await;
    assert_eq!(
        retry_at(&denied),
        charged.at().after(DAY * 3),
        "two tokens of debt and one to spend need three days"
    );
    assert_eq!(fixture.act(Action::GiveBack, &daily, client, 3).await.verdicts()[0].remaining, 1);

    let fast = limit("fast", "100/second", 10);
    let one = |action, cost| check(action).with(&fast, client, tokens(cost));
    let [_, denied] = fixture.decide_at_once([one(Action::Charge, 12), one(Action::Take, 1)]).await;
    assert_eq!(denied.retry(), Retry::After(Duration::from_millis(30)));
    fixture.wait_until(retry_at(&denied)).await;
    assert!(fixture.take(&fast, client, 1).await.is_allowed());
}

pub async fn a_reset_fills_the_bucket(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 10), fixture.client());
    fixture.act(Action::Charge, &daily, client, 25).await;
    assert_eq!(fixture.act(Action::Reset, &daily, client, 0).await.verdicts()[0].remaining, 10);
    assert_eq!(fixture.remaining(&daily, client).await, 10);
}

pub async fn a_shadow_limit_never_denies_and_takes_only_what_passes(fixture: &Fixture) {
    let enforced = limit("enforced", "1/day", 3);
    let shadow = Arc::new((*limit("shadow", "1/day", 2)).clone().with_mode(Mode::Shadow));
    let client = fixture.client();
    let both =
        || check(Action::Take).with(&shadow, client, tokens(1)).with(&enforced, client, tokens(1));
    let admitted = async || {
        let decision = fixture.decide(both()).await;
        (decision.is_allowed(), decision.verdicts()[0].admitted, decision.verdicts()[0].remaining)
    };
    assert_eq!(admitted().await, (true, true, 1));
    fixture.take(&enforced, client, 2).await;
    assert_eq!(
        admitted().await,
        (false, true, 1),
        "a check that another limit denies takes nothing from the shadow limit"
    );
    fixture.act(Action::Reset, &enforced, client, 0).await;
    assert_eq!(admitted().await, (true, true, 0));
    assert_eq!(
        admitted().await,
        (true, false, 0),
        "the shadow limit reports a denial, but does not deny"
    );
    assert_eq!(fixture.remaining(&enforced, client).await, 1);
}

pub async fn clients_and_limits_have_separate_buckets(fixture: &Fixture) {
    let (daily, other, alice, bob) = (
        limit("daily", "1/day", 10),
        limit("other", "1/day", 10),
        fixture.client(),
        fixture.client(),
    );
    fixture.take(&daily, alice, 10).await;
    assert_eq!(fixture.remaining(&daily, bob).await, 10);
    assert_eq!(fixture.remaining(&other, alice).await, 10);
}

pub async fn a_changed_limit_keeps_its_buckets(fixture: &Fixture) {
    let client = fixture.client();
    let before = limit("daily", "100/day", 100);
    let with = |rate, burst| Arc::new(before.with_algorithm(algorithm(rate, burst)));
    fixture.take(&before, client, 60).await;
    // A conversion to another rate may lose a microsecond's refill.
    fixture.advance(Duration::from_secs(1));
    assert_eq!(
        fixture.remaining(&with("100/day", 1_000), client).await,
        40,
        "a higher burst adds no tokens"
    );
    assert_eq!(
        fixture.remaining(&with("100/day", 30), client).await,
        30,
        "a lower burst removes tokens"
    );
    assert_eq!(
        fixture.remaining(&with("10/day", 100), client).await,
        40,
        "a lower rate keeps the tokens"
    );
    // Seven tokens in 90 days: the time of one is no whole number of microseconds.
    let fractional = with("7 per 90d", 100);
    assert_eq!(fixture.remaining(&fractional, client).await, 40);
    assert!(fixture.take(&fractional, client, 1).await.is_allowed());
    let left = fixture.remaining(&before, client).await;
    assert!(left == 38 || left == 39, "a conversion loses less than a token: {left}");
    fixture.act(Action::Charge, &before, client, 100).await;
    assert_eq!(fixture.remaining(&with("50/day", 1_000), client).await, 0, "a debt remains a debt");
}

pub async fn a_full_bucket_is_forgotten(fixture: &Fixture) {
    let (fast, client) = (limit("fast", "100/second", 2), fixture.client());
    let taken = fixture.take(&fast, client, 2).await;
    // Redis expires keys at whole milliseconds.
    let full_at = taken.verdicts()[0].reset_at(taken.at()).unwrap();
    fixture.wait_until(full_at.after(Duration::from_millis(2))).await;
    let raised = Arc::new(fast.with_algorithm(algorithm("100/second", 50)));
    assert_eq!(
        fixture.remaining(&raised, client).await,
        50,
        "a bucket that was full is full under the new burst"
    );
}

pub async fn a_batch_is_decided_in_order(fixture: &Fixture) {
    let (daily, client) = (limit("daily", "1/day", 10), fixture.client());
    let of = |action, cost| check(action).with(&daily, client, tokens(cost));
    let batch = [
        of(Action::Take, 6),
        of(Action::Take, 5),
        of(Action::Peek, 4),
        of(Action::Take, 4),
        of(Action::GiveBack, 2),
        of(Action::Take, 2),
        of(Action::Charge, 1),
        of(Action::Take, 1),
    ];
    let decisions = fixture.store.decide_all(&batch).await;
    let outcomes: Vec<_> = decisions
        .iter()
        .map(|decision| {
            decision
                .as_ref()
                .map(|decision| (decision.is_allowed(), decision.verdicts()[0].remaining))
                .unwrap()
        })
        .collect();
    assert_eq!(
        outcomes,
        [(true, 4), (false, 4), (true, 4), (true, 0), (true, 2), (true, 0), (true, 0), (false, 0)]
    );
    assert!(fixture.store.decide_all(&[]).await.is_empty());
}

pub async fn every_check_of_a_large_batch_is_decided(fixture: &Fixture) {
    let limits = [limit("first", "1/day", 5), limit("second", "1/day", 5)];
    let clients: Vec<_> = (0..2_500).map(|_| fixture.client()).collect();
    let of = |&client| {
        check(Action::Take).with(&limits[0], client, tokens(1)).with(&limits[1], client, tokens(2))
    };
    for round in 0..3 {
        let batch: Vec<_> = clients.iter().map(of).collect();
        let decisions = fixture.store.decide_all(&batch).await;
        assert_eq!(decisions.len(), batch.len());
        for decision in decisions {
            assert_eq!(decision.unwrap().is_allowed(), round < 2);
        }
    }
}

pub async fn an_empty_check_is_allowed(fixture: &Fixture) {
    let decision = fixture.decide(check(Action::Take)).await;
    assert!(decision.is_allowed());
    assert!(decision.verdicts().is_empty());
}

pub async fn concurrent_checks_never_overspend(fixture: &Fixture) {
    let (hot, cold, client) =
        (limit("hot", "1/day", 100), limit("cold", "1/day", 1_000), fixture.client());
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (store, hot, cold) =
                (Arc::clone(&fixture.store), Arc::clone(&hot), Arc::clone(&cold));
            tokio::spawn(async move {
                let mut admitted = 0;
                for _ in 0..10 {
                    let check = check(Action::Take).with(&cold, client, tokens(1)).with(
                        &hot,
                        client,
                        tokens(1),
                    );
                    admitted += u64::from(store.decide(&check).await.unwrap().is_allowed());
                }
                admitted
            })
        })
        .collect();
    let mut admitted = 0;
    for task in tasks {
        admitted += task.await.unwrap();
    }
    assert_eq!(admitted, 100);
    assert_eq!(
        (fixture.remaining(&hot, client).await, fixture.remaining(&cold, client).await),
        (0, 900)
    );
}

/// Asks for one token every `pause` by the store's clock until it is admitted, and returns how long
/// that took. Every second question is a peek.
async fn wait_for_a_token(
    fixture: &Fixture,
    limit: &Arc<Limit>,
    client: Tag,
    pause: Duration,
) -> Duration {
    let first = fixture.take(limit, client, 1).await;
    if first.is_allowed() {
        return Duration::ZERO;
    }
    for look in 0..100_000 {
        assert!(fixture.advance(pause), "the test moves the clock");
        let action = if look % 2 == 0 { Action::Peek } else { Action::Take };
        let decision = fixture.act(action, limit, client, 1).await;
        if decision.is_allowed() {
            return decision.at().since(first.at());
        }
        let latest = first.at().after(Duration::from_secs(3_600));
        assert!(decision.at() < latest, "the client is still denied after an hour");
    }
    panic!("the client is still denied")
}

/// A bit more than `span`, since a server's clock does not stand still.
fn about(span: Duration) -> Duration {
    span + Duration::from_secs(5)
}

pub async fn a_denied_client_earns_at_the_new_rate_from_the_first_look_on(fixture: &Fixture) {
    let hourly = limit("raised", "1/hour", 1);
    let with = |rate, burst| Arc::new(hourly.with_algorithm(algorithm(rate, burst)));
    for (raised, wait_ms) in [
        (with("60/minute", 60), 1_000),
        (with("60/minute", 1), 1_000),
        (with("90/minute", 60), 667),
        (with("7/hour", 7), 514_286),
        (with("100/second", 1_000), 10),
    ] {
        let client = fixture.client();
        assert!(fixture.take(&hourly, client, 1).await.is_allowed());
        let denied = fixture.take(&raised, client, 1).await;
        let due = retry_at(&denied);
        assert!(due.since(denied.at()) <= Duration::from_millis(wait_ms), "{raised}");
        let waited =
            wait_for_a_token(fixture, &raised, client, Duration::from_millis(wait_ms / 100 + 1))
                .await;
        let most = about(Duration::from_millis(wait_ms + wait_ms / 100));
        assert!(waited <= most, "{raised}: {waited:?}");
        // `Retry-After` was true: nothing that happened in between has moved it.
        assert!(fixture.act(Action::Peek, &raised, client, 0).await.at() >= due);
    }
}

pub async fn limits_in_shadow_mode_and_of_denied_checks_are_repaired_too(fixture: &Fixture) {
    let (hourly, blocked) = (limit("hourly", "1/hour", 1), limit("blocked", "1/day", 1));
    let raised = Arc::new(hourly.with_algorithm(algorithm("60/minute", 60)));
    let shadow = Arc::new((*raised).clone().with_mode(Mode::Shadow));
    for limit in [raised, shadow] {
        let client = fixture.client();
        fixture.take(&hourly, client, 1).await;
        fixture.take(&blocked, client, 1).await;
        let both = || {
            check(Action::Take).with(&limit, client, tokens(1)).with(&blocked, client, tokens(1))
        };
        assert!(fixture.decide(both()).await.is_denied());
        fixture.advance(Duration::from_secs(30));
        let denied = fixture.decide(both()).await;
        assert!(denied.is_denied(), "{denied:?}");
        let earned = denied.verdicts()[0].remaining;
        assert!((29..=35).contains(&earned), "{limit} has earned {earned} tokens in 30 s");
        let left = fixture.remaining(&limit, client).await;
        assert!((earned..=35).contains(&left), "a denied check takes nothing: {left}");
    }
}

/// Replicas of two configurations look in turn, as during a rolling reload. Between two looks the
/// rate of the first one counts, so the client earns what lies between the two rates. Every change
/// of the rate may cost the refill of a microsecond.
pub async fn configurations_that_take_turns_neither_starve_a_client_nor_add_tokens(
    fixture: &Fixture,
) {
    let minute = Duration::from_secs(60);
    for (one, other) in
        [("60/minute", "120/minute"), ("7/minute", "999983/hour"), ("1/minute", "2/minute")]
    {
        let client = fixture.client();
        let one = limit("turns", one, 1_000_000);
        let other = Arc::new(one.with_algorithm(algorithm(other, 1_000_000)));
        fixture.take(&one, client, 1_000_000).await;
        let first = fixture.take(&one, client, 1_000_000).await;
        let mut last = first.clone();
        for look in 0..2_000 {
            fixture.advance(Duration::from_millis(997));
            let limit = if look % 2 == 0 { &other } else { &one };
            let action = if look % 3 == 0 { Action::Peek } else { Action::Take };
            last = fixture.act(action, limit, client, 1_000_000).await;
            assert!(last.is_denied());
        }
        let passed = last.at().since(first.at());
        let of = |limit: &Arc<Limit>| {
            let refill = limit.rate().unwrap().refill_rate();
            passed.as_secs_f64() * refill.tokens() as f64 / refill.period().as_secs_f64()
        };
        let expected = f64::midpoint(of(&one), of(&other));
        let earned = last.verdicts()[0].remaining as f64;
        assert!(passed > minute);
        assert!(earned <= expected * 1.01 + 1.0, "{earned} tokens instead of {expected}");
        assert!(earned >= expected * 0.99 - 1.0, "{earned} tokens instead of {expected}");
    }
}

pub async fn a_clock_that_steps_back_freezes_a_client_for_at_most_a_second(fixture: &Fixture) {
    for (name, rate, burst) in [
        ("whole", "60/minute", 5),
        ("fractional", "90/minute", 5),
        ("slow", "7/minute", 2),
        ("fast", "100000000/minute", 5),
    ] {
        let limit = limit(name, rate, burst);
        let token =
            Duration::from_micros(limit.rate().unwrap().span_of(1).micros.unsigned_abs() + 1);
        for step in [1, 2, 10, 3_600, 86_400, 10_000_000].map(Duration::from_secs) {
            let client = fixture.client();
            for _ in 0..burst {
                fixture.take(&limit, client, 1).await;
            }
            fixture.advance(token / 2);
            fixture.take(&limit, client, burst).await;
            fixture.step_back(step);
            let after = fixture.take(&limit, client, 1).await;
            if after.is_denied() {
                let wait = retry_at(&after).since(after.at());
                assert!(wait <= Duration::from_secs(1) + token, "{limit}, {step:?}: {wait:?}");
            }
            let waited =
                wait_for_a_token(fixture, &limit, client, Duration::from_millis(500)).await;
            assert!(waited <= about(token), "{limit} after a step of {step:?}: {waited:?}");
        }
    }
}

pub async fn a_clock_that_steps_back_prolongs_a_debt_by_at_most_a_second(fixture: &Fixture) {
    for rate in ["60/minute", "90/minute"] {
        let limit = limit(rate, rate, 10);
        for (passed, step) in [(0, 10), (0, 3_600), (25, 10), (25, 24), (25, 3_600), (45, 44)] {
            let client = fixture.client();
            // Forty tokens of debt.
            fixture.act(Action::Charge, &limit, client, 50).await;
            for _ in 0..passed {
                fixture.advance(Duration::from_secs(1));
                fixture.act(Action::Peek, &limit, client, 10).await;
            }
            let before = fixture.act(Action::Peek, &limit, client, 1).await;
            fixture.step_back(Duration::from_secs(step));
            let after = fixture.act(Action::Peek, &limit, client, 1).await;
            let token =
                Duration::from_micros(limit.rate().unwrap().span_of(1).micros.unsigned_abs() + 1);
            let wait = |decision: &Decision| match decision.retry() {
                Retry::After(wait) => wait,
                Retry::Now | Retry::Never => Duration::ZERO,
            };
            let most = wait(&before).max(token) + Duration::from_secs(1);
            assert!(wait(&after) <= most, "{limit}, {passed} s, {step} s: {before:?} {after:?}");
            fixture.advance(Duration::from_secs(1));
            let later = fixture.act(Action::Peek, &limit, client, 1).await;
            assert!(
                later.is_allowed() || wait(&later) < wait(&after),
                "refill goes on: {after:?} {later:?}"
            );
        }
    }
}

pub async fn a_clock_that_starts_in_1970_freezes_nobody(fixture: &Fixture) {
    let now = fixture.now().await;
    fixture.step_back(now.since(Timestamp::from_unix_micros(600_000_000)));
    let (daily, client) = (limit("daily", "24/day", 24), fixture.client());
    assert!(fixture.take(&daily, client, 1).await.is_allowed());
    fixture.advance(Duration::from_secs(3_600));
    assert!(fixture.take(&daily, client, 1).await.is_allowed());
    fixture.advance(now.since(Timestamp::from_unix_micros(0)));
}

/// Returns the number of random histories for each store.
fn histories() -> u32 {
    let Ok(number) = env::var(HISTORIES) else { return FEW_HISTORIES };
    number.parse().unwrap_or_else(|error| panic!("{HISTORIES} is `{number}`: {error}"))
}

/// Decides random histories, with changing rates, debts, shadow limits and clocks that step back,
/// in batches of one or more checks. Every decision must equal that of the core.
#[allow(clippy::result_large_err)] // The error type is proptest's.
pub async fn decisions_equal_those_of_the_core(fixture: &Fixture) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: histories(),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        runner.run(&oracle::histories(), |history| {
            let mut oracle = Oracle::with_epoch(fixture.epoch);
            let batches = history.batches([fixture.client(), fixture.client()]);
            for (pause, back, batch) in batches {
                fixture.advance(pause);
                if back > Duration::ZERO {
                    oracle.clock_steps_back(pause);
                    fixture.step_back(back);
                }
                let batch: Vec<Check> = if batch.iter().any(oracle::is_timed) {
                    let now = runtime.block_on(fixture.now());
                    batch.iter().map(|check| oracle::in_time(check, now)).collect()
                } else {
                    batch
                };
                let decisions = runtime.block_on(fixture.store.decide_all(&batch));
                let decisions = decisions.into_iter().map(|one| one.expect("the store decides"));
                let mut decided: Vec<_> = batch.iter().zip(decisions).collect();
                // A check about another window of the calendar than the store's is decided later.
                decided.sort_by_key(|(_, decision)| decision.at());
                for (check, decision) in &decided {
                    oracle.confirm(check, decision)?;
                }
            }
            Ok(())
        })
    })
    .unwrap();
}

pub async fn replicas_that_announce_themselves_are_listed(fixture: &Fixture) {
    let replica = |id: &str| Replica::new(id, "1.2.3 test");
    let ids = async |announced: &str| {
        let fleet = fixture.store.announce(&replica(announced)).await.unwrap();
        assert!(
            fleet
                .replicas
                .iter()
                .all(|live| live.replica.version == "1.2.3 test" && live.age >= live.seen_ago)
        );
        assert_eq!(fleet.size(), fleet.replicas.len());
        let mut ids: Vec<_> = fleet.replicas.into_iter().map(|live| live.replica.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("a").await, ["a"]);
    assert_eq!(ids("b").await, ["a", "b"]);
    assert_eq!(ids("a").await, ["a", "b"]);
    fixture.store.depart(&replica("a")).await.unwrap();
    assert_eq!(ids("b").await, ["b"]);
    fixture.store.probe().await.unwrap();
}

pub async fn the_first_value_is_agreed_on(fixture: &Fixture) {
    let agree = async |name: &str, value: &[u8]| fixture.store.agree(name, value).await.unwrap();
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    assert_eq!(agree("first", &bytes).await, bytes);
    assert_eq!(agree("first", b"another").await, bytes);
    assert_eq!(agree("second", b"another").await, b"another");
    assert_eq!(agree("first", b"").await, bytes);

    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..32_u8 {
        let store = Arc::clone(&fixture.store);
        tasks.spawn(async move { store.agree("raced", &[number]).await.unwrap() });
    }
    let values = tasks.join_all().await;
    assert_eq!(values[0].len(), 1);
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
}
