//! What each `OnStoreFailure` does while the store is unavailable.

use sluice_core::{Retry, Source};

use super::*;

fn verdicts(decision: &Decision) -> Vec<(&str, bool, u64)> {
    decision
        .verdicts()
        .iter()
        .map(|verdict| (verdict.limit.name(), verdict.admitted, verdict.remaining))
        .collect()
}

async fn unavailable() -> Fixture {
    let fixture = Fixture::new(Behaviour::Unreachable);
    fixture.open_breaker().await;
    fixture
}

#[tokio::test(start_paused = true)]
async fn local_decides_on_this_replicas_share() {
    let fixture = unavailable().await;
    fixture.store.set_live_replicas(3);
    let limit = limit("default");
    for remaining in [2, 1, 0] {
        let decision = fixture.decide(&take(&limit)).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Local));
        assert_eq!(verdicts(&decision), [("default", true, remaining)]);
        assert_eq!(*decision.verdicts()[0].limit, limit, "the verdict names the whole limit");
    }
    let decision = fixture.decide(&take(&limit)).await;
    assert!(decision.is_denied());
    assert_eq!(
        decision.retry(),
        Retry::After(Duration::from_secs(3)),
        "the share is a third of a token per second"
    );
}

#[tokio::test(start_paused = true)]
async fn a_share_follows_the_fleet_size_during_an_outage() {
    let fixture = unavailable().await;
    let limit = limit("default");
    assert_eq!(fixture.decide(&peek(&limit)).await.binding().unwrap().remaining, 10);
    fixture.store.set_live_replicas(2);
    assert_eq!(fixture.decide(&peek(&limit)).await.binding().unwrap().remaining, 5);
}

#[tokio::test(start_paused = true)]
async fn a_cost_above_the_share_may_be_retried() {
    let fixture = unavailable().await;
    fixture.store.set_live_replicas(5);
    let limit = limit("default");
    let expensive = fixture.decide(&check(Action::Take, &[(&limit, 5)])).await;
    assert_eq!(
        (expensive.is_denied(), expensive.retry()),
        (true, Retry::After(Duration::from_secs(1)))
    );
    let impossible = fixture.decide(&check(Action::Take, &[(&limit, 11)])).await;
    assert_eq!((impossible.is_denied(), impossible.retry()), (true, Retry::Never));
}

#[tokio::test(start_paused = true)]
async fn allow_admits_every_cost() {
    let fixture = unavailable().await;
    let limit = limit("default").with_on_store_failure(OnStoreFailure::Allow);
    for _ in 0..50 {
        let decision = fixture.decide(&check(Action::Take, &[(&limit, 3)])).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Local));
        assert_eq!(verdicts(&decision), [("default", true, 7)]);
    }
}

#[tokio::test(start_paused = true)]
async fn deny_denies_every_cost() {
    let fixture = unavailable().await;
    let limit = limit("default").with_on_store_failure(OnStoreFailure::Deny);
    let decision = fixture.decide(&take(&limit)).await;
    assert!(decision.is_denied());
    assert_eq!(verdicts(&decision), [("default", false, 0)]);
    assert_eq!(decision.retry(), Retry::After(Duration::from_secs(1)));
    assert_eq!(decision.binding().unwrap().reset_in, Some(Duration::from_secs(10)));
    assert_eq!(fixture.decide(&check(Action::Take, &[(&limit, 11)])).await.retry(), Retry::Never);
}

