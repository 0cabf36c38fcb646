//! Slots while the store is away, and afterwards.

use sluice_core::{Concurrent, Part, Source, Timestamp};

use super::*;

fn slots(number: u64) -> Limit {
    Limit::new("slots", Algorithm::Concurrent(Concurrent::new(number).unwrap())).unwrap()
}

fn of_one(action: Action, limit: &Limit, mark: impl FnOnce(Part) -> Part) -> Check {
    let mut check = Check::new(action);
    check.push(mark(Part::new(Arc::new(limit.clone()), alice(), cost(1))));
    check
}

fn local(at: Timestamp) -> impl Fn(Part) -> Part {
    move |part| part.taken_locally(at)
}

#[tokio::test(start_paused = true)]
async fn slots_that_the_store_gave_are_neither_renewed_nor_given_back_here() {
    let fixture = Fixture::new(Behaviour::Responds);
    let limit = slots(2);
    let given = fixture.decide(&take(&limit)).await;
    fixture.inner.set(Behaviour::Unreachable);
    fixture.open_breaker().await;
    let here = fixture.decide(&take(&limit)).await;
    assert_eq!((here.source(), here.verdicts()[0].remaining), (Source::Local, 1));
    for action in [Action::Renew, Action::GiveBack] {
        let check = of_one(action, &limit, |part| part.taken_at(given.at()));
        assert!(fixture.store.decide(&check).await.is_err(), "{action:?}");
    }
    assert_eq!(fixture.decide(&peek(&limit)).await.verdicts()[0].remaining, 1);
}

#[tokio::test(start_paused = true)]
async fn slots_that_were_taken_here_are_renewed_and_given_back_here() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slots(2);
    fixture.open_breaker().await;
    let first = fixture.decide(&take(&limit)).await;
    let second = fixture.decide(&take(&limit)).await;
    tokio::time::advance(Concurrent::DEFAULT_TERM).await;
    let renewed = fixture.decide(&of_one(Action::Renew, &limit, local(first.at()))).await;
    assert!(renewed.is_allowed() && renewed.source() == Source::Local);
    tokio::time::advance(Concurrent::DEFAULT_TERM).await;
    assert_eq!(fixture.decide(&peek(&limit)).await.verdicts()[0].remaining, 1);
    let late = fixture.decide(&of_one(Action::Renew, &limit, local(second.at()))).await;
    assert!(late.is_denied(), "it does not count any more");
    fixture.decide(&of_one(Action::GiveBack, &limit, local(renewed.at()))).await;
    assert_eq!(fixture.decide(&peek(&limit)).await.verdicts()[0].remaining, 2);
}

#[tokio::test(start_paused = true)]
async fn the_store_is_charged_for_slots_that_are_held_at_its_return() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slots(3);
    fixture.open_breaker().await;
    let kept = fixture.decide(&take(&limit)).await;
    let ended = fixture.decide(&take(&limit)).await;
    fixture.decide(&take(&limit)).await;
    fixture.decide(&of_one(Action::GiveBack, &limit, local(ended.at()))).await;
    tokio::time::advance(Concurrent::DEFAULT_TERM).await;
    fixture.decide(&of_one(Action::Renew, &limit, local(kept.at()))).await;
    tokio::time::advance(Concurrent::DEFAULT_TERM).await;
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 2, "one was renewed, and one has ended by itself");
}
