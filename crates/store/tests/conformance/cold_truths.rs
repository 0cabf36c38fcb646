//! What is true of a store whose memory has just begun, with [`ColdStart::Empty`].
//!
//! [`ColdStart::Empty`]: sluice_store::ColdStart::Empty

use std::{sync::Arc, time::Duration};

use sluice_core::{Action, Retry, Timestamp};

use crate::fixture::{Fixture, algorithm, check, limit, tokens};

/// Returns when the memory began.
fn start(fixture: &Fixture) -> Timestamp {
    fixture.epoch.start().expect("the store has an epoch")
}

pub async fn an_unseen_bucket_is_empty_and_refills(fixture: &Fixture) {
    for (name, rate) in [("whole", "1/hour"), ("fractional", "7/day"), ("slow", "1 per 90d")] {
        let (slow, client) = (limit(name, rate, 10), fixture.client());
        let denied = fixture.take(&slow, client, 1).await;
        assert!(denied.is_denied(), "{slow}");
        let verdict = &denied.verdicts()[0];
        assert_eq!(verdict.remaining, 0);
        let span = slow.rate().unwrap().span_of(1);
        let token =
            Duration::from_micros(span.micros.unsigned_abs() + u64::from(span.fraction > 0));
        let due = start(fixture).after(token);
        assert_eq!(verdict.retry, Retry::After(due.since(denied.at())), "{slow}");
        fixture.wait_until(due).await;
        let admitted = fixture.take(&slow, client, 1).await;
        assert!(admitted.is_allowed(), "{slow}: {admitted:?}");
        assert_eq!(admitted.verdicts()[0].remaining, 0);
        // Batches and single checks are decided by different scripts.
        let others = [(); 2].map(|()| check(Action::Take).with(&slow, fixture.client(), tokens(1)));
        for decision in fixture.decide_at_once(others).await {
            assert!(decision.is_allowed());
            assert_eq!(decision.verdicts()[0].remaining, 0);
        }
    }
}

pub async fn an_unseen_bucket_is_full_once_it_has_filled(fixture: &Fixture) {
    for (name, rate) in [("whole", "6/hour"), ("fractional", "7/hour")] {
        let limit = limit(name, rate, 5);
        let fill = limit.rate().unwrap().fill();
        fixture
            .wait_until(start(fixture).after(Duration::from_micros(fill.micros.unsigned_abs() + 1)))
            .await;
        let client = fixture.client();
        for left in (0..5).rev() {
            let decision = fixture.take(&limit, client, 1).await;
            assert!(decision.is_allowed());
            assert_eq!(decision.verdicts()[0].remaining, left);
        }
        assert!(fixture.take(&limit, client, 1).await.is_denied());
    }
}

/// A store that forgot the full bucket would find an empty one.
pub async fn a_bucket_that_is_filled_stays_full(fixture: &Fixture) {
    for (name, rate) in [("whole", "1/hour"), ("fractional", "7/day")] {
        let limit = limit(name, rate, 10);
        let [reset, given, batch] = [(); 3].map(|()| fixture.client());
        let filled = fixture.act(Action::Reset, &limit, reset, 0).await;
        assert_eq!(filled.verdicts()[0].remaining, 10);
        fixture.act(Action::GiveBack, &limit, given, 10).await;
        let of = |action, cost| check(action).with(&limit, batch, tokens(cost));
        let [_, peeked] = fixture.decide_at_once([of(Action::Reset, 0), of(Action::Peek, 0)]).await;
        assert_eq!(peeked.verdicts()[0].remaining, 10);
        for _ in 0..3 {
            fixture.advance(Duration::from_secs(60));
            for client in [reset, given, batch] {
                assert_eq!(fixture.remaining(&limit, client).await, 10, "{limit}");
            }
        }
        // What is taken and comes back within that time fills it again.
        for client in [reset, given, batch] {
            assert_eq!(fixture.take(&limit, client, 1).await.verdicts()[0].remaining, 9);
            let back = limit.rate().unwrap().span_of(1).micros.unsigned_abs() + 1;
            fixture.advance(Duration::from_micros(back) + Duration::from_secs(3));
            assert_eq!(fixture.remaining(&limit, client).await, 10, "{limit}");
            assert!(fixture.take(&limit, client, 10).await.is_allowed());
        }
    }
}

pub async fn a_changed_limit_counts_from_the_beginning_too(fixture: &Fixture) {
    let client = fixture.client();
    let hourly = limit("changed", "1/hour", 10);
    assert!(fixture.take(&hourly, client, 1).await.is_denied());
    fixture.wait_until(start(fixture).after(Duration::from_secs(60))).await;
    let raised = Arc::new(hourly.with_algorithm(algorithm("6/minute", 1_000)));
    let earned = fixture.remaining(&raised, client).await;
    assert!((6..=12).contains(&earned), "the new rate since the beginning: {earned}");
}

pub async fn a_clock_that_steps_back_behind_the_beginning_freezes_nobody(fixture: &Fixture) {
    for (name, rate) in [("whole", "60/minute"), ("fractional", "90/minute")] {
        let limit = limit(name, rate, 10);
        fixture.step_back(Duration::from_secs(3_600));
        for action in [Action::Take, Action::Peek] {
            let client = fixture.client();
            let first = fixture.act(action, &limit, client, 1).await;
            let Retry::After(wait) = first.retry() else { panic!("{first:?}") };
            assert!(wait <= Duration::from_secs(2), "{wait:?}");
            fixture.wait_until(first.at().after(wait)).await;
            assert!(fixture.take(&limit, client, 1).await.is_allowed(), "{limit}, {action:?}");
        }
    }
}
