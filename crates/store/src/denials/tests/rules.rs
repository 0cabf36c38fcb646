//! What is denied without the store, and until when.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use sluice_core::{Action, Algorithm, Check, Cost, Limit, Mode, Retry, Source};

use super::{Replica, check, client, limit, reporting::Server, take};
use crate::Store;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_denied_client_that_keeps_asking_costs_one_call() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1/minute", 2);
    replica.denials.decide(&take(&limit, 2)).await.unwrap();
    let calls = server.calls();
    for round in 0..1_000_u64 {
        let decision = replica.denials.decide(&take(&limit, 1)).await.unwrap();
        assert!(decision.is_denied());
        let wait = Duration::from_mins(1) - Duration::from_millis(round);
        assert_eq!(decision.retry(), Retry::After(wait), "exactly, in every answer");
        let truth = server.store.decide_now(&check(Action::Peek, &limit, 1));
        assert_eq!(decision.verdicts(), truth.verdicts());
        assert_eq!(decision.at(), truth.at());
        let source = if round == 0 { Source::Store } else { Source::Cache };
        assert_eq!(decision.source(), source);
        server.advance(Duration::from_millis(1), 1_000);
    }
    assert_eq!(server.calls() - calls, 1);
    assert_eq!(replica.denials.state().entries, 1);
}

fn quota(quota: sluice_core::Quota) -> Arc<Limit> {
    Arc::new(Limit::new("a", Algorithm::Quota(quota)).unwrap())
}

#[tokio::test]
async fn a_client_without_quota_costs_one_call_until_its_window_ends() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = quota("3/minute".parse().unwrap());
    // The window may have begun a while ago.
    let peek = server.store.decide_now(&check(Action::Peek, &limit, 1));
    server.advance(peek.verdicts()[0].reset_in.unwrap() - seconds(8), 1_000);
    replica.denials.decide(&take(&limit, 3)).await.unwrap();
    let calls = server.calls();
    for round in 0..7 {
        let decision = replica.denials.decide(&take(&limit, 1)).await.unwrap();
        assert_eq!(decision.retry(), Retry::After(seconds(8 - round)));
        let truth = server.store.decide_now(&check(Action::Peek, &limit, 1));
        assert_eq!(decision.verdicts(), truth.verdicts());
        server.advance(seconds(1), 1_000);
    }
    assert_eq!(server.calls() - calls, 1);
    server.advance(seconds(1), 1_000);
    assert!(replica.denials.decide(&take(&limit, 3)).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_quota_that_counts_what_it_denies_is_always_asked() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let counting: sluice_core::Quota = "1/minute".parse().unwrap();
    let limit = quota(counting.counting_denied());
    for _ in 0..5 {
        replica.denials.decide(&take(&limit, 1)).await.unwrap();
    }
    assert_eq!((server.calls(), replica.denials.state().entries), (5, 0));
}

#[tokio::test]
async fn it_ends_when_the_token_is_back() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1/second", 1);
    replica.denials.decide(&take(&limit, 1)).await.unwrap();
    assert!(replica.denials.decide(&take(&limit, 1)).await.unwrap().is_denied());
    server.advance(seconds(1), 1_000);
    let decision = replica.denials.decide(&take(&limit, 1)).await.unwrap();
    assert!(decision.is_allowed());
}

#[tokio::test]
async fn it_ends_in_time_although_the_servers_clock_is_faster() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1 per 9s", 1);
    replica.denials.decide(&take(&limit, 1)).await.unwrap();
    let check = take(&limit, 1);
    let mut denial = pin!(replica.denials.decide(&check));
    let mut context = Context::from_waker(Waker::noop());
    assert!(denial.as_mut().poll(&mut context).is_pending());
    server.advance(seconds(5), 991);
    let Poll::Ready(Ok(decision)) = denial.as_mut().poll(&mut context) else {
        panic!("the reply has not arrived")
    };
    assert_eq!(decision.source(), Source::Store);
    server.advance(seconds(3), 991);
    let decision = replica.denials.decide(&check).await.unwrap();
    // Of the reply's five seconds on its way it is not known that they have passed.
    assert_eq!(decision.source(), Source::Cache);
    assert!(decision.retry() >= Retry::After(seconds(6)), "{decision:?}");
    server.advance(seconds(1), 991);
    assert!(replica.denials.decide(&check).await.unwrap().is_allowed());
}

#[tokio::test]
async fn it_ends_after_ten_seconds() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1/day", 1);
    for _ in 0..2 {
        replica.denials.decide(&take(&limit, 1)).await.unwrap();
    }
    let calls = server.calls();
    server.advance(seconds(10) - Duration::from_micros(1), 1_000);
    let decision = replica.denials.decide(&take(&limit, 1)).await.unwrap();
    assert_eq!(decision.source(), Source::Cache);
    server.advance(Duration::from_micros(1), 1_000);
    let decision = replica.denials.decide(&take(&limit, 1)).await.unwrap();
    assert_eq!((decision.source(), server.calls()), (Source::Store, calls + 1));
    server.advance(seconds(10), 1_000);
    assert_eq!(replica.denials.state().entries, 0);
}