#[tokio::test(start_paused = true)]
async fn error_leaves_the_decision_to_the_caller() {
    let fixture = Fixture::new(Behaviour::Hangs);
    let limit = limit("default").with_on_store_failure(OnStoreFailure::Error);
    for cause in ["the store did not respond within 25ms"; 3]
        .into_iter()
        .chain(["the store is unavailable: the circuit breaker is open"])
    {
        let error = fixture.store.decide(&take(&limit)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the store is unavailable, and limit `default` has `on_store_failure: error`"
        );
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), cause);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_part_fails_the_whole_check() {
    let fixture = unavailable().await;
    let (local, deny) =
        (slow("local", 10), slow("deny", 10).with_on_store_failure(OnStoreFailure::Deny));
    let error = slow("error", 10).with_on_store_failure(OnStoreFailure::Error);
    let result =
        fixture.store.decide(&check(Action::Take, &[(&local, 1), (&deny, 1), (&error, 1)])).await;
    assert!(matches!(result, Err(StoreError::LeftToCaller { limit, .. }) if limit == "error"));
    assert_eq!(fixture.decide(&peek(&local)).await.binding().unwrap().remaining, 10);
    fixture.recover().await;
    assert_eq!(fixture.store.state().charged_tokens, 0);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_one_part_denies_takes_nothing() {
    let fixture = unavailable().await;
    let (local, allow) =
        (slow("local", 10), slow("allow", 10).with_on_store_failure(OnStoreFailure::Allow));
    let (deny, spent) =
        (slow("deny", 10).with_on_store_failure(OnStoreFailure::Deny), slow("spent", 1));
    fixture.decide(&take(&spent)).await;

    let decision =
        fixture.decide(&check(Action::Take, &[(&allow, 2), (&local, 3), (&deny, 1)])).await;
    assert!(decision.is_denied());
    assert_eq!(verdicts(&decision), [("allow", true, 10), ("local", true, 10), ("deny", false, 0)]);
    let decision =
        fixture.decide(&check(Action::Take, &[(&allow, 2), (&spent, 1), (&local, 3)])).await;
    assert!(decision.is_denied());
    assert_eq!(
        verdicts(&decision),
        [("allow", true, 10), ("spent", false, 0), ("local", true, 10)]
    );
    assert_eq!(decision.binding().unwrap().limit.name(), "spent");

    fixture.recover().await;
    assert_eq!(
        (fixture.left(&allow).await, fixture.left(&local).await, fixture.left(&spent).await),
        (10, 10, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_allowed_check_is_charged_in_every_part() {
    let fixture = unavailable().await;
    let (local, allow) =
        (slow("local", 10), slow("allow", 10).with_on_store_failure(OnStoreFailure::Allow));
    let decision = fixture.decide(&check(Action::Take, &[(&allow, 2), (&local, 3)])).await;
    assert_eq!(verdicts(&decision), [("allow", true, 8), ("local", true, 7)]);
    fixture.recover().await;
    assert_eq!((fixture.left(&allow).await, fixture.left(&local).await), (8, 7));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_limit_neither_denies_nor_fails_the_check() {
    let fixture = unavailable().await;
    let shadow = |name, rule| slow(name, 1).with_mode(Mode::Shadow).with_on_store_failure(rule);
    let (local, deny) =
        (shadow("local", OnStoreFailure::Local), shadow("deny", OnStoreFailure::Deny));
    let (error, enforced) = (shadow("error", OnStoreFailure::Error), slow("enforced", 10));
    let mixed = check(Action::Take, &[(&local, 1), (&deny, 1), (&error, 1), (&enforced, 1)]);
    let first = fixture.decide(&mixed).await;
    assert_eq!((first.is_allowed(), first.binding().unwrap().limit.name()), (true, "enforced"));
    assert_eq!(
        verdicts(&first),
        [("local", true, 0), ("deny", false, 0), ("error", true, 0), ("enforced", true, 9)]
    );
    let second = fixture.decide(&mixed).await;
    assert!(second.is_allowed());
    assert_eq!(
        verdicts(&second),
        [("local", false, 0), ("deny", false, 0), ("error", true, 0), ("enforced", true, 8)]
    );
    fixture.recover().await;
    assert_eq!(
        fixture.store.state().charged_tokens,
        1 + 2 + 2,
        "a shadow limit is not charged for what it did not admit"
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_without_parts_is_allowed() {
    let decision = unavailable().await.decide(&Check::new(Action::Take)).await;
    assert_eq!((decision.is_allowed(), decision.verdicts().len()), (true, 0));
}

#[tokio::test(start_paused = true)]
async fn peeks_are_decided_and_take_nothing() {
    let fixture = unavailable().await;
    let (local, allow) =
        (slow("local", 10), slow("allow", 10).with_on_store_failure(OnStoreFailure::Allow));
    for _ in 0..20 {
        let decision = fixture.decide(&check(Action::Peek, &[(&local, 3), (&allow, 3)])).await;
        assert_eq!(
            (decision.is_allowed(), verdicts(&decision)),
            (true, vec![("local", true, 10), ("allow", true, 10)])
        );
    }
    assert!(fixture.decide(&check(Action::Peek, &[(&local, 11)])).await.is_denied());
    assert_eq!(fixture.store.state().owed_buckets, 0);
}

#[tokio::test(start_paused = true)]
async fn charges_are_accepted_for_every_limit_and_counted_locally_too() {
    let fixture = unavailable().await;
    let (local, error) =
        (slow("local", 10), slow("error", 10).with_on_store_failure(OnStoreFailure::Error));
    let decision = fixture.decide(&check(Action::Charge, &[(&local, 12), (&error, 4)])).await;
    assert_eq!(
        (decision.is_allowed(), verdicts(&decision)),
        (true, vec![("local", true, 0), ("error", true, 6)])
    );
    assert!(fixture.decide(&take(&local)).await.is_denied());
    fixture.recover().await;
    assert_eq!((fixture.left(&local).await, fixture.left(&error).await), (0, 6));
}

#[tokio::test(start_paused = true)]
async fn giving_back_and_resetting_fail() {
    let fixture = unavailable().await;
    for action in [Action::GiveBack, Action::Reset] {
        let result = fixture.store.decide(&check(action, &[(&limit("a"), 1)])).await;
        assert!(matches!(result, Err(StoreError::BreakerOpen)), "{action:?}: {result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_check_of_a_batch_falls_back_independently() {
    let fixture = Fixture::new(Behaviour::Hangs);
    let local = slow("local", 2);
    let deny = slow("deny", 2).with_on_store_failure(OnStoreFailure::Deny);
    let error = slow("error", 2).with_on_store_failure(OnStoreFailure::Error);
    let checks = [take(&local), take(&deny), take(&local), take(&error), take(&local)];
    for _ in 0..2 {
        let results = fixture.store.decide_all(&checks).await;
        let allowed: Vec<_> =
            results.iter().map(|result| result.as_ref().ok().map(Decision::is_allowed)).collect();
        let first = Some(fixture.store.state().errors_of(crate::StoreErrorKind::Timeout) == 1);
        assert_eq!(allowed, [first, Some(false), first, None, Some(false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn checks_of_a_batch_that_the_store_decided_do_not_fall_back() {
    let fixture = Fixture::new(Behaviour::RespondsToChecks(1));
    let limit = slow("local", 10);
    let results = fixture.store.decide_all(&[take(&limit), take(&limit)]).await;
    let sources: Vec<_> = results.iter().map(|result| result.as_ref().unwrap().source()).collect();
    assert_eq!(sources, [Source::Store, Source::Local]);
}
