//! Steps of holds that are made here although the store has made them too.

use sluice_core::{
    Calendar, CalendarUnit, CostsDigest, Guarded, Hold, HoldId, HoldStep, Part, Quota, Source,
    Timestamp,
};

use super::{
    holds::{of_hold, outcome, reserve, settle},
    *,
};
use crate::{NodeId, Replica};

fn extend(limit: &Limit, held: u64, more: u64, reserved_at: Timestamp) -> Check {
    let [from, to] = [held, held + more].map(|tokens| CostsDigest::from_number(tokens + 1));
    let mut check = of_hold(HoldStep::Extend { from, to, reserved_at });
    let part = Part::new(Arc::new(limit.clone()), alice(), cost(more));
    check.push(part.holding(cost(held)));
    check
}

/// A fixture whose store has reserved 60 tokens, and so has the process.
async fn reserved_twice(limit: &Limit) -> (Fixture, Decision) {
    let fixture = Fixture::new(Behaviour::DecidesAndHangs);
    let reserved = fixture.decide(&reserve(limit, 60)).await;
    assert_eq!(outcome(&reserved), (true, Some(Guarded::First), Source::Local));
    assert_eq!(fixture.left(limit).await, 40, "the store has reserved them as well");
    assert_eq!(fixture.store.state().breaker, BreakerState::Closed);
    (fixture, reserved)
}

#[tokio::test(start_paused = true)]
async fn what_the_store_took_for_a_late_reply_is_taken_back() {
    let limit = slow("daily", 100);
    let (fixture, reserved) = reserved_twice(&limit).await;
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 40);
    let settled = fixture.decide(&settle(&limit, 60, 10, reserved.at())).await;
    assert_eq!(outcome(&settled), (true, Some(Guarded::Late), Source::Store));
    assert_eq!(fixture.left(&limit).await, 90);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_never_heard_of_is_charged_all_the_same() {
    for behaviour in [Behaviour::Hangs, Behaviour::Unreachable] {
        let fixture = Fixture::new(behaviour);
        let limit = slow("daily", 100);
        fixture.decide(&reserve(&limit, 60)).await;
        fixture.recover().await;
        assert_eq!(fixture.left(&limit).await, 40, "{behaviour:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_in_doubt_is_settled_here_although_the_store_responds() {
    let limit = slow("daily", 100);
    let (fixture, reserved) = reserved_twice(&limit).await;
    fixture.inner.set(Behaviour::Responds);
    let repeated = fixture.decide(&reserve(&limit, 60)).await;
    assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Local));
    let batch = [settle(&limit, 60, 10, reserved.at()), peek(&limit)];
    let results = fixture.store.decide_all(&batch).await;
    let sources: Vec<_> = results.iter().map(|one| one.as_ref().unwrap().source()).collect();
    assert_eq!(sources, [Source::Local, Source::Store]);
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 90);
    let repeated = fixture.decide(&batch[0]).await;
    assert_eq!(outcome(&repeated), (true, Some(Guarded::Repeated), Source::Local));
    assert_eq!(fixture.left(&limit).await, 90);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_took_for_an_extension_is_taken_back() {
    let fixture = Fixture::new(Behaviour::Responds);
    let limit = slow("daily", 100);
    let reserved = fixture.decide(&reserve(&limit, 60)).await;
    fixture.inner.set(Behaviour::DecidesAndHangs);
    let extended = fixture.decide(&extend(&limit, 60, 20, reserved.at())).await;
    assert_eq!((extended.is_allowed(), extended.source()), (true, Source::Local));
    assert_eq!(fixture.left(&limit).await, 20, "the store has extended it as well");
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 20);
    let settled = fixture.decide(&settle(&limit, 80, 10, extended.at())).await;
    assert_eq!(outcome(&settled), (true, Some(Guarded::First), Source::Store));
    assert_eq!(fixture.left(&limit).await, 90);
}

