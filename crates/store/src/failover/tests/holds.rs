//! Holds while the store is away, and afterwards.

use sluice_core::{
    Calendar, CalendarUnit, CostsDigest, Guarded, Hold, HoldId, HoldStep, Part, Quota, Source,
    Timestamp,
};

use super::*;
use crate::StoreErrorKind;

pub(super) const ID: HoldId = HoldId::from_bytes([7; 16]);

pub(super) fn of_hold(step: HoldStep) -> Check {
    Check::of_hold(Hold::new(ID, Duration::from_secs(600), step))
}

pub(super) fn reserve(limit: &Limit, tokens: u64) -> Check {
    let costs = CostsDigest::from_number(tokens + 1);
    of_hold(HoldStep::Reserve { costs }).with(&Arc::new(limit.clone()), alice(), cost(tokens))
}

pub(super) fn settle(limit: &Limit, held: u64, actual: u64, reserved_at: Timestamp) -> Check {
    let digest = CostsDigest::from_number(actual + 1);
    let mut check = of_hold(HoldStep::Settle { actual: digest, reserved_at });
    check.push(Part::settling(Arc::new(limit.clone()), alice(), cost(held), cost(actual)));
    check
}

pub(super) fn outcome(decision: &Decision) -> (bool, Option<Guarded>, Source) {
    (decision.is_allowed(), decision.guarded(), decision.source())
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_reserved_here_is_settled_here_and_charged_once() {
    for (actual, left_here) in [(10, 90), (60, 40), (75, 25), (0, 100)] {
        let fixture = Fixture::new(Behaviour::Unreachable);
        let limit = slow("daily", 100);
        fixture.open_breaker().await;
        let reserved = fixture.decide(&reserve(&limit, 60)).await;
        assert_eq!(outcome(&reserved), (true, Some(Guarded::First), Source::Local));
        let repeated = fixture.decide(&reserve(&limit, 60)).await;
        assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Local));
        let conflict = fixture.decide(&reserve(&limit, 61)).await;
        assert_eq!(outcome(&conflict), (false, Some(Guarded::Conflict), Source::Local));

        let settlement = settle(&limit, 60, actual, reserved.at());
        let settled = fixture.decide(&settlement).await;
        assert_eq!(outcome(&settled), (true, Some(Guarded::First), Source::Local));
        let repeated = fixture.decide(&settlement).await;
        assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Local));
        let conflict = fixture.decide(&settle(&limit, 60, 61, reserved.at())).await;
        assert_eq!(outcome(&conflict), (false, Some(Guarded::Conflict), Source::Local));
        assert_eq!(fixture.decide(&peek(&limit)).await.verdicts()[0].remaining, left_here);

        fixture.recover().await;
        assert_eq!(fixture.left(&limit).await, left_here);
        assert_eq!(fixture.store.state().charged_tokens, actual);
        // The store does not know the hold, and would settle it once more.
        let repeated = fixture.decide(&settlement).await;
        assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Local));
        let batch = [peek(&limit), settlement];
        let results = fixture.store.decide_all(&batch).await;
        let sources: Vec<_> = results.iter().map(|one| one.as_ref().unwrap().source()).collect();
        assert_eq!(sources, [Source::Store, Source::Local]);
        assert_eq!(fixture.left(&limit).await, left_here);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_reserved_here_is_settled_late_by_the_store_afterwards() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slow("daily", 100);
    let reserved = fixture.decide(&reserve(&limit, 60)).await;
    assert_eq!(reserved.source(), Source::Local);
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 40);
    // Sent again, it is not made once more.
    let repeated = fixture.decide(&reserve(&limit, 60)).await;
    assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Local));
    let conflict = fixture.decide(&reserve(&limit, 61)).await;
    assert_eq!(outcome(&conflict), (false, Some(Guarded::Conflict), Source::Local));
    assert_eq!(fixture.left(&limit).await, 40);
    let settlement = settle(&limit, 60, 10, reserved.at());
    let settled = fixture.decide(&settlement).await;
    assert_eq!(outcome(&settled), (true, Some(Guarded::Late), Source::Store));
    let conflict = fixture.decide(&reserve(&limit, 60)).await;
    assert_eq!(outcome(&conflict), (false, Some(Guarded::Conflict), Source::Store));
    let repeated = fixture.decide(&settlement).await;
    assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Store));
    assert_eq!(fixture.left(&limit).await, 90);
    fixture.inner.set(Behaviour::Unreachable);
    let error = fixture.store.decide(&settlement).await.unwrap_err();
    assert!(matches!(error, StoreError::NotSettled(_)), "it is not settled here too: {error}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_settles_a_hold_in_the_store_ends_it_here() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slow("daily", 100);
    let reserved = fixture.decide(&reserve(&limit, 60)).await;
    fixture.recover().await;
    let batch = [settle(&limit, 60, 10, reserved.at()), peek(&limit)];
    let results = fixture.store.decide_all(&batch).await;
    assert_eq!(results[0].as_ref().unwrap().guarded(), Some(Guarded::Late));
    fixture.inner.set(Behaviour::Unreachable);
    let error = fixture.store.decide(&batch[0]).await.unwrap_err();
    assert!(matches!(error, StoreError::NotSettled(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_of_the_store_is_not_settled_while_the_store_is_away() {
    let fixture = Fixture::new(Behaviour::Responds);
    let limit = slow("daily", 100);
    let reserved = fixture.decide(&reserve(&limit, 60)).await;
    assert_eq!(outcome(&reserved), (true, Some(Guarded::First), Source::Store));
    let settlement = settle(&limit, 60, 10, reserved.at());
    for (behaviour, kind) in [
        (Behaviour::Unreachable, StoreErrorKind::Unreachable),
        (Behaviour::Hangs, StoreErrorKind::Timeout),
    ] {
        fixture.inner.set(behaviour);
        let error = fixture.store.decide(&settlement).await.unwrap_err();
        assert!(matches!(error, StoreError::NotSettled(_)), "{error}");
        assert_eq!(error.kind(), kind);
    }
    assert_eq!(fixture.store.state().owed_buckets, 0);
    fixture.recover().await;
    let settled = fixture.decide(&settlement).await;
    assert_eq!(outcome(&settled), (true, Some(Guarded::First), Source::Store));
    assert_eq!(fixture.left(&limit).await, 90);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_whose_reply_is_lost_is_made_once() {
    let fixture = Fixture::new(Behaviour::Responds);
    let limit = slow("daily", 100);
    let reserved = fixture.decide(&reserve(&limit, 60)).await;
    fixture.inner.set(Behaviour::DecidesAndHangs);
    let settlement = settle(&limit, 60, 10, reserved.at());
    assert!(fixture.store.decide(&settlement).await.is_err());
    fixture.recover().await;
    let repeated = fixture.decide(&settlement).await;
    assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Store));
    assert_eq!(fixture.left(&limit).await, 90);
}

#[tokio::test(start_paused = true)]
async fn a_denied_reservation_is_no_hold_and_owes_nothing() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slow("daily", 100);
    let denied = fixture.decide(&reserve(&limit, 101)).await;
    assert_eq!(outcome(&denied), (false, Some(Guarded::First), Source::Local));
    let deny = slow("deny", 100).with_on_store_failure(OnStoreFailure::Deny);
    assert!(fixture.decide(&reserve(&deny, 1)).await.is_denied());
    let error = slow("error", 100).with_on_store_failure(OnStoreFailure::Error);
    let left = fixture.store.decide(&reserve(&error, 1)).await.unwrap_err();
    assert!(matches!(left, StoreError::LeftToCaller { .. }), "{left}");
    assert_eq!(fixture.store.state().owed_buckets, 0);
}

/// What is held is used of its share: that it is released is up to the store, which does not know
/// of it.
#[tokio::test(start_paused = true)]
async fn what_is_held_here_of_a_quota_that_releases_is_not_released() {
    let years = Quota::new(100, Calendar::new(CalendarUnit::Year)).unwrap();
    let hold_for = Duration::from_secs(600);
    let limit = Limit::new("yearly", Algorithm::Quota(years.releasing(hold_for).unwrap())).unwrap();
    for replicas in [1, 2] {
        let fixture = Fixture::new(Behaviour::Unreachable);
        fixture.store.set_live_replicas(replicas);
        fixture.open_breaker().await;
        assert!(fixture.decide(&reserve(&limit, 30)).await.is_allowed());
        let left = fixture.decide(&peek(&limit)).await.verdicts()[0].remaining;
        tokio::time::advance(hold_for * 3).await;
        assert_eq!(fixture.decide(&peek(&limit)).await.verdicts()[0].remaining, left);
        fixture.recover().await;
        assert_eq!(fixture.left(&limit).await, 70, "{replicas} replicas");
    }
}
