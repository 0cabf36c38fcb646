//! What each limit says while the store is away.

use sluice_core::{Retry, Source};

use super::*;

fn verdicts(decision: &Decision) -> Vec<(&str, bool, u64)> {
    decision
        .verdicts()
        .iter()
        .map(|verdict| (verdict.limit.name(), verdict.admitted, verdict.remaining))
        .collect()
}

async fn away() -> Stage {
    let stage = Stage::set(Mood::Unreachable);
    stage.open_breaker().await;
    stage
}

#[tokio::test(start_paused = true)]
async fn local_counts_on_this_replicas_share() {
    let stage = away().await;
    stage.store.set_live_replicas(3);
    let limit = limit("default");
    for remaining in [2, 1, 0] {
        let decision = stage.decide(&take(&limit)).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Local));
        assert_eq!(verdicts(&decision), [("default", true, remaining)]);
        assert_eq!(*decision.verdicts()[0].limit, limit, "it is the whole limit that is named");
    }
    let decision = stage.decide(&take(&limit)).await;
    assert!(decision.is_denied());
    assert_eq!(decision.retry(), Retry::After(Duration::from_secs(3)), "a third of one a second");
}

#[tokio::test(start_paused = true)]
async fn a_share_follows_the_fleet_in_the_middle_of_an_outage() {
    let stage = away().await;
    let limit = limit("default");
    assert_eq!(stage.decide(&peek(&limit)).await.binding().unwrap().remaining, 10);
    stage.store.set_live_replicas(2);
    assert_eq!(stage.decide(&peek(&limit)).await.binding().unwrap().remaining, 5);
}

#[tokio::test(start_paused = true)]
async fn too_much_for_a_share_is_not_never() {
    let stage = away().await;
    stage.store.set_live_replicas(5);
    let limit = limit("default");
    let dear = stage.decide(&check(Action::Take, &[(&limit, 5)])).await;
    assert_eq!((dear.is_denied(), dear.retry()), (true, Retry::After(Duration::from_secs(1))));
    let impossible = stage.decide(&check(Action::Take, &[(&limit, 11)])).await;
    assert_eq!((impossible.is_denied(), impossible.retry()), (true, Retry::Never));
}

#[tokio::test(start_paused = true)]
async fn allow_passes_whatever_it_costs() {
    let stage = away().await;
    let limit = limit("default").with_on_store_failure(OnStoreFailure::Allow);
    for _ in 0..50 {
        let decision = stage.decide(&check(Action::Take, &[(&limit, 3)])).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Local));
        assert_eq!(verdicts(&decision), [("default", true, 7)]);
    }
}

#[tokio::test(start_paused = true)]
async fn deny_denies_until_the_store_may_be_back() {
    let stage = away().await;
    let limit = limit("default").with_on_store_failure(OnStoreFailure::Deny);
    let decision = stage.decide(&take(&limit)).await;
    assert!(decision.is_denied());
    assert_eq!(verdicts(&decision), [("default", false, 0)]);
    assert_eq!(decision.retry(), Retry::After(Duration::from_secs(1)));
    assert_eq!(decision.binding().unwrap().reset_in, Duration::from_secs(10));
    assert_eq!(stage.decide(&check(Action::Take, &[(&limit, 11)])).await.retry(), Retry::Never);
}