/// Nobody knows an id without a name, so nobody could settle the hold. One with a name may have
/// been sent to another replica as well, which found it made.
#[tokio::test(start_paused = true)]
async fn what_was_refused_here_is_taken_back_unless_it_has_a_name() {
    let [named, unnamed] = [HoldId::named(None, b"it"), HoldId::unnamed([255; 16])];
    for (id, left) in [(unnamed, 100), (named, 40)] {
        for rule in [OnStoreFailure::Local, OnStoreFailure::Deny, OnStoreFailure::Error] {
            let fixture = Fixture::new(Behaviour::DecidesAndHangs);
            fixture.store.set_live_replicas(2);
            let limit = slow("daily", 100).with_on_store_failure(rule);
            let step = HoldStep::Reserve { costs: CostsDigest::from_number(61) };
            let reserve = Check::of_hold(Hold::new(id, Duration::from_secs(600), step));
            let reserve = reserve.with(&Arc::new(limit.clone()), alice(), cost(60));
            let refused = fixture.store.decide(&reserve).await;
            assert!(refused.is_err() || refused.unwrap().is_denied(), "{rule:?}");
            assert_eq!(fixture.left(&limit).await, 40, "the store has made it");
            fixture.inner.set(Behaviour::Responds);
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(fixture.left(&limit).await, left, "{rule:?} {id}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_open_leaves_nothing_in_doubt() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    let limit = slow("daily", 100);
    fixture.open_breaker().await;
    // Another replica makes the same hold. It is none of this one's business.
    fixture.inner.decide_anyway(&reserve(&limit, 60));
    fixture.decide(&reserve(&limit, 60)).await;
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_again_is_told_later() {
    let limit = slow("daily", 100);
    let (fixture, reserved) = reserved_twice(&limit).await;
    // The probe passes, and what takes the step back gets no reply.
    for behaviour in [Behaviour::RespondsToChecks(0), Behaviour::DecidesAndHangs] {
        fixture.inner.set(behaviour);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 40);
    fixture.decide(&settle(&limit, 60, 10, reserved.at())).await;
    assert_eq!(fixture.left(&limit).await, 90);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_read_its_data_is_asked_once() {
    let limit = slow("daily", 100);
    let (fixture, _) = reserved_twice(&limit).await;
    fixture.inner.set(Behaviour::ReturnsGarbage);
    fixture.breaker_is(BreakerState::Closed).await;
    eventually_async("nothing is owed", async || fixture.store.state().owed_buckets == 0).await;
    let again = fixture.inner.decide_anyway(&reserve(&limit, 60));
    assert_eq!(again.guarded(), Some(Guarded::Repeated), "it was not taken back");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_departs_has_it_taken_back_first() {
    let limit = slow("daily", 100);
    let (fixture, _) = reserved_twice(&limit).await;
    fixture.inner.set(Behaviour::Responds);
    fixture.store.depart(&Replica::new("a", "1")).await.unwrap();
    assert_eq!(fixture.left(&limit).await, 40);
}

/// The store's clock may be in the window before that of this process, which charges the new one.
#[tokio::test(start_paused = true)]
async fn nothing_is_given_back_to_a_window_that_has_just_begun() {
    let hours = Quota::new(100, Calendar::new(CalendarUnit::Hour)).unwrap();
    let limit = Limit::new("hourly", Algorithm::Quota(hours)).unwrap();
    for (into_the_hour, left) in [(0, 0), (900, 0), (1_000, 40)] {
        let fixture = Fixture::new(Behaviour::DecidesAndHangs);
        tokio::time::advance(Duration::from_millis(into_the_hour)).await;
        fixture.decide(&reserve(&limit, 60)).await;
        fixture.recover().await;
        assert_eq!(fixture.left(&limit).await, left, "{into_the_hour} ms into the hour");
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_releases_counts_it_once() {
    let hours = Quota::new(100, Calendar::new(CalendarUnit::Hour)).unwrap();
    let releasing = Algorithm::Quota(hours.releasing(Duration::from_secs(600)).unwrap());
    let limit = Limit::new("hourly", releasing).unwrap();
    let fixture = Fixture::new(Behaviour::DecidesAndHangs);
    tokio::time::advance(Duration::from_secs(2)).await;
    let reserved = fixture.decide(&reserve(&limit, 60)).await;
    fixture.recover().await;
    assert_eq!(fixture.left(&limit).await, 40);
    // What was decided here is used, and never released.
    tokio::time::sleep(Duration::from_secs(3_000)).await;
    assert_eq!(fixture.left(&limit).await, 40);
    fixture.decide(&settle(&limit, 60, 70, reserved.at())).await;
    assert_eq!(fixture.left(&limit).await, 30);
}

#[tokio::test(start_paused = true)]
async fn each_node_takes_its_parts_back() {
    let [one, two] = ["one", "two"].map(|name| slow(name, 100));
    let mut nodes = NodeId::all();
    let [a, b] = [(); 2].map(|()| nodes.next().unwrap());
    for (of_a, of_b) in [
        (Behaviour::DecidesAndHangs, Behaviour::DecidesAndHangs),
        (Behaviour::Responds, Behaviour::DecidesAndHangs),
        (Behaviour::DecidesAndHangs, Behaviour::Unreachable),
    ] {
        let fixture = Fixture::new(Behaviour::Responds);
        fixture.inner.spread_over(2);
        let client = |node| {
            let tags = (0_u64..).map(|n| Tagger::new(b"").tag(Subject::Client(&n.to_le_bytes())));
            tags.into_iter().find(|tag| fixture.inner.node(tag.partition()) == node).unwrap()
        };
        let parts = [(&one, client(a)), (&two, client(b))];
        let costs = CostsDigest::from_number(61);
        let reserve = of_hold(HoldStep::Reserve { costs });
        let reserve = parts.iter().fold(reserve, |check, (limit, tag)| {
            check.with(&Arc::new((*limit).clone()), *tag, cost(60))
        });
        fixture.inner.set_node(a, of_a);
        fixture.inner.set_node(b, of_b);
        let reserved = fixture.decide(&reserve).await;
        assert_eq!((reserved.is_allowed(), reserved.source()), (true, Source::Local));
        fixture.recover().await;
        for (limit, tag) in parts {
            let peek = Check::new(Action::Peek).with(&Arc::new(limit.clone()), tag, Cost::NONE);
            let left = fixture.inner.decide_anyway(&peek).verdicts()[0].remaining;
            assert_eq!(left, 40, "{}: {of_a:?}, {of_b:?}", limit.name());
        }
    }
}
