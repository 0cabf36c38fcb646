//! What limits of all algorithms have in common: their keys, their buckets and mixed checks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, AtMost, Bucket, Check, Client, Concurrent, Cost, Epoch, Limit, Policy,
    Quota, Rate, Request, Retry, Rule, Source, Subject, Tag, Tagger, Terms, Timestamp,
};

/// 2026-01-31T23:59:50Z
const NOW: Timestamp = Timestamp::from_unix_micros(1_769_903_990_000_000);
const SECOND_US: i64 = 1_000_000;

fn after(micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(NOW.unix_micros() + micros)
}

fn rate(text: &str) -> Algorithm {
    Algorithm::TokenBucket(text.parse::<Rate>().unwrap())
}

fn quota(text: &str) -> Algorithm {
    Algorithm::Quota(text.parse::<Quota>().unwrap())
}

fn at_most(text: &str) -> Algorithm {
    Algorithm::AtMost(text.parse::<AtMost>().unwrap())
}

fn concurrent(slots: u64) -> Algorithm {
    Algorithm::Concurrent(Concurrent::new(slots).unwrap())
}

fn limit(algorithm: Algorithm) -> Arc<Limit> {
    Arc::new(Limit::new("api", algorithm).unwrap())
}

fn alice() -> Tag {
    Tagger::new(b"").tag(Subject::Client(b"alice"))
}

#[test]
fn only_limits_that_read_the_same_states_have_the_same_key() {
    let key = |algorithm| limit(algorithm).key();
    let others =
        [rate("1/second"), quota("10/day"), at_most("10 per 60s"), concurrent(10)].map(key);
    for (index, one) in others.iter().enumerate() {
        assert!(!others[..index].contains(one), "{one:?} is the key of two algorithms");
    }
    assert_eq!(key(rate("1/second")).as_str(), "api");
    assert_eq!(key(rate("5/hour, burst 2")), others[0]);
    assert_eq!(key(quota("99/month")), others[1], "what is used is kept");
    assert_eq!(key(at_most("99 per 60s")), others[2]);
    assert_ne!(key(at_most("10 per 61s")), others[2], "its slices are others");
    assert_eq!(key(concurrent(99)), others[3]);
    let term = Concurrent::new(10).unwrap().with_term(Duration::from_secs(11));
    assert_ne!(key(Algorithm::Concurrent(term.unwrap())), others[3], "its terms are others");
    let changed = limit(rate("1/second")).with_algorithm(quota("10/day"));
    assert_eq!(changed.key(), others[1]);
}

#[test]
fn a_check_of_all_algorithms_takes_from_all_or_from_none() {
    let limits = [rate("9/day"), quota("8/month"), at_most("7 per 60s"), concurrent(2)].map(limit);
    let take = limits
        .iter()
        .fold(Check::new(Action::Take), |check, limit| check.with(limit, alice(), Cost::ONE));
    let mut buckets = limits.clone().map(|limit| Bucket::full(limit.algorithm(), NOW));
    let remaining = |buckets: &[Bucket]| {
        let settled = |(bucket, limit): (&Bucket, &Arc<Limit>)| {
            bucket.settled(limit.algorithm(), NOW).remaining()
        };
        buckets.iter().zip(&limits).map(settled).collect::<Vec<_>>()
    };
    for left in [[8, 7, 6, 1], [7, 6, 5, 0]] {
        assert!(take.decide(&mut buckets, NOW, Source::Store).is_allowed());
        assert_eq!(remaining(&buckets), left);
    }
    let denied = take.decide(&mut buckets, NOW, Source::Store);
    assert!(denied.is_denied());
    assert_eq!(denied.retry().after_seconds(), Some(1), "nobody knows when a slot is free");
    assert_eq!(denied.binding().unwrap().reset_in, None);
    assert_eq!(remaining(&buckets), [7, 6, 5, 0]);
}

#[test]
fn a_request_takes_one_slot_whatever_it_costs_and_only_if_its_end_is_seen() {
    let flight = Rule::new("flight", Terms::new(concurrent(3)));
    let policy = Policy::builder().limit(flight).build().unwrap();
    let request = Request::new(Client::Key(b"alice"), "GET", "/").with_cost(Cost::new(5).unwrap());
    let check = |request| policy.check(Action::Take, &request).unwrap().check;
    let parts = |check: &Check| {
        check.parts().iter().map(|part| (part.has_slots(), part.cost.tokens())).collect::<Vec<_>>()
    };
    let followed = check(request.followed());
    assert!(parts(&followed).contains(&(true, 1)), "{followed:?}");
    assert!(parts(&check(request)).iter().all(|(has_slots, _)| !has_slots));
}

/// A clock that steps back over the end of a window would find the whole quota otherwise.
#[test]
fn a_window_is_kept_for_a_second_after_its_end() {
    let limit = limit(quota("1/month"));
    let take = Check::new(Action::Take).with(&limit, alice(), Cost::ONE);
    let full = Bucket::full(limit.algorithm(), NOW);
    let (_, used) = take.decide_one(full, NOW, Source::Store);
    let used = used.unwrap();
    for (after_us, is_full) in [(0, false), (10 * SECOND_US, false), (11 * SECOND_US, true)] {
        let now = after(after_us);
        assert_eq!(used.is_full(limit.algorithm(), now), is_full, "after {after_us} us");
        assert_eq!(Epoch::NONE.forgets(&used, limit.algorithm(), now), is_full);
    }
    let kept_until = Epoch::NONE.kept_until(&used.settled(limit.algorithm(), NOW));
    assert_eq!(kept_until, after(11 * SECOND_US));
    let (denied, _) = take.decide_one(used, after(9 * SECOND_US), Source::Store);
    let wait = Duration::from_secs(1);
    assert_eq!(denied.retry(), Retry::After(wait), "the window itself ends in time");
}