#[tokio::test]
async fn costs_of_every_size_are_denied_while_there_is_no_token() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "7/minute", 5);
    replica.denials.decide(&take(&limit, 5)).await.unwrap();
    replica.denials.decide(&take(&limit, 2)).await.unwrap();
    server.advance(seconds(1), 1_000);
    for cost in [1, 2, 5, 6, 1_000] {
        let decision = replica.denials.decide(&take(&limit, cost)).await.unwrap();
        assert_eq!(decision.source(), Source::Cache, "{cost}");
        let peek = check(Action::Peek, &limit, cost);
        let truth = server.store.decide_now(&peek).retry();
        match (decision.retry(), truth) {
            // A part of a microsecond is not shown by a decision.
            (Retry::After(wait), Retry::After(truth)) => {
                assert!(wait - truth <= Duration::from_micros(1), "{cost}: {wait:?} {truth:?}");
            }
            (retry, truth) => assert_eq!((retry, cost > 5), (truth, true)),
        }
    }
    let free = replica.denials.decide(&take(&limit, 0)).await.unwrap();
    assert!(free.is_allowed());
}

#[tokio::test]
async fn a_bucket_with_a_token_is_always_asked_for() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1/day", 5);
    replica.denials.decide(&take(&limit, 3)).await.unwrap();
    for _ in 0..3 {
        let decision = replica.denials.decide(&take(&limit, 3)).await.unwrap();
        assert_eq!((decision.is_denied(), decision.source()), (true, Source::Store));
    }
    assert_eq!(replica.denials.state().entries, 0);
}

#[tokio::test]
async fn a_debt_is_known_too() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1/second", 5);
    replica.denials.decide(&check(Action::Charge, &limit, 35)).await.unwrap();
    for source in [Source::Store, Source::Cache] {
        let decision = replica.denials.decide(&take(&limit, 0)).await.unwrap();
        assert_eq!((decision.source(), decision.retry()), (source, Retry::After(seconds(30))));
    }
    server.advance(seconds(9), 1_000);
    let decision = replica.denials.decide(&take(&limit, 1)).await.unwrap();
    assert_eq!((decision.source(), decision.retry()), (Source::Cache, Retry::After(seconds(22))));
}

#[tokio::test]
async fn returned_tokens_end_it_everywhere_once_they_are_reported() {
    let server = Server::new();
    let (one, other) = (Replica::of(&server), Replica::of(&server));
    let limit = limit("a", "1/day", 1);
    for action in [Action::GiveBack, Action::Reset] {
        for replica in [&one, &other] {
            for _ in 0..2 {
                replica.denials.decide(&take(&limit, 1)).await.unwrap();
            }
            let decision = replica.denials.decide(&take(&limit, 1)).await.unwrap();
            assert_eq!(decision.source(), Source::Cache);
        }
        one.denials.decide(&check(action, &limit, 1)).await.unwrap();
        let peek = check(Action::Peek, &limit, 1);
        assert!(one.denials.decide(&peek).await.unwrap().is_allowed(), "here at once");
        let decision = other.denials.decide(&peek).await.unwrap();
        assert_eq!(decision.source(), Source::Cache, "the report is on its way");
        assert!(other.link.deliver());
        assert!(other.denials.decide(&peek).await.unwrap().is_allowed());
        while one.link.deliver() {}
    }
}

#[tokio::test]
async fn a_report_may_overtake_the_reply() {
    let server = Server::new();
    let (one, other) = (Replica::of(&server), Replica::of(&server));
    let limit = limit("a", "1/day", 1);
    one.denials.decide(&take(&limit, 1)).await.unwrap();
    let take = take(&limit, 1);
    let mut denial = pin!(one.denials.decide(&take));
    let mut context = Context::from_waker(Waker::noop());
    // The server decides, and the reply is on its way.
    assert!(denial.as_mut().poll(&mut context).is_pending());
    other.denials.decide(&check(Action::GiveBack, &limit, 1)).await.unwrap();
    assert!(one.link.deliver());
    let Poll::Ready(Ok(decision)) = denial.as_mut().poll(&mut context) else {
        panic!("the reply has not arrived")
    };
    assert!(decision.is_denied());
    assert!(one.denials.decide(&take).await.unwrap().is_allowed());
}

