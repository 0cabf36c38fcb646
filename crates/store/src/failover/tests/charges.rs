//! What the store is charged for after an outage.

use super::*;
use crate::failover::tests::scripted::StoreCall;

#[tokio::test(start_paused = true)]
async fn admitted_tokens_are_charged_to_the_store_afterwards() {
    let fixture = Fixture::new(Behaviour::Responds);
    let limit = slow("daily", 100);
    for _ in 0..10 {
        fixture.decide(&take(&limit)).await;
    }
    fixture.inner.set(Behaviour::Unreachable);
    for _ in 0..20 {
        fixture.decide(&take(&limit)).await;
    }
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 70);
    assert_eq!(fixture.store.state().charged_tokens, 20);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_charged_before_it_decides_checks_again() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slow("daily", 10);
    for _ in 0..10 {
        assert!(fixture.decide(&take(&limit)).await.is_allowed());
    }
    fixture.inner.set(Behaviour::RespondsAfter(Duration::from_millis(10)));
    loop {
        let decision = fixture.decide(&take(&limit)).await;
        assert!(decision.is_denied(), "no further token is admitted, here or in the store");
        if decision.source() == sluice_core::Source::Store {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_is_half_open_while_the_store_is_charged() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    for _ in 0..4 {
        fixture.decide(&take(&limit("a"))).await;
    }
    fixture.inner.set(Behaviour::RespondsAfter(Duration::from_millis(20)));
    while fixture.inner.count_calls(&StoreCall::DecideAll(1)) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(fixture.store.state().breaker, BreakerState::HalfOpen);
    assert_eq!(fixture.decide(&take(&limit("a"))).await.source(), sluice_core::Source::Local);
    fixture.recover().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_does_not_open_the_breaker_is_charged_too() {
    let fixture = Fixture::new(Behaviour::Hangs);
    let limit = slow("daily", 10);
    assert!(fixture.decide(&take(&limit)).await.is_allowed());
    assert_eq!(fixture.store.state().breaker, BreakerState::Closed);
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_departs_charges_what_it_owes_first() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slow("daily", 10);
    for _ in 0..4 {
        assert!(fixture.decide(&take(&limit)).await.is_allowed());
    }
    let replica = crate::Replica::new("stopping", "1");
    let _ = fixture.store.depart(&replica).await;
    assert_eq!(fixture.store.state().owed_buckets, 1, "a charge that fails is kept");
    fixture.inner.set(Behaviour::Responds);
    fixture.store.depart(&replica).await.unwrap();
    assert_eq!(fixture.left(&limit).await, 6);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_the_store_decided_without_a_reply_counts_twice() {
    let fixture = Fixture::new(Behaviour::DecidesAndHangs);
    let limit = slow("daily", 10);
    assert!(fixture.decide(&check(Action::Take, &[(&limit, 3)])).await.is_allowed());
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 4);
}

#[tokio::test(start_paused = true)]
async fn many_buckets_are_charged_in_few_round_trips() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limits: Vec<_> = (0..600).map(|number| slow(&format!("limit-{number}"), 10)).collect();
    for limit in limits.iter().chain(&limits) {
        fixture.decide(&take(limit)).await;
    }
    assert_eq!(fixture.store.state().owed_buckets, 600);
    fixture.recover().await;
    for size in [256, 256, 88] {
        assert!(
            fixture.inner.count_calls(&StoreCall::DecideAll(size)) > 0,
            "{:?}",
            fixture.inner.calls()
        );
    }
    for limit in &limits {
        assert_eq!(fixture.left(limit).await, 8);
    }
}

#[tokio::test(start_paused = true)]
async fn no_charge_is_lost_when_the_store_fails_again_during_recovery() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limits: Vec<_> = (0..600).map(|number| slow(&format!("limit-{number}"), 10)).collect();
    for limit in &limits {
        fixture.decide(&take(limit)).await;
    }
    for charged in [100, 0, 300, 1] {
        let before = fixture.store.state().charged_tokens;
        fixture.inner.set(Behaviour::RespondsToChecks(charged));
        eventually_async("these checks are charged", async || {
            fixture.store.state().charged_tokens == before + charged as u64
        })
        .await;
        eventually_async("the breaker is open again", async || {
            fixture.store.state().breaker == BreakerState::Open
        })
        .await;
        // Admitted during the recovery.
        fixture.decide(&take(&limits[0])).await;
        fixture.decide(&take(&limits[599])).await;
    }
    assert_eq!(fixture.store.state().opened, 1, "this is one outage");
    fixture.recover().await;
    for limit in &limits[1..599] {
        assert_eq!(fixture.left(limit).await, 9, "{limit}");
    }
    assert_eq!((fixture.left(&limits[0]).await, fixture.left(&limits[599]).await), (5, 5));
    assert_eq!(fixture.store.state().charged_tokens, 608);
}

#[tokio::test(start_paused = true)]
async fn charges_that_hang_are_retried_only_after_a_probe() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slow("daily", 10);
    for _ in 0..3 {
        fixture.decide(&take(&limit)).await;
    }
    fixture.inner.set(Behaviour::Hangs);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fixture.inner.count_calls(&StoreCall::DecideAll(1)), 0);
    fixture.recover().await;
    assert_eq!(
        (fixture.inner.count_calls(&StoreCall::DecideAll(1)), fixture.left(&limit).await),
        (1, 7)
    );
}

#[tokio::test(start_paused = true)]
async fn tokens_that_the_refill_has_paid_for_are_not_charged() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = limit("default");
    // Ten at once and then one per second, which is what the limit admits, for ten minutes.
    for _ in 0..10 {
        assert!(fixture.decide(&take(&limit)).await.is_allowed());
    }
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(fixture.decide(&take(&limit)).await.is_allowed());
    }
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 0, "the bucket is empty");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(fixture.left(&limit).await > 0, "the debt does not last as long as the outage did");
}

#[tokio::test(start_paused = true)]
async fn charges_to_buckets_that_cannot_be_read_are_dropped_and_counted() {
    let fixture = Fixture::new(Behaviour::ReturnsGarbage);
    let limit = slow("daily", 10);
    for _ in 0..3 {
        fixture.decide(&check(Action::Take, &[(&limit, 2)])).await;
    }
    eventually_async("nothing is owed", async || fixture.store.state().owed_buckets == 0).await;
    let state = fixture.store.state();
    assert_eq!((state.dropped_tokens, state.charged_tokens), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_may_have_been_granted_is_neither_decided_here_nor_charged() {
    for behaviour in [Behaviour::DecidesAndHangs, Behaviour::Hangs, Behaviour::Unreachable] {
        let fixture = Fixture::new(behaviour);
        let limit = slow("daily", 100);
        for action in
            [Action::Lend { least: 8 }, Action::EndLease { term: Term::from_number(0), lent: 10 }]
        {
            let decided = fixture.store.decide(&check(action, &[(&limit, 10)])).await;
            assert!(decided.is_err(), "{behaviour:?} {action:?}");
        }
        assert_eq!(fixture.store.state().owed_buckets, 0, "{behaviour:?}");
    }
}
