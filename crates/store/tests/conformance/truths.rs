//! What is true of every store.
//!
//! No truth depends on how fast the machine is: a limit of tokens per day gives none back while a
//! test runs, and a test that needs time to pass waits by the store's own clock.

use std::{sync::Arc, time::Duration};

use proptest::{prelude::*, test_runner::TestRunner};
use sluice_core::{Action, Decision, Mode, Retry, Timestamp};
use sluice_store::Replica;

use crate::{
    fixture::{Fixture, algorithm, check, limit, tokens},
    oracle::{self, Oracle},
};

/// The time of one token at a rate of one per day.
const DAY: Duration = Duration::from_secs(86_400);

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
    assert_eq!(decision.verdicts()[0].reset_in, Duration::ZERO);
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
    let full_at = taken.verdicts()[0].reset_at(taken.at());
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

/// Decides random histories, with changing rates, debts and shadow limits, in batches of one or
/// more checks. Every decision must equal that of the core.
#[allow(clippy::result_large_err)] // The error type is proptest's.
pub async fn decisions_equal_those_of_the_core(fixture: &Fixture) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        runner.run(&oracle::histories(), |history| {
            let mut oracle = Oracle::default();
            let batches = history.batches([fixture.client(), fixture.client()]);
            for (pause, batch) in batches {
                fixture.advance(pause);
                let decisions = runtime.block_on(fixture.store.decide_all(&batch));
                for (check, decision) in batch.iter().zip(decisions) {
                    oracle.confirm(check, &decision.expect("the store decides"))?;
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
