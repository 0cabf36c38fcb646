//! A store of two nodes, of which one fails.

use sluice_core::{Retry, Source};
use tokio::{task::JoinSet, time::Instant};

use super::*;
use crate::{NodeId, Replica, StoreErrorKind, failover::tests::scripted::StoreCall};

/// A failover over a store of two nodes.
struct Two {
    fixture: Arc<Fixture>,
    a: NodeId,
    b: NodeId,
}

impl Two {
    /// Both nodes respond.
    fn new() -> Self {
        let fixture = Arc::new(Fixture::new(Behaviour::Responds));
        fixture.inner.spread_over(2);
        let mut nodes = NodeId::all();
        Self { fixture, a: nodes.next().unwrap(), b: nodes.next().unwrap() }
    }

    fn set(&self, node: NodeId, behaviour: Behaviour) {
        self.fixture.inner.set_node(node, behaviour);
    }

    /// Returns a client whose buckets are on `node`.
    fn client(&self, node: NodeId) -> Tag {
        (0_u64..)
            .map(|number| Tagger::new(b"").tag(Subject::Client(&number.to_le_bytes())))
            .find(|tag| self.fixture.inner.node(tag.partition()) == node)
            .unwrap()
    }

    fn check(&self, action: Action, parts: &[(NodeId, &Limit, u64)]) -> Check {
        parts.iter().fold(Check::new(action), |check, (node, limit, tokens)| {
            check.with(&Arc::new((*limit).clone()), self.client(*node), cost(*tokens))
        })
    }

    fn take(&self, node: NodeId, limit: &Limit) -> Check {
        self.check(Action::Take, &[(node, limit, 1)])
    }

    async fn decide(&self, check: &Check) -> Decision {
        self.fixture.decide(check).await
    }

    /// Returns the tokens left in a bucket in the store.
    fn left(&self, node: NodeId, limit: &Limit) -> u64 {
        let peek = self.check(Action::Peek, &[(node, limit, 0)]);
        self.fixture.inner.decide_anyway(&peek).verdicts()[0].remaining
    }

    /// Makes `node` unreachable until its breaker is open.
    async fn lose(&self, node: NodeId) {
        self.set(node, Behaviour::Unreachable);
        let limit = limit("probe").with_on_store_failure(OnStoreFailure::Allow);
        let peek = self.check(Action::Peek, &[(node, &limit, 1)]);
        for _ in 0..3 {
            self.decide(&peek).await;
        }
        assert_eq!(self.fixture.store.state().breaker, BreakerState::Open);
    }

