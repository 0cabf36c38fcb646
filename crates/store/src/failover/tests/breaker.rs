//! Deadlines, the breaker, and recovery.

use tokio::{task::JoinSet, time::Instant};

use super::*;
use crate::failover::recovery::RECOVERY_TIMEOUT;
use crate::{StoreErrorKind, failover::tests::scripted::Asked};

/// How long `ask` takes, on the runtime's clock; its timer counts in whole milliseconds.
async fn took(ask: impl Future) -> Duration {
    let start = Instant::now();
    ask.await;
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn what_the_store_answers_in_time_is_passed_on() {
    let stage = Stage::set(Mood::AnswersAfter(TIMEOUT - Duration::from_millis(1)));
    let decision = stage.decide(&take(&limit("a"))).await;
    assert_eq!((decision.source(), decision.is_allowed()), (sluice_core::Source::Store, true));
    assert_eq!(decision.binding().unwrap().remaining, 9);
    assert!(stage.store.state().last_failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_within_the_timeout_whatever_the_store_does() {
    let replica = crate::Replica::new("a", "1");
    for mood in [Mood::Stalls, Mood::ActsAndStalls, Mood::AnswersAfter(Duration::from_secs(5))] {
        let stage = Stage::set(mood);
        let (one, many) = (take(&limit("a")), vec![take(&limit("a")), peek(&limit("b"))]);
        let longest = TIMEOUT + Duration::from_millis(1);
        assert!(took(stage.store.decide(&one)).await <= longest);
        assert!(took(stage.store.decide_all(&many)).await <= longest);
        assert!(
            took(async {
                assert!(matches!(
                    stage.store.probe().await,
                    Err(StoreError::Timeout { within: TIMEOUT })
                ));
            })
            .await
                <= longest
        );
        assert!(
            took(async { assert!(stage.store.announce(&replica).await.is_err()) }).await <= longest
        );
        assert!(
            took(async { assert!(stage.store.depart(&replica).await.is_err()) }).await
                <= RECOVERY_TIMEOUT + longest,
            "it owes something"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_pays_for_three_timeouts_and_for_no_more() {
    let stage = Stage::set(Mood::Stalls);
    let mut waits = 0;
    for _ in 0..100 {
        let wait = took(stage.store.decide(&take(&limit("a")))).await;
        waits += u32::from(!wait.is_zero());
    }
    assert_eq!(waits, 3);
    let state = stage.store.state();
    assert_eq!((state.opened, state.breaker), (1, BreakerState::Open));
    assert_eq!(
        (state.errors_of(StoreErrorKind::Timeout), state.errors_of(StoreErrorKind::BreakerOpen)),
        (3, 97)
    );
}

#[tokio::test(start_paused = true)]
async fn one_slow_call_is_one_failure_however_many_checks_waited_in_it() {
    let stage = Arc::new(Stage::set(Mood::Stalls));
    let check = take(&limit("a").with_on_store_failure(OnStoreFailure::Allow));
    let mut waiting = JoinSet::new();
    for _ in 0..500 {
        let (stage, check) = (Arc::clone(&stage), check.clone());
        waiting.spawn(async move { stage.decide(&check).await });
    }
    waiting.join_all().await;
    assert_eq!(stage.store.state().errors_of(StoreErrorKind::Timeout), 500);
    assert_eq!(stage.store.state().breaker, BreakerState::Closed);
    stage.inner.turn(Mood::Answers);
    assert_eq!(stage.decide(&check).await.source(), sluice_core::Source::Store);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_call() {
    let stage = Stage::set(Mood::Unreachable);
    let checks: Vec<_> = (0..100).map(|_| take(&limit("a"))).collect();
    stage.store.decide_all(&checks).await;
    stage.store.decide_all(&checks).await;
    assert_eq!(stage.store.state().breaker, BreakerState::Closed);
    stage.store.decide_all(&checks).await;
    assert_eq!(stage.store.state().breaker, BreakerState::Open);
    assert_eq!(stage.store.state().errors_of(StoreErrorKind::Unreachable), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_far_apart_do_not_add_up() {
    let stage = Stage::set(Mood::Answers);
    for _ in 0..10 {
        stage.inner.turn(Mood::Unreachable);
        stage.decide(&take(&limit("a"))).await;
        stage.inner.turn(Mood::Answers);
        stage.decide(&take(&limit("b"))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(stage.store.state().opened, 0);
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_before_the_timeout_still_find_a_hang_out() {
    let stage = Stage::set(Mood::Stalls);
    let timeout = Duration::from_millis(20);
    for _ in 0..3 {
        assert!(
            tokio::time::timeout(timeout, stage.store.decide(&take(&limit("a")))).await.is_err()
        );
    }
    assert_eq!(stage.store.state().breaker, BreakerState::Open);
    stage.recover().await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_at_once_say_nothing_about_the_store() {
    let stage = Stage::set(Mood::AnswersAfter(Duration::from_millis(10)));
    for _ in 0..10 {
        assert!(
            tokio::time::timeout(Duration::from_millis(1), stage.store.decide(&take(&limit("a"))))
                .await
                .is_err()
        );
    }
    let state = stage.store.state();
    assert_eq!((state.breaker, state.last_failure.is_none()), (BreakerState::Closed, true));
}

#[tokio::test(start_paused = true)]
async fn probes_come_less_and_less_often_and_nobody_else_asks() {
    let stage = Stage::set(Mood::Unreachable);
    stage.open_breaker().await;
    let open = Instant::now();
    tokio::time::sleep(Duration::from_millis(5_000)).await;
    for _ in 0..100 {
        stage.decide(&take(&limit("a"))).await;
    }
    let probes: Vec<_> = stage
        .inner
        .asked()
        .into_iter()
        .filter(|(_, what)| *what == Asked::Probe)
        .map(|(at, _)| at)
        .collect();
    let pauses: Vec<_> = [open]
        .iter()
        .chain(&probes)
        .zip(&probes)
        .map(|(before, after)| after.duration_since(*before).as_millis() / 10 * 10)
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000, 1_000]);
    assert_eq!(stage.inner.times_asked(&Asked::Decide), 3);
}

#[tokio::test(start_paused = true)]
async fn it_closes_by_itself_when_the_store_is_back() {
    for mood in [Mood::Unreachable, Mood::Stalls, Mood::ReadOnly] {
        let stage = Stage::set(mood);
        for _ in 0..3 {
            stage.decide(&take(&limit("a").with_on_store_failure(OnStoreFailure::Allow))).await;
        }
        assert_eq!(stage.store.state().breaker, BreakerState::Open, "{mood:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(stage.store.state().breaker, BreakerState::Open, "{mood:?}");
        stage.recover().await;
        assert_eq!(
            stage.decide(&take(&limit("a"))).await.source(),
            sluice_core::Source::Store,
            "{mood:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_too_late_stays_away() {
    let stage = Stage::set(Mood::AnswersAfter(TIMEOUT + Duration::from_millis(5)));
    stage.open_breaker().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((stage.store.state().breaker, stage.store.state().opened), (BreakerState::Open, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_back_may_take_its_time_to_connect() {
    let stage = Stage::set(Mood::Unreachable);
    stage.open_breaker().await;
    stage.inner.turn(Mood::AnswersAfter(TIMEOUT * 10));
    while stage.inner.times_asked(&Asked::Probe) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stage.recover().await;
    assert_eq!(stage.inner.times_asked(&Asked::Probe), 2, "it was not probed anew");
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_turned_read_only_is_away_though_it_still_denies() {
    let stage = Stage::set(Mood::Answers);
    let spent = slow("spent", 1);
    stage.decide(&take(&spent)).await;
    stage.inner.turn(Mood::ReadOnly);
    for _ in 0..3 {
        assert_eq!(stage.decide(&take(&limit("a"))).await.source(), sluice_core::Source::Local);
        stage.decide(&take(&spent)).await;
    }
    let state = stage.store.state();
    assert_eq!(state.breaker, BreakerState::Open);
    assert_eq!(state.last_failure.unwrap().1.kind(), StoreErrorKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_cannot_be_read_says_nothing_about_the_store() {
    let stage = Stage::set(Mood::Gibberish);
    for _ in 0..10 {
        assert_eq!(stage.decide(&take(&limit("a"))).await.source(), sluice_core::Source::Local);
    }
    let state = stage.store.state();
    assert_eq!(
        (state.breaker, state.errors_of(StoreErrorKind::Unreadable)),
        (BreakerState::Closed, 10)
    );
}

#[tokio::test(start_paused = true)]
async fn it_tells_since_when_and_why() {
    let stage = Stage::set(Mood::Answers);
    let start = stage.store.state().since;
    tokio::time::sleep(Duration::from_secs(10)).await;
    stage.inner.turn(Mood::Unreachable);
    stage.open_breaker().await;
    let state = stage.store.state();
    assert_eq!(state.since.since(start), Duration::from_secs(10));
    let (at, error) = state.last_failure.unwrap();
    assert_eq!((at, error.kind()), (state.since, StoreErrorKind::Unreachable));
    stage.recover().await;
    let state = stage.store.state();
    assert!(state.since > at);
    assert_eq!(state.opened, 1);
}

#[tokio::test(start_paused = true)]
async fn announcements_tell_among_how_many_a_limit_is_shared() {
    let stage = Stage::set(Mood::Answers);
    assert_eq!(stage.store.state().live_replicas, 1);
    for (id, size) in [("a", 1), ("b", 2), ("c", 3)] {
        let replica = crate::Replica::new(id, "1");
        stage.inner.turn(if id == "b" {
            Mood::AnswersAfter(Duration::from_millis(1))
        } else {
            Mood::Answers
        });
        assert_eq!(stage.store.announce(&replica).await.unwrap().size(), size);
        assert_eq!(stage.store.state().live_replicas, size);
    }
}