#[tokio::test(start_paused = true)]
async fn error_leaves_the_answer_to_the_caller() {
    let stage = Stage::set(Mood::Stalls);
    let limit = limit("default").with_on_store_failure(OnStoreFailure::Error);
    for cause in ["the store did not respond within 25ms"; 3]
        .into_iter()
        .chain(["the store is unavailable: the circuit breaker is open"])
    {
        let error = stage.store.decide(&take(&limit)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the store is unavailable, and limit `default` has `on_store_failure: error`"
        );
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), cause);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_mixed_check_an_error_part_takes_the_whole() {
    let stage = away().await;
    let (local, deny) =
        (slow("local", 10), slow("deny", 10).with_on_store_failure(OnStoreFailure::Deny));
    let error = slow("error", 10).with_on_store_failure(OnStoreFailure::Error);
    let answer =
        stage.store.decide(&check(Action::Take, &[(&local, 1), (&deny, 1), (&error, 1)])).await;
    assert!(matches!(answer, Err(StoreError::LeftToCaller { limit, .. }) if limit == "error"));
    assert_eq!(stage.decide(&peek(&local)).await.binding().unwrap().remaining, 10);
    stage.recover().await;
    assert_eq!(stage.store.state().charged_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn a_mixed_check_that_one_part_denies_takes_nothing() {
    let stage = away().await;
    let (local, allow) =
        (slow("local", 10), slow("allow", 10).with_on_store_failure(OnStoreFailure::Allow));
    let (deny, spent) =
        (slow("deny", 10).with_on_store_failure(OnStoreFailure::Deny), slow("spent", 1));
    stage.decide(&take(&spent)).await;

    let decision =
        stage.decide(&check(Action::Take, &[(&allow, 2), (&local, 3), (&deny, 1)])).await;
    assert!(decision.is_denied());
    assert_eq!(verdicts(&decision), [("allow", true, 10), ("local", true, 10), ("deny", false, 0)]);
    let decision =
        stage.decide(&check(Action::Take, &[(&allow, 2), (&spent, 1), (&local, 3)])).await;
    assert!(decision.is_denied());
    assert_eq!(
        verdicts(&decision),
        [("allow", true, 10), ("spent", false, 0), ("local", true, 10)]
    );
    assert_eq!(decision.binding().unwrap().limit.name(), "spent");

    stage.recover().await;
    assert_eq!(
        (stage.left(&allow).await, stage.left(&local).await, stage.left(&spent).await),
        (10, 10, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_mixed_check_that_passes_is_charged_in_every_part() {
    let stage = away().await;
    let (local, allow) =
        (slow("local", 10), slow("allow", 10).with_on_store_failure(OnStoreFailure::Allow));
    let decision = stage.decide(&check(Action::Take, &[(&allow, 2), (&local, 3)])).await;
    assert_eq!(verdicts(&decision), [("allow", true, 8), ("local", true, 7)]);
    stage.recover().await;
    assert_eq!((stage.left(&allow).await, stage.left(&local).await), (8, 7));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_never_denies_and_never_makes_an_error() {
    let stage = away().await;
    let shadow = |name, rule| slow(name, 1).with_mode(Mode::Shadow).with_on_store_failure(rule);
    let (local, deny) =
        (shadow("local", OnStoreFailure::Local), shadow("deny", OnStoreFailure::Deny));
    let (error, enforced) = (shadow("error", OnStoreFailure::Error), slow("enforced", 10));
    let mixed = check(Action::Take, &[(&local, 1), (&deny, 1), (&error, 1), (&enforced, 1)]);
    let first = stage.decide(&mixed).await;
    assert_eq!((first.is_allowed(), first.binding().unwrap().limit.name()), (true, "enforced"));
    assert_eq!(
        verdicts(&first),
        [("local", true, 0), ("deny", false, 0), ("error", true, 0), ("enforced", true, 9)]
    );
    let second = stage.decide(&mixed).await;
    assert!(second.is_allowed());
    assert_eq!(
        verdicts(&second),
        [("local", false, 0), ("deny", false, 0), ("error", true, 0), ("enforced", true, 8)]
    );
    stage.recover().await;
    assert_eq!(
        stage.store.state().charged_tokens,
        1 + 2 + 2,
        "what a shadow did not admit is not charged to it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_without_limits_passes() {
    let decision = away().await.decide(&Check::new(Action::Take)).await;
    assert_eq!((decision.is_allowed(), decision.verdicts().len()), (true, 0));
}

#[tokio::test(start_paused = true)]
async fn peeks_are_answered_and_take_nothing() {
    let stage = away().await;
    let (local, allow) =
        (slow("local", 10), slow("allow", 10).with_on_store_failure(OnStoreFailure::Allow));
    for _ in 0..20 {
        let decision = stage.decide(&check(Action::Peek, &[(&local, 3), (&allow, 3)])).await;
        assert_eq!(
            (decision.is_allowed(), verdicts(&decision)),
            (true, vec![("local", true, 10), ("allow", true, 10)])
        );
    }
    assert!(stage.decide(&check(Action::Peek, &[(&local, 11)])).await.is_denied());
    assert_eq!(stage.store.state().owed_buckets, 0);
}

#[tokio::test(start_paused = true)]
async fn charges_are_accepted_whatever_the_limit_says_and_count_locally_too() {
    let stage = away().await;
    let (local, error) =
        (slow("local", 10), slow("error", 10).with_on_store_failure(OnStoreFailure::Error));
    let decision = stage.decide(&check(Action::Charge, &[(&local, 12), (&error, 4)])).await;
    assert_eq!(
        (decision.is_allowed(), verdicts(&decision)),
        (true, vec![("local", true, 0), ("error", true, 6)])
    );
    assert!(stage.decide(&take(&local)).await.is_denied());
    stage.recover().await;
    assert_eq!((stage.left(&local).await, stage.left(&error).await), (0, 6));
}

#[tokio::test(start_paused = true)]
async fn nothing_can_be_given_back_or_reset() {
    let stage = away().await;
    for action in [Action::GiveBack, Action::Reset] {
        let answer = stage.store.decide(&check(action, &[(&limit("a"), 1)])).await;
        assert!(matches!(answer, Err(StoreError::BreakerOpen)), "{action:?}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_each_check_is_answered_by_itself_and_in_order() {
    let stage = Stage::set(Mood::Stalls);
    let local = slow("local", 2);
    let deny = slow("deny", 2).with_on_store_failure(OnStoreFailure::Deny);
    let error = slow("error", 2).with_on_store_failure(OnStoreFailure::Error);
    let checks = [take(&local), take(&deny), take(&local), take(&error), take(&local)];
    for _ in 0..2 {
        let answers = stage.store.decide_all(&checks).await;
        let allowed: Vec<_> =
            answers.iter().map(|answer| answer.as_ref().ok().map(Decision::is_allowed)).collect();
        let first = Some(stage.store.state().errors_of(crate::StoreErrorKind::Timeout) == 1);
        assert_eq!(allowed, [first, Some(false), first, None, Some(false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_that_failed_in_part_the_rest_stays_the_stores() {
    let stage = Stage::set(Mood::AnswersChecks(1));
    let limit = slow("local", 10);
    let answers = stage.store.decide_all(&[take(&limit), take(&limit)]).await;
    let sources: Vec<_> = answers.iter().map(|answer| answer.as_ref().unwrap().source()).collect();
    assert_eq!(sources, [Source::Store, Source::Local]);
}
