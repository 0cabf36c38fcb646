//! A replica's place in its fleet, and costs that are corrected on what was checked.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice::{
    Cost, Decision, Limiter, LimiterError, MemoryStore, Policy, Rate, Rule, RuleCost, Store,
    StoreError,
    store::{Check, Fleet, LiveReplica, Replica, StoreFuture},
};
use tokio::time::sleep;

/// A memory store that counts announcements and departures, and says that there are three replicas.
#[derive(Debug, Default)]
struct ThreeReplicas {
    inner: MemoryStore,
    announced: AtomicUsize,
    departed: AtomicUsize,
}

impl ThreeReplicas {
    fn counts(&self) -> (usize, usize) {
        (self.announced.load(Ordering::SeqCst), self.departed.load(Ordering::SeqCst))
    }
}

impl Store for ThreeReplicas {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.inner.decide(check)
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        self.announced.fetch_add(1, Ordering::SeqCst);
        let live = LiveReplica::new(replica.clone(), Duration::ZERO, Duration::ZERO);
        StoreFuture::ready(Ok(Fleet::new(vec![live; 3])))
    }

    fn depart<'a>(&'a self, _: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        self.departed.fetch_add(1, Ordering::SeqCst);
        StoreFuture::ready(Ok(()))
    }
}

fn limiter(store: &Arc<ThreeReplicas>) -> Limiter {
    let policy = Policy::per_client("60/minute, burst 10".parse().unwrap());
    Limiter::builder(policy).store(Arc::clone(store) as Arc<dyn Store>).build()
}

#[tokio::test(start_paused = true)]
async fn a_member_announces_itself_every_four_seconds_and_leaves_once() {
    let store = Arc::new(ThreeReplicas::default());
    let membership = limiter(&store).join("api-7");
    assert!(membership.replica().id.starts_with("api-7-"));
    sleep(Duration::from_secs(9)).await;
    assert_eq!((store.counts(), membership.live_replicas()), ((3, 0), 3));
    membership.leave().await.unwrap();
    sleep(Duration::from_secs(9)).await;
    assert_eq!(store.counts(), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_membership_stops_the_announcements() {
    let store = Arc::new(ThreeReplicas::default());
    let membership = limiter(&store).join("api-7");
    sleep(Duration::from_secs(1)).await;
    drop(membership);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.counts(), (1, 1));
}

#[tokio::test]
async fn replicas_of_one_name_have_different_ids() {
    let limiter = limiter(&Arc::default());
    let (one, other) = (limiter.join("api"), limiter.join("api"));
    assert_ne!(one.replica().id, other.replica().id);
}

fn remaining(decision: &Decision) -> Vec<u64> {
    decision.verdicts().iter().map(|verdict| verdict.remaining).collect()
}

#[tokio::test]
async fn a_charge_reaches_the_buckets_of_the_check_but_those_with_a_fixed_cost() {
    let rate: Rate = "1/day, burst 100".parse().unwrap();
    let policy = Policy::builder()
        .limit(Rule::new("requests", rate).cost(RuleCost::Fixed(Cost::ONE)))
        .limit(Rule::new("tokens", rate))
        .build()
        .unwrap();
    let limiter = Limiter::builder(policy).build();
    let checked = limiter.check_key_with_cost("alice", 10).await.unwrap();
    // The policy may change, and the check may move to another task.
    limiter.replace_policy(Policy::per_client(rate));
    let charged = tokio::spawn(async move {
        let charged = checked.charge(200).await.unwrap();
        assert_eq!(remaining(&charged), [0]);
        checked.give_back(150).await.unwrap()
    });
    assert_eq!(remaining(&charged.await.unwrap()), [40]);
}

#[tokio::test]
async fn a_cost_above_the_largest_is_an_error() {
    let limiter = Limiter::in_memory("60/minute, burst 10".parse().unwrap());
    let checked = limiter.check_key("alice").await.unwrap();
    assert!(matches!(checked.charge(u64::MAX).await, Err(LimiterError::Cost(_))));
    assert!(limiter.check_key_with_cost("alice", u64::MAX).await.is_err());
    assert!(limiter.check_key("").await.is_err());
}
