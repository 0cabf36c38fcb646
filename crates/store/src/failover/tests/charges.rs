//! What the store is told afterwards.

use super::*;
use crate::failover::tests::scripted::Asked;

#[tokio::test(start_paused = true)]
async fn the_real_bucket_shows_afterwards_what_was_admitted() {
    let stage = Stage::set(Mood::Answers);
    let limit = slow("daily", 100);
    for _ in 0..10 {
        stage.decide(&take(&limit)).await;
    }
    stage.inner.turn(Mood::Unreachable);
    for _ in 0..20 {
        stage.decide(&take(&limit)).await;
    }
    stage.recover().await;
    assert_eq!(stage.left(&limit).await, 70);
    assert_eq!(stage.store.state().charged_tokens, 20);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_told_before_checks_go_there_again() {
    let stage = Stage::set(Mood::Unreachable);
    let limit = slow("daily", 10);
    for _ in 0..10 {
        assert!(stage.decide(&take(&limit)).await.is_allowed());
    }
    stage.inner.turn(Mood::AnswersAfter(Duration::from_millis(10)));
    loop {
        let decision = stage.decide(&take(&limit)).await;
        assert!(decision.is_denied(), "not one more, neither here nor there");
        if decision.source() == sluice_core::Source::Store {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_told_the_breaker_is_half_open() {
    let stage = Stage::set(Mood::Unreachable);
    for _ in 0..4 {
        stage.decide(&take(&limit("a"))).await;
    }
    stage.inner.turn(Mood::AnswersAfter(Duration::from_millis(20)));
    while stage.inner.times_asked(&Asked::DecideAll(1)) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(stage.store.state().breaker, BreakerState::HalfOpen);
    assert_eq!(stage.decide(&take(&limit("a"))).await.source(), sluice_core::Source::Local);
    stage.recover().await;
}

#[tokio::test(start_paused = true)]
async fn a_hiccup_that_opens_nothing_is_charged_too() {
    let stage = Stage::set(Mood::Stalls);
    let limit = slow("daily", 10);
    assert!(stage.decide(&take(&limit)).await.is_allowed());
    assert_eq!(stage.store.state().breaker, BreakerState::Closed);
    stage.recover().await;
    assert_eq!(stage.left(&limit).await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_stops_charges_first_what_nobody_else_knows_of() {
    let stage = Stage::set(Mood::Unreachable);
    let limit = slow("daily", 10);
    for _ in 0..4 {
        assert!(stage.decide(&take(&limit)).await.is_allowed());
    }
    let replica = crate::Replica::new("stopping", "1");
    let _ = stage.store.depart(&replica).await;
    assert_eq!(stage.store.state().owed_buckets, 1, "what cannot be charged is kept");
    stage.inner.turn(Mood::Answers);
    stage.store.depart(&replica).await.unwrap();
    assert_eq!(stage.left(&limit).await, 6);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_took_without_saying_so_counts_twice_and_never_not_at_all() {
    let stage = Stage::set(Mood::ActsAndStalls);
    let limit = slow("daily", 10);
    assert!(stage.decide(&check(Action::Take, &[(&limit, 3)])).await.is_allowed());
    stage.recover().await;
    assert_eq!(stage.left(&limit).await, 4);
}

#[tokio::test(start_paused = true)]
async fn many_buckets_are_charged_in_few_round_trips_and_in_order() {
    let stage = Stage::set(Mood::Unreachable);
    let limits: Vec<_> = (0..600).map(|number| slow(&format!("limit-{number}"), 10)).collect();
    for limit in limits.iter().chain(&limits) {
        stage.decide(&take(limit)).await;
    }
    assert_eq!(stage.store.state().owed_buckets, 600);
    stage.recover().await;
    for size in [256, 256, 88] {
        assert!(stage.inner.times_asked(&Asked::DecideAll(size)) > 0, "{:?}", stage.inner.asked());
    }
    for limit in &limits {
        assert_eq!(stage.left(limit).await, 8);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_when_the_store_fails_again_in_the_middle() {
    let stage = Stage::set(Mood::Unreachable);
    let limits: Vec<_> = (0..600).map(|number| slow(&format!("limit-{number}"), 10)).collect();
    for limit in &limits {
        stage.decide(&take(limit)).await;
    }
    for charged in [100, 0, 300, 1] {
        let before = stage.store.state().charged_tokens;
        stage.inner.turn(Mood::AnswersChecks(charged));
        eventually_async("so many are charged", async || {
            stage.store.state().charged_tokens == before + charged as u64
        })
        .await;
        eventually_async("it is away again", async || {
            stage.store.state().breaker == BreakerState::Open
        })
        .await;
        // Admitted in the middle of it all.
        stage.decide(&take(&limits[0])).await;
        stage.decide(&take(&limits[599])).await;
    }
    assert_eq!(stage.store.state().opened, 1, "it is one outage");
    stage.recover().await;
    for limit in &limits[1..599] {
        assert_eq!(stage.left(limit).await, 9, "{limit}");
    }
    assert_eq!((stage.left(&limits[0]).await, stage.left(&limits[599]).await), (5, 5));
    assert_eq!(stage.store.state().charged_tokens, 608);
}

#[tokio::test(start_paused = true)]
async fn charges_that_hang_are_tried_again_only_after_a_probe() {
    let stage = Stage::set(Mood::Unreachable);
    let limit = slow("daily", 10);
    for _ in 0..3 {
        stage.decide(&take(&limit)).await;
    }
    stage.inner.turn(Mood::Stalls);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stage.inner.times_asked(&Asked::DecideAll(1)), 0);
    stage.recover().await;
    assert_eq!((stage.inner.times_asked(&Asked::DecideAll(1)), stage.left(&limit).await), (1, 7));
}

#[tokio::test(start_paused = true)]
async fn what_the_refill_has_paid_for_is_not_charged_again() {
    let stage = Stage::set(Mood::Unreachable);
    let limit = limit("default");
    // Ten at once and then one a second: what the limit admits, for ten minutes.
    for _ in 0..10 {
        assert!(stage.decide(&take(&limit)).await.is_allowed());
    }
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(stage.decide(&take(&limit)).await.is_allowed());
    }
    stage.recover().await;
    assert_eq!(stage.left(&limit).await, 0, "the bucket is empty");
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(stage.left(&limit).await > 0, "and it is not in debt for as long as the outage was");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_cannot_read_is_given_up_and_counted() {
    let stage = Stage::set(Mood::Gibberish);
    let limit = slow("daily", 10);
    for _ in 0..3 {
        stage.decide(&check(Action::Take, &[(&limit, 2)])).await;
    }
    eventually_async("nothing is owed", async || stage.store.state().owed_buckets == 0).await;
    let state = stage.store.state();
    assert_eq!((state.dropped_tokens, state.charged_tokens), (6, 0));
}