#[tokio::test]
async fn nothing_is_known_without_a_subscription_or_from_an_earlier_one() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1/day", 1);
    let source = async || replica.denials.decide(&take(&limit, 1)).await.unwrap().source();
    replica.link.subscribe(0);
    for _ in 0..3 {
        assert_eq!(source().await, Source::Store);
    }
    assert_eq!(replica.denials.state().reported_partitions, 0);
    replica.link.subscribe(1);
    assert_eq!((source().await, source().await), (Source::Store, Source::Cache));
    assert_eq!(replica.denials.state().reported_partitions, 64);
    replica.link.subscribe(0);
    assert_eq!(source().await, Source::Store);
    replica.link.subscribe(2);
    assert_eq!((source().await, source().await), (Source::Store, Source::Cache));
    // A reply to what was asked before.
    let other = limit_of_another_name();
    replica.denials.decide(&take(&other, 1)).await.unwrap();
    let asked = take(&other, 1);
    let mut reply = pin!(replica.denials.decide(&asked));
    let mut context = Context::from_waker(Waker::noop());
    assert!(reply.as_mut().poll(&mut context).is_pending());
    replica.link.subscribe(3);
    assert!(reply.as_mut().poll(&mut context).is_ready());
    let again = replica.denials.decide(&asked).await.unwrap();
    assert_eq!(again.source(), Source::Store);
}

fn limit_of_another_name() -> Arc<Limit> {
    limit("other", "1/day", 1)
}

#[tokio::test]
async fn a_change_of_the_rate_ends_it() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let slow = limit("a", "1/day", 1);
    for _ in 0..2 {
        replica.denials.decide(&take(&slow, 1)).await.unwrap();
    }
    let decision = replica.denials.decide(&take(&limit("a", "2/day", 1), 1)).await.unwrap();
    assert_eq!(decision.source(), Source::Store);
    let decision = replica.denials.decide(&take(&limit("a", "2/day", 9), 1)).await.unwrap();
    assert_eq!(decision.source(), Source::Cache, "another burst is no change of what is there");
}

#[tokio::test]
async fn every_bucket_of_a_check_has_to_be_known() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let (own, all) = (limit("own", "1/day", 1), limit("all", "1/second", 100));
    let both = take(&own, 1).with(&all, client(7), Cost::ONE);
    replica.denials.decide(&both).await.unwrap();
    let denial = replica.denials.decide(&both).await.unwrap();
    let again = replica.denials.decide(&both).await.unwrap();
    assert_eq!((again.source(), again.verdicts()), (Source::Cache, denial.verdicts()));
    assert_eq!(again.binding().unwrap().limit, own);
    let third = both.clone().with(&limit("third", "1/day", 1), client(0), Cost::ONE);
    assert_eq!(replica.denials.decide(&third).await.unwrap().source(), Source::Store);
    let alone = take(&own, 1);
    assert_eq!(replica.denials.decide(&alone).await.unwrap().source(), Source::Cache);
    // Of the other bucket it is not known that it has too few tokens.
    let many = take(&own, 1).with(&all, client(7), Cost::new(100).unwrap());
    assert_eq!(replica.denials.decide(&many).await.unwrap().source(), Source::Store);
}

#[tokio::test]
async fn a_limit_that_never_denies_is_decided_by_the_store() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let limit = limit("a", "1/day", 1);
    let shadow = Arc::new((*limit).clone().with_mode(Mode::Shadow));
    for _ in 0..3 {
        let decision = replica.denials.decide(&take(&shadow, 1)).await.unwrap();
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Store));
    }
    replica.denials.decide(&take(&limit, 1)).await.unwrap();
    let decision = replica.denials.decide(&take(&shadow, 1)).await.unwrap();
    assert!(decision.is_allowed(), "although the bucket is known");
}

#[tokio::test]
async fn of_a_batch_the_store_gets_what_is_not_known() {
    let server = Server::new();
    let replica = Replica::of(&server);
    let (empty, full) = (limit("empty", "1/day", 1), limit("full", "1/day", 9));
    for _ in 0..2 {
        replica.denials.decide(&take(&empty, 1)).await.unwrap();
    }
    let calls = server.calls();
    let batch = [take(&empty, 1), take(&full, 1), take(&empty, 1), take(&full, 8)];
    let sources = replica.denials.decide_all(&batch).await.into_iter().map(|result| {
        let decision = result.unwrap();
        (decision.is_allowed(), decision.source())
    });
    let (denied, allowed) = ((false, Source::Cache), (true, Source::Store));
    assert_eq!(sources.collect::<Vec<_>>(), [denied, allowed, denied, allowed]);
    assert_eq!(server.calls() - calls, 2);
    // What gives back is not overtaken.
    let batch = [check(Action::GiveBack, &empty, 1), take(&empty, 1), take(&empty, 1)];
    let results = replica.denials.decide_all(&batch).await;
    let allowed: Vec<bool> =
        results.into_iter().map(|result| result.unwrap().is_allowed()).collect();
    assert_eq!(allowed, [true, true, false]);
}

#[tokio::test]
async fn the_number_of_buckets_is_bounded() {
    let server = Server::new();
    let replica = Replica::knowing(&server, 128);
    let limit = limit("a", "1/day", 1);
    for number in 0..5_000 {
        let check = Check::new(Action::Take).with(&limit, client(number), Cost::ONE);
        for _ in 0..2 {
            replica.denials.decide(&check).await.unwrap();
        }
    }
    let entries = replica.denials.state().entries;
    assert_eq!(entries, 128);
}
