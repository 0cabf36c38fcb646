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
    Cost, Decision, Limiter, LimiterError, MemoryStore, Policy, Rate, Rule, RuleCost, Standing,
    Store, StoreError,
    store::{Check, Fleet, Formats, LiveReplica, Replica, StoreFuture},
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

fn limiter(store: &Arc<impl Store>) -> Limiter {
    let policy = Policy::per_client("60/minute, burst 10".parse().unwrap());
    Limiter::builder(policy).store(Arc::clone(store) as Arc<dyn Store>).build()
}

/// A memory store whose announcements fail `failures` times, and then find an older replica that
/// spreads its keys over 16 partitions, each second time.
#[derive(Debug, Default)]
struct BesideAnother {
    inner: MemoryStore,
    failures: usize,
    announced: AtomicUsize,
}

impl Store for BesideAnother {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.inner.decide(check)
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        let Some(succeeded) =
            self.announced.fetch_add(1, Ordering::SeqCst).checked_sub(self.failures)
        else {
            let cause = std::io::Error::other("WRONGTYPE");
            return StoreFuture::ready(Err(StoreError::refused(cause)));
        };
        let own = LiveReplica::new(replica.clone(), Duration::ZERO, Duration::ZERO);
        let mut formats = Formats::CURRENT;
        formats.partitions = 16;
        let other = Replica::new("api-old", "0.9");
        let other =
            LiveReplica::new(other, Duration::from_secs(60), Duration::ZERO).with_formats(formats);
        let replicas = if succeeded % 2 == 0 { vec![other, own] } else { vec![own] };
        StoreFuture::ready(Ok(Fleet::new(replicas)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_with_an_older_replica_stays_once_the_first_announcement_shows_it() {
    let store = Arc::new(BesideAnother { failures: 2, ..BesideAnother::default() });
    let membership = limiter(&store).join("api");
    let mut standing = membership.standing();
    standing.wait_for(|now| matches!(now, Standing::Unlisted(_))).await.unwrap();
    let seen = standing.wait_for(|now| !matches!(now, Standing::Unlisted(_))).await.unwrap();
    let Standing::Conflicting(conflict) = &*seen else { panic!("{:?}", *seen) };
    assert_eq!(
        (conflict.other.id.as_str(), conflict.partitions, conflict.own_partitions),
        ("api-old", 16, Formats::CURRENT.partitions)
    );
    drop(seen);
    sleep(Duration::from_secs(30)).await;
    assert!(store.announced.load(Ordering::SeqCst) > 5, "the other replicas see it");
    assert!(matches!(&*standing.borrow(), Standing::Conflicting(_)));
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_is_listed_already_has_no_conflict() {
    /// The same, one announcement later.
    #[derive(Debug, Default)]
    struct Later(BesideAnother);

    impl Store for Later {
        fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
            self.0.decide(check)
        }

        fn announce<'a>(
            &'a self,
            replica: &'a Replica,
        ) -> StoreFuture<'a, Result<Fleet, StoreError>> {
            if self.0.announced.load(Ordering::SeqCst) == 0 {
                self.0.announced.fetch_add(2, Ordering::SeqCst);
                return StoreFuture::ready(Ok(Fleet::of_one(replica)));
            }
            self.0.announce(replica)
        }
    }

    let store = Arc::new(Later::default());
    let membership = limiter(&store).join("api");
    sleep(Duration::from_secs(30)).await;
    assert!(store.0.announced.load(Ordering::SeqCst) > 5);
    assert!(matches!(&*membership.standing().borrow(), Standing::Listed));
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
    let limiter = limiter(&Arc::new(ThreeReplicas::default()));
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