    async fn recover(&self) {
        self.fixture.recover().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_slows_only_its_own_clients() {
    let two = Two::new();
    two.set(two.b, Behaviour::Hangs);
    let limit = slow("daily", 1_000);
    let (of_a, of_b) = (two.take(two.a, &limit), two.take(two.b, &limit));
    let mut waits = 0;
    for _ in 0..100 {
        let start = Instant::now();
        assert_eq!(two.decide(&of_a).await.source(), Source::Store);
        assert_eq!(start.elapsed(), Duration::ZERO, "a client of the other node never waits");
        assert_eq!(two.decide(&of_b).await.source(), Source::Local);
        waits += u32::from(!start.elapsed().is_zero());
    }
    assert_eq!(waits, 3);
    let state = two.fixture.store.state();
    assert_eq!(
        (state.breaker, state.opened, state.unavailable_nodes, state.nodes),
        (BreakerState::Open, 1, 1, 2)
    );
    assert_eq!(state.errors_of(StoreErrorKind::BreakerOpen), 97);
    assert_eq!(two.left(two.a, &limit), 900);
    two.recover().await;
    assert_eq!(two.left(two.b, &limit), 900, "charged afterwards");
    assert_eq!(two.fixture.store.state().unavailable_nodes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_charged_before_it_gets_checks_again_while_the_other_one_works() {
    let two = Two::new();
    two.set(two.b, Behaviour::Unreachable);
    let limit = slow("daily", 10);
    let (of_a, of_b) = (two.take(two.a, &limit), two.take(two.b, &limit));
    for _ in 0..10 {
        assert!(two.decide(&of_b).await.is_allowed());
    }
    let calls_of_a = two.fixture.inner.calls_of(two.a).len();
    two.set(two.b, Behaviour::RespondsAfter(Duration::from_millis(10)));
    let peek = two.check(Action::Peek, &[(two.a, &limit, 1)]);
    loop {
        assert_eq!(two.decide(&peek).await.source(), Source::Store);
        let decision = two.decide(&of_b).await;
        assert!(decision.is_denied(), "no further token is admitted, here or in the store");
        if decision.source() == Source::Store {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(two.decide(&of_a).await.is_allowed());
    let calls = two.fixture.inner.calls_of(two.a).split_off(calls_of_a);
    assert!(calls.iter().all(|call| *call == StoreCall::Decide), "A was not probed: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_over_both_nodes_is_decided_by_both() {
    let two = Two::new();
    let (first, second) = (slow("first", 5), slow("second", 2));
    let parts = [(two.a, &first, 1), (two.b, &second, 1)];
    let take = two.check(Action::Take, &parts);
    for left in [1, 0] {
        let decision = two.decide(&take).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Store));
        assert_eq!(decision.verdicts()[1].remaining, left);
    }
    let denied = two.decide(&take).await;
    assert_eq!((denied.is_denied(), denied.binding().unwrap().limit.name()), (true, "second"));
    assert_eq!((denied.verdicts()[0].remaining, two.left(two.a, &first)), (3, 3));
    two.decide(&two.check(Action::Charge, &parts)).await;
    assert_eq!(two.left(two.a, &first), 2);
    two.decide(&two.check(Action::Reset, &parts)).await;
    assert_eq!((two.left(two.a, &first), two.left(two.b, &second)), (5, 2));
    assert_eq!(two.fixture.store.state().owed_buckets, 0);
}

#[tokio::test(start_paused = true)]
async fn parts_on_a_node_that_is_away_are_decided_locally_after_the_others_were_taken() {
    let two = Two::new();
    let (first, second) = (slow("first", 5), slow("second", 2));
    two.lose(two.b).await;
    // The part of the node that is away comes first, and is still decided last.
    let take = two.check(Action::Take, &[(two.b, &second, 1), (two.a, &first, 1)]);
    for left in [4, 3] {
        let decision = two.decide(&take).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Local));
        assert_eq!(two.left(two.a, &first), left, "taken in the store");
        assert_eq!(decision.verdicts()[1].remaining, left);
    }
    let denied = two.decide(&take).await;
    assert!(denied.is_denied());
    assert_eq!(denied.binding().unwrap().limit.name(), "second");
    assert_eq!((denied.verdicts()[1].remaining, two.left(two.a, &first)), (3, 3), "given back");
    assert_eq!(two.fixture.store.state().owed_buckets, 1);
    two.recover().await;
    assert_eq!((two.left(two.a, &first), two.left(two.b, &second)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_during_a_check_is_replaced_for_its_part_only() {
    for behaviour in [Behaviour::Unreachable, Behaviour::Hangs] {
        let two = Two::new();
        let (first, second) = (slow("first", 5), slow("second", 5));
        two.set(two.a, behaviour);
        let take = two.check(Action::Take, &[(two.a, &first, 2), (two.b, &second, 3)]);
        let start = Instant::now();
        let decision = two.decide(&take).await;
        assert!(start.elapsed() <= TIMEOUT + Duration::from_millis(1), "{behaviour:?}");
        assert!(decision.is_allowed(), "{behaviour:?}");
        let state = two.fixture.store.state();
        assert_eq!(state.breaker, BreakerState::Closed, "one failure");
        two.recover().await;
        assert_eq!(
            (two.left(two.a, &first), two.left(two.b, &second)),
            (3, 2),
            "{behaviour:?}: each token is counted once"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_or_is_denied_takes_nothing_on_any_node() {
    let two = Two::new();
    two.lose(two.b).await;
    let first = slow("first", 5);
    for rule in [OnStoreFailure::Error, OnStoreFailure::Deny] {
        let second = slow("second", 5).with_on_store_failure(rule);
        let take = two.check(Action::Take, &[(two.a, &first, 2), (two.b, &second, 1)]);
        match two.fixture.store.decide(&take).await {
            Ok(denied) => assert_eq!((denied.is_denied(), rule), (true, OnStoreFailure::Deny)),
            Err(error) => assert!(matches!(error, StoreError::LeftToCaller { .. }), "{error}"),
        }
        assert_eq!(two.left(two.a, &first), 5, "{rule:?}");
    }
    // The node that responds denies: the other part is only looked at.
    let second = slow("second", 5);
    let take = two.check(Action::Take, &[(two.b, &second, 2), (two.a, &first, 6)]);
    let denied = two.decide(&take).await;
    assert_eq!((denied.is_denied(), denied.retry()), (true, Retry::Never));
    assert_eq!(denied.verdicts()[0].remaining, 5);
    assert_eq!(two.fixture.store.state().owed_buckets, 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_are_given_back_although_the_callers_time_is_over() {
    let two = Two::new();
    let (first, second) = (slow("first", 5), slow("second", 1));
    two.set(two.a, Behaviour::RespondsAfter(Duration::from_millis(20)));
    let take = two.check(Action::Take, &[(two.a, &first, 2), (two.b, &second, 2)]);
    let start = Instant::now();
    assert!(two.decide(&take).await.is_denied());
    assert!(start.elapsed() <= TIMEOUT + Duration::from_millis(1), "waited {:?}", start.elapsed());
    assert_eq!(two.left(two.a, &first), 3, "on their way");
    tokio::time::sleep(TIMEOUT).await;
    assert_eq!(two.left(two.a, &first), 5);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_drops_its_check_leaves_nothing_taken() {
    let two = Two::new();
    let limit = slow("daily", 5);
    two.set(two.b, Behaviour::RespondsAfter(Duration::from_millis(20)));
    let take = two.check(Action::Take, &[(two.a, &limit, 2), (two.b, &limit, 2)]);
    let patience = Duration::from_millis(10);
    assert!(tokio::time::timeout(patience, two.fixture.store.decide(&take)).await.is_err());
    tokio::time::sleep(TIMEOUT * 4).await;
    assert_eq!((two.left(two.a, &limit), two.left(two.b, &limit)), (5, 5));
    assert_eq!(two.fixture.inner.count_calls(&StoreCall::Decide), 4);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_one_call_for_each_node_and_its_results_keep_their_order() {
    let two = Two::new();
    two.set(two.a, Behaviour::RespondsAfter(Duration::from_millis(10)));
    two.set(two.b, Behaviour::RespondsAfter(Duration::from_millis(10)));
    let limit = slow("daily", 50);
    let over_both = two.check(Action::Peek, &[(two.b, &limit, 1), (two.a, &limit, 1)]);
    let batch: Vec<_> = (1..=20)
        .map(|tokens| match tokens % 5 {
            0 => over_both.clone(),
            kind => two.check(Action::Peek, &[([two.a, two.b][kind % 2], &limit, tokens as u64)]),
        })
        .collect();
    let start = Instant::now();
    let results = two.fixture.store.decide_all(&batch).await;
    assert_eq!(start.elapsed(), Duration::from_millis(10), "all at once");
    for (check, result) in batch.iter().zip(&results) {
        let decision = result.as_ref().unwrap();
        assert_eq!(decision.source(), Source::Store);
        let costs = |parts: &[sluice_core::Part]| parts.iter().map(|part| part.cost).collect();
        let expected: Vec<_> = costs(check.parts());
        let found: Vec<_> = decision.verdicts().iter().map(|verdict| verdict.cost).collect();
        assert_eq!(found, expected);
    }
    for node in [two.a, two.b] {
        let calls = two.fixture.inner.calls_of(node);
        assert_eq!(calls[0], StoreCall::DecideAll(8), "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_fails_only_for_the_node_that_is_away() {
    let two = Two::new();
    two.set(two.b, Behaviour::Hangs);
    let limit = slow("daily", 50);
    let batch = [two.a, two.b, two.a, two.b].map(|node| two.take(node, &limit));
    for _ in 0..4 {
        let results = two.fixture.store.decide_all(&batch).await;
        let sources: Vec<_> = results.into_iter().map(|result| result.unwrap().source()).collect();
        assert_eq!(sources, [Source::Store, Source::Local, Source::Store, Source::Local]);
    }
    let state = two.fixture.store.state();
    assert_eq!((state.unavailable_nodes, state.opened), (1, 1));
    assert_eq!(state.errors_of(StoreErrorKind::Timeout), 3, "one for each call");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hangs_does_not_delay_the_recovery_of_another() {
    let two = Two::new();
    two.lose(two.a).await;
    two.lose(two.b).await;
    assert_eq!(two.fixture.store.state().unavailable_nodes, 2);
    two.set(two.b, Behaviour::Hangs);
    two.set(two.a, Behaviour::Responds);
    tokio::time::sleep(Duration::from_millis(101)).await;
    let state = two.fixture.store.state();
    assert_eq!((state.unavailable_nodes, state.breaker), (1, BreakerState::Open));
    assert_eq!(two.decide(&two.take(two.a, &limit("a"))).await.source(), Source::Store);
    two.recover().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_follows_the_buckets_to_another_node() {
    let two = Two::new();
    let limit = slow("daily", 10);
    two.lose(two.b).await;
    let of_b = two.take(two.b, &limit);
    for _ in 0..4 {
        assert_eq!(two.decide(&of_b).await.source(), Source::Local);
    }
    // The first node takes over everything; the second is gone for good.
    two.fixture.inner.spread_over(1);
    assert_eq!(two.decide(&of_b).await.source(), Source::Store);
    two.fixture.breaker_is(BreakerState::Closed).await;
    eventually_async("nothing is owed", async || two.fixture.store.state().owed_buckets == 0).await;
    let state = two.fixture.store.state();
    assert_eq!((state.charged_tokens, state.unavailable_nodes, state.nodes), (4, 0, 1));
    let peek = Check::new(Action::Peek).with(&Arc::new(limit), of_b.parts()[0].tag, Cost::NONE);
    assert_eq!(two.fixture.inner.decide_anyway(&peek).verdicts()[0].remaining, 5);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_departs_charges_the_nodes_that_respond() {
    let two = Two::new();
    let limit = slow("daily", 10);
    two.fixture.inner.set(Behaviour::Unreachable);
    for node in [two.a, two.b] {
        assert!(two.decide(&two.take(node, &limit)).await.is_allowed());
    }
    two.set(two.a, Behaviour::Responds);
    two.fixture.store.depart(&Replica::new("stopping", "1")).await.unwrap();
    assert_eq!(two.left(two.a, &limit), 9);
    let state = two.fixture.store.state();
    assert_eq!((state.owed_buckets, state.charged_tokens), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn many_checks_over_both_nodes_admit_no_more_than_the_smaller_limit() {
    for mixed_order in [false, true] {
        let two = Arc::new(Two::new());
        two.set(two.a, Behaviour::RespondsAfter(Duration::from_millis(1)));
        two.set(two.b, Behaviour::RespondsAfter(Duration::from_millis(2)));
        let (first, second) = (slow("first", 100), slow("second", 30));
        let mut tasks = JoinSet::new();
        for number in 0..200 {
            let mut parts = [(two.a, &first, 1), (two.b, &second, 1)];
            if mixed_order && number % 2 == 0 {
                parts.reverse();
            }
            let take = two.check(Action::Take, &parts);
            let two = Arc::clone(&two);
            tasks.spawn(async move { two.decide(&take).await.is_allowed() });
        }
        let allowed = tasks.join_all().await;
        let admitted = allowed.into_iter().filter(|allowed| *allowed).count() as u64;
        if mixed_order {
            // Checks that take in different orders may deny each other.
            assert!(admitted <= 30, "{admitted}");
        } else {
            assert_eq!(admitted, 30);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(two.left(two.a, &first), 100 - admitted, "the rest was given back");
        assert_eq!(two.left(two.b, &second), 30 - admitted);
    }
}
