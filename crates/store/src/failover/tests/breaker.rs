//! Timeouts, the breaker, and recovery.

use tokio::{task::JoinSet, time::Instant};

use super::*;
use crate::failover::recovery::RECOVERY_TIMEOUT;
use crate::{StoreErrorKind, failover::tests::scripted::StoreCall};

/// Returns how long `call` takes on the runtime's clock, whose timer counts whole milliseconds.
async fn duration_of(call: impl Future) -> Duration {
    let start = Instant::now();
    call.await;
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_decision_within_the_timeout_is_the_stores() {
    let fixture = Fixture::new(Behaviour::RespondsAfter(TIMEOUT - Duration::from_millis(1)));
    let decision = fixture.decide(&take(&limit("a"))).await;
    assert_eq!((decision.source(), decision.is_allowed()), (sluice_core::Source::Store, true));
    assert_eq!(decision.binding().unwrap().remaining, 9);
    assert!(fixture.store.state().last_failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_within_the_timeout_whatever_the_store_does() {
    let replica = crate::Replica::new("a", "1");
    for behaviour in [
        Behaviour::Hangs,
        Behaviour::DecidesAndHangs,
        Behaviour::RespondsAfter(Duration::from_secs(5)),
    ] {
        let fixture = Fixture::new(behaviour);
        let (one, many) = (take(&limit("a")), vec![take(&limit("a")), peek(&limit("b"))]);
        let longest = TIMEOUT + Duration::from_millis(1);
        assert!(duration_of(fixture.store.decide(&one)).await <= longest);
        assert!(duration_of(fixture.store.decide_all(&many)).await <= longest);
        assert!(
            duration_of(async {
                assert!(matches!(
                    fixture.store.probe().await,
                    Err(StoreError::Timeout { within: TIMEOUT })
                ));
            })
            .await
                <= longest
        );
        assert!(
            duration_of(async { assert!(fixture.store.announce(&replica).await.is_err()) }).await
                <= longest
        );
        assert!(
            duration_of(async { assert!(fixture.store.depart(&replica).await.is_err()) }).await
                <= RECOVERY_TIMEOUT + longest,
            "the failover charges what it owes first"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_at_most_three_timeouts() {
    let fixture = Fixture::new(Behaviour::Hangs);
    let mut waits = 0;
    for _ in 0..100 {
        let wait = duration_of(fixture.store.decide(&take(&limit("a")))).await;
        waits += u32::from(!wait.is_zero());
    }
    assert_eq!(waits, 3);
    let state = fixture.store.state();
    assert_eq!((state.opened, state.breaker), (1, BreakerState::Open));
    assert_eq!(
        (state.errors_of(StoreErrorKind::Timeout), state.errors_of(StoreErrorKind::BreakerOpen)),
        (3, 97)
    );
}

#[tokio::test(start_paused = true)]
async fn calls_that_fail_together_count_once_for_the_breaker() {
    let fixture = Arc::new(Fixture::new(Behaviour::Hangs));
    let check = take(&limit("a").with_on_store_failure(OnStoreFailure::Allow));
    let mut waiting = JoinSet::new();
    for _ in 0..500 {
        let (fixture, check) = (Arc::clone(&fixture), check.clone());
        waiting.spawn(async move { fixture.decide(&check).await });
    }
    waiting.join_all().await;
    assert_eq!(fixture.store.state().errors_of(StoreErrorKind::Timeout), 500);
    assert_eq!(fixture.store.state().breaker, BreakerState::Closed);
    fixture.inner.set(Behaviour::Responds);
    assert_eq!(fixture.decide(&check).await.source(), sluice_core::Source::Store);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_call() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let checks: Vec<_> = (0..100).map(|_| take(&limit("a"))).collect();
    fixture.store.decide_all(&checks).await;
    fixture.store.decide_all(&checks).await;
    assert_eq!(fixture.store.state().breaker, BreakerState::Closed);
    fixture.store.decide_all(&checks).await;
    assert_eq!(fixture.store.state().breaker, BreakerState::Open);
    assert_eq!(fixture.store.state().errors_of(StoreErrorKind::Unreachable), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_far_apart_do_not_add_up() {
    let fixture = Fixture::new(Behaviour::Responds);
    for _ in 0..10 {
        fixture.inner.set(Behaviour::Unreachable);
        fixture.decide(&take(&limit("a"))).await;
        fixture.inner.set(Behaviour::Responds);
        fixture.decide(&take(&limit("b"))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fixture.store.state().opened, 0);
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_before_the_timeout_still_open_the_breaker() {
    let fixture = Fixture::new(Behaviour::Hangs);
    let timeout = Duration::from_millis(20);
    for _ in 0..3 {
        assert!(
            tokio::time::timeout(timeout, fixture.store.decide(&take(&limit("a")))).await.is_err()
        );
    }
    assert_eq!(fixture.store.state().breaker, BreakerState::Open);
    fixture.recover().await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_at_once_do_not_count_as_failures() {
    let fixture = Fixture::new(Behaviour::RespondsAfter(Duration::from_millis(10)));
    for _ in 0..10 {
        assert!(
            tokio::time::timeout(
                Duration::from_millis(1),
                fixture.store.decide(&take(&limit("a")))
            )
            .await
            .is_err()
        );
    }
    let state = fixture.store.state();
    assert_eq!((state.breaker, state.last_failure.is_none()), (BreakerState::Closed, true));
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_a_shorter_deadline_gets_a_local_decision_in_time() {
    let fixture = Fixture::new(Behaviour::Hangs);
    for within in [Duration::from_millis(1), Duration::from_millis(17), TIMEOUT * 100] {
        let check = take(&limit("a"));
        let start = Instant::now();
        let decision = fixture.store.decide_within(&check, within).await.unwrap();
        assert_eq!(decision.source(), sluice_core::Source::Local);
        assert!(
            start.elapsed() <= within.min(TIMEOUT) + Duration::from_millis(1),
            "{within:?}: waited {:?}",
            start.elapsed()
        );
    }
    let state = fixture.store.state();
    assert_eq!((state.errors_of(StoreErrorKind::Timeout), state.unanswered), (3, 3));
    assert_eq!(state.breaker, BreakerState::Closed, "the first had less than half of the timeout");
}

#[tokio::test(start_paused = true)]
async fn a_reply_before_the_callers_deadline_is_the_stores() {
    let fixture = Fixture::new(Behaviour::RespondsAfter(Duration::from_millis(5)));
    let check = take(&limit("a"));
    let decision = fixture.store.decide_within(&check, Duration::from_millis(10)).await.unwrap();
    assert_eq!(decision.source(), sluice_core::Source::Store);
    assert_eq!(fixture.store.state().unanswered, 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_time_is_decided_at_once_and_does_not_ask_the_store() {
    let fixture = Fixture::new(Behaviour::Hangs);
    let check = take(&limit("a"));
    for _ in 0..10 {
        let decided = fixture.store.decide_within(&check, Duration::ZERO);
        assert!(matches!(decided, crate::StoreFuture::Ready(Some(Ok(_)))), "{decided:?}");
    }
    let state = fixture.store.state();
    assert_eq!(fixture.inner.count_calls(&StoreCall::Decide), 0);
    assert_eq!((state.unanswered, state.breaker), (10, BreakerState::Closed));
    let error = limit("b").with_on_store_failure(OnStoreFailure::Error);
    let left = fixture.store.decide_within(&take(&error), Duration::ZERO).await;
    assert!(matches!(left, Err(StoreError::LeftToCaller { .. })), "{left:?}");
    fixture.recover().await;
    assert_eq!(fixture.store.state().charged_tokens, 10, "the store learns what was admitted");
}

#[tokio::test(start_paused = true)]
async fn shorter_deadlines_open_the_breaker_only_beyond_half_of_the_timeout() {
    for (within, expected) in [(12, BreakerState::Closed), (13, BreakerState::Open)] {
        let fixture = Fixture::new(Behaviour::RespondsAfter(Duration::from_millis(20)));
        let check = peek(&limit("a"));
        for _ in 0..10 {
            fixture.store.decide_within(&check, Duration::from_millis(within)).await.unwrap();
        }
        let state = fixture.store.state();
        assert_eq!(state.breaker, expected, "{within} ms");
        let errors = [StoreErrorKind::Timeout, StoreErrorKind::BreakerOpen]
            .map(|kind| state.errors_of(kind));
        assert_eq!(errors.iter().sum::<u64>(), 10, "every local decision has a cause: {errors:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_drop_their_check_are_counted_however_short_they_waited() {
    let fixture = Fixture::new(Behaviour::RespondsAfter(Duration::from_millis(20)));
    for patience in [1, 5, 12, 13, 19] {
        let patience = Duration::from_millis(patience);
        let check = take(&limit("a"));
        assert!(tokio::time::timeout(patience, fixture.store.decide(&check)).await.is_err());
    }
    let state = fixture.store.state();
    assert_eq!((state.errors_of(StoreErrorKind::Timeout), state.unanswered), (5, 5));
    assert_eq!((state.breaker, state.opened), (BreakerState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn only_probes_reach_the_store_and_their_pauses_grow() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    fixture.open_breaker().await;
    let open = Instant::now();
    tokio::time::sleep(Duration::from_millis(5_000)).await;
    for _ in 0..100 {
        fixture.decide(&take(&limit("a"))).await;
    }
    let probes: Vec<_> = fixture
        .inner
        .calls()
        .into_iter()
        .filter(|(_, call)| *call == StoreCall::Probe)
        .map(|(at, _)| at)
        .collect();
    let pauses: Vec<_> = [open]
        .iter()
        .chain(&probes)
        .zip(&probes)
        .map(|(before, after)| after.duration_since(*before).as_millis() / 10 * 10)
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000, 1_000]);
    assert_eq!(fixture.inner.count_calls(&StoreCall::Decide), 3);
}

#[tokio::test(start_paused = true)]
async fn the_breaker_closes_when_the_store_recovers() {
    for behaviour in [Behaviour::Unreachable, Behaviour::Hangs, Behaviour::ReadOnly] {
        let fixture = Fixture::new(behaviour);
        for _ in 0..3 {
            fixture.decide(&take(&limit("a").with_on_store_failure(OnStoreFailure::Allow))).await;
        }
        assert_eq!(fixture.store.state().breaker, BreakerState::Open, "{behaviour:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(fixture.store.state().breaker, BreakerState::Open, "{behaviour:?}");
        fixture.recover().await;
        assert_eq!(
            fixture.decide(&take(&limit("a"))).await.source(),
            sluice_core::Source::Store,
            "{behaviour:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_responds_too_late_remains_unavailable() {
    let fixture = Fixture::new(Behaviour::RespondsAfter(TIMEOUT + Duration::from_millis(5)));
    fixture.open_breaker().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        (fixture.store.state().breaker, fixture.store.state().opened),
        (BreakerState::Open, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_probe_may_take_longer_than_the_timeout() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    fixture.open_breaker().await;
    fixture.inner.set(Behaviour::RespondsAfter(TIMEOUT * 10));
    while fixture.inner.count_calls(&StoreCall::Probe) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.recover().await;
    assert_eq!(fixture.inner.count_calls(&StoreCall::Probe), 2, "the first probe succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_read_only_is_unavailable_although_it_still_denies() {
    let fixture = Fixture::new(Behaviour::Responds);
    let spent = slow("spent", 1);
    fixture.decide(&take(&spent)).await;
    fixture.inner.set(Behaviour::ReadOnly);
    for _ in 0..3 {
        assert_eq!(fixture.decide(&take(&limit("a"))).await.source(), sluice_core::Source::Local);
        fixture.decide(&take(&spent)).await;
    }
    let state = fixture.store.state();
    assert_eq!(state.breaker, BreakerState::Open);
    assert_eq!(state.last_failure.unwrap().1.kind(), StoreErrorKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_cannot_be_read_does_not_open_the_breaker() {
    let fixture = Fixture::new(Behaviour::ReturnsGarbage);
    for _ in 0..10 {
        assert_eq!(fixture.decide(&take(&limit("a"))).await.source(), sluice_core::Source::Local);
    }
    let state = fixture.store.state();
    assert_eq!(
        (state.breaker, state.errors_of(StoreErrorKind::Unreadable)),
        (BreakerState::Closed, 10)
    );
}

#[tokio::test(start_paused = true)]
async fn the_state_reports_when_and_why_the_breaker_opened() {
    let fixture = Fixture::new(Behaviour::Responds);
    let start = fixture.store.state().since;
    tokio::time::sleep(Duration::from_secs(10)).await;
    fixture.inner.set(Behaviour::Unreachable);
    fixture.open_breaker().await;
    let state = fixture.store.state();
    assert_eq!(state.since.since(start), Duration::from_secs(10));
    let (at, error) = state.last_failure.unwrap();
    assert_eq!((at, error.kind()), (state.since, StoreErrorKind::Unreachable));
    fixture.recover().await;
    let state = fixture.store.state();
    assert!(state.since > at);
    assert_eq!(state.opened, 1);
}

#[tokio::test(start_paused = true)]
async fn announcements_update_the_number_of_live_replicas() {
    let fixture = Fixture::new(Behaviour::Responds);
    fixture.store.expect_replicas(9);
    assert_eq!(fixture.store.state().live_replicas, 1, "those that are expected are not counted");
    for (id, size) in [("a", 1), ("b", 2), ("c", 3)] {
        let replica = crate::Replica::new(id, "1");
        fixture.inner.set(if id == "b" {
            Behaviour::RespondsAfter(Duration::from_millis(1))
        } else {
            Behaviour::Responds
        });
        assert_eq!(fixture.store.announce(&replica).await.unwrap().size(), size);
        assert_eq!(fixture.store.state().live_replicas, size);
    }
}
