//! A failover over a real Redis that hangs, crashes, restarts, and becomes read-only.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, OnStoreFailure, Rate, Source, Subject, Tag,
    Tagger,
};
use sluice_store::{
    BreakerState, Failover, RedisSettings, RedisStore, Replica, Store, StoreErrorKind,
};
use sluice_testkit::{RedisServer, ReservedPort, eventually_async};
use tokio::task::JoinSet;

/// A timeout that no call reaches, however slow the machine is.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a replica's store in the Redis at `server`.
fn replica(server: &RedisServer) -> Arc<Failover<RedisStore>> {
    replica_with_timeout(server, TIMEOUT)
}

fn replica_with_timeout(server: &RedisServer, timeout: Duration) -> Arc<Failover<RedisStore>> {
    let settings = RedisSettings::new(server.url()).timeout(timeout);
    Arc::new(Failover::over(RedisStore::new(&settings, ()).unwrap(), timeout))
}

/// Starts a Redis that loses nothing when it is killed.
fn durable() -> RedisServer {
    RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// Returns a limit of one token per hour, so that none comes back while a test counts them.
fn hourly(burst: u64) -> Arc<Limit> {
    let rate = Rate::new("1/hour".parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new("hourly", Algorithm::TokenBucket(rate)).unwrap())
}

fn client(name: &str) -> Tag {
    Tagger::new(b"secret").tag(Subject::Client(name.as_bytes()))
}

fn one(action: Action, limit: &Arc<Limit>, client: Tag) -> Check {
    Check::new(action).with(limit, client, Cost::ONE)
}

async fn take(store: &impl Store, limit: &Arc<Limit>, client: Tag) -> Decision {
    store.decide(&one(Action::Take, limit, client)).await.unwrap()
}

/// Takes `count` tokens, all of which the process decides locally.
async fn take_locally(store: &impl Store, limit: &Arc<Limit>, client: Tag, count: usize) {
    for _ in 0..count {
        let decision = take(store, limit, client).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Local));
    }
}

async fn wait_until_recovered(store: &Failover<RedisStore>) {
    eventually_async("the breaker is closed and nothing is owed", async || {
        let state = store.state();
        state.breaker == BreakerState::Closed && state.owed_buckets == 0
    })
    .await;
}

/// Returns the tokens left in the bucket in Redis.
async fn left(store: &impl Store, limit: &Arc<Limit>, client: Tag) -> u64 {
    let decision = store.decide(&one(Action::Peek, limit, client)).await.unwrap();
    assert_eq!(decision.source(), Source::Store);
    decision.verdicts()[0].remaining
}

#[tokio::test]
async fn a_redis_that_hangs_costs_three_timeouts_and_is_charged_afterwards() {
    let server = RedisServer::start();
    let store = replica_with_timeout(&server, Duration::from_secs(1));
    let (limit, alice) = (hourly(1_000), client("alice"));
    take(&*replica(&server), &limit, alice).await;
    eventually_async("the store responds in time", async || {
        let check = one(Action::Peek, &limit, alice);
        store.decide(&check).await.unwrap().source() == Source::Store
    })
    .await;
    let before = store.state();
    server.pause();
    take_locally(&*store, &limit, alice, 50).await;
    let state = store.state();
    assert_eq!((state.breaker, state.opened), (BreakerState::Open, before.opened + 1));
    assert!(state.errors_of(StoreErrorKind::BreakerOpen) >= 47, "{state:?}");
    server.resume();
    wait_until_recovered(&store).await;
    let spent = 1_000 - left(&*store, &limit, alice).await;
    // Redis may have decided the three checks that waited after it resumed.
    assert!((51..=54).contains(&spent), "{spent}");
    assert_eq!(store.state().charged_tokens, 50);
}

#[tokio::test]
async fn a_redis_that_crashes_and_restarts_is_charged_afterwards() {
    let server = durable();
    let (store, limit, alice) = (replica(&server), hourly(1_000), client("alice"));
    for _ in 0..10 {
        assert_eq!(take(&*store, &limit, alice).await.source(), Source::Store);
    }
    for outage in 1..=2 {
        server.kill();
        take_locally(&*store, &limit, alice, 20).await;
        assert_eq!((store.state().breaker, store.state().opened), (BreakerState::Open, outage));
        server.restart();
        wait_until_recovered(&store).await;
        assert_eq!(left(&*store, &limit, alice).await, 990 - 20 * outage);
    }
}

#[tokio::test]
async fn a_redis_that_starts_after_the_replica_is_used() {
    let server = RedisServer::start();
    server.kill();
    let (store, limit, alice) = (replica(&server), hourly(10), client("alice"));
    assert!(store.probe().await.is_err());
    take_locally(&*store, &limit, alice, 4).await;
    server.restart();
    wait_until_recovered(&store).await;
    store.probe().await.unwrap();
    assert_eq!(left(&*store, &limit, alice).await, 6);
}

#[tokio::test]
async fn a_primary_that_is_read_only_is_unavailable_until_it_accepts_writes() {
    let dead = ReservedPort::new();
    let dead = dead.number().to_string();
    for (make_read_only, make_writable) in [
        (["REPLICAOF", "127.0.0.1", &dead].as_slice(), ["REPLICAOF", "NO", "ONE"].as_slice()),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ] {
        let server = RedisServer::start();
        let (store, limit, alice) = (replica(&server), hourly(100), client("alice"));
        take(&*store, &limit, alice).await;
        server.command(make_read_only);
        take_locally(&*store, &limit, alice, 20).await;
        let state = store.state();
        assert_eq!(state.breaker, BreakerState::Open, "{make_read_only:?}");
        assert_eq!(
            state.last_failure.unwrap().1.kind(),
            StoreErrorKind::Refused,
            "{make_read_only:?}"
        );
        assert!(store.probe().await.is_err(), "it responds, but would not decide");
        server.command(make_writable);
        wait_until_recovered(&store).await;
        assert_eq!(left(&*store, &limit, alice).await, 79, "{make_read_only:?}");
    }
}

#[tokio::test]
async fn a_redis_that_lost_its_scripts_is_charged_too() {
    let server = RedisServer::start();
    let (store, limit, alice) = (replica(&server), hourly(100), client("alice"));
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    take_locally(&*store, &limit, alice, 5).await;
    server.command(&["SCRIPT", "FLUSH"]);
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    wait_until_recovered(&store).await;
    assert_eq!(left(&*store, &limit, alice).await, 95);
}

#[tokio::test]
async fn each_limit_follows_its_on_store_failure_while_redis_is_down() {
    let server = RedisServer::start();
    let (store, alice) = (replica(&server), client("alice"));
    server.kill();
    let limit = |rule| Arc::new(Arc::unwrap_or_clone(hourly(1)).with_on_store_failure(rule));
    let (local, allow, deny, error) = (
        limit(OnStoreFailure::Local),
        limit(OnStoreFailure::Allow),
        limit(OnStoreFailure::Deny),
        limit(OnStoreFailure::Error),
    );
    // More rounds than the breaker needs to open, so that both its states lead to the same results.
    for round in 0..10 {
        assert_eq!(take(&*store, &local, alice).await.is_allowed(), round == 0);
        assert!(take(&*store, &allow, alice).await.is_allowed());
        assert!(take(&*store, &deny, alice).await.is_denied());
        let error = store.decide(&one(Action::Take, &error, alice)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the store is unavailable, and limit `hourly` has `on_store_failure: error`"
        );
    }
}

#[tokio::test]
async fn a_fleet_divides_its_limits_while_redis_is_down() {
    let server = RedisServer::start();
    let (fleet, limit, alice) =
        ([replica(&server), replica(&server), replica(&server)], hourly(10), client("alice"));
    for id in ["a", "b", "c"].repeat(2) {
        let store = &fleet[usize::from(id.as_bytes()[0] - b'a')];
        store.announce(&Replica::new(id, "1")).await.unwrap();
    }
    server.kill();
    let mut admitted = 0;
    for _ in 0..20 {
        for store in &fleet {
            admitted += u64::from(take(&**store, &limit, alice).await.is_allowed());
        }
    }
    assert_eq!(admitted, 9, "three per replica");
    server.restart();
    for store in &fleet {
        wait_until_recovered(store).await;
    }
    assert_eq!(left(&*fleet[0], &limit, alice).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_token_is_charged_when_redis_crashes_and_restarts() {
    const CLIENTS: usize = 20;
    const TASKS: usize = 64;
    const BURST: u64 = 400_000;
    let server = durable();
    let (fleet, limit) = ([replica(&server), replica(&server)], hourly(BURST));
    let clients: Arc<[Tag]> = (0..CLIENTS).map(|number| client(&number.to_string())).collect();
    let admitted: Arc<[AtomicU64]> = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
    let (done, decided_locally) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, limit, clients) =
            (Arc::clone(&fleet[task % 2]), Arc::clone(&limit), Arc::clone(&clients));
        let (admitted, done, decided_locally) =
            (Arc::clone(&admitted), Arc::clone(&done), Arc::clone(&decided_locally));
        tasks.spawn(async move {
            let mut index = task;
            while !done.load(Ordering::Relaxed) {
                index = (index + 1) % CLIENTS;
                let decision = take(&*store, &limit, clients[index]).await;
                assert!(decision.is_allowed());
                admitted[index].fetch_add(1, Ordering::Relaxed);
                if decision.source() == Source::Local {
                    decided_locally.fetch_add(1, Ordering::Relaxed);
                    // A local decision does not wait, so without this pause the task would never
                    // yield to others.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
    }
    for _ in 0..3 {
        let before = admitted[0].load(Ordering::Relaxed);
        eventually_async("Redis has decided some", async || {
            admitted[0].load(Ordering::Relaxed) > before + 5
        })
        .await;
        server.kill();
        let before = decided_locally.load(Ordering::Relaxed);
        eventually_async("the replicas have decided some", async || {
            decided_locally.load(Ordering::Relaxed) > before + 1_000
        })
        .await;
        server.restart();
        for store in &fleet {
            eventually_async("the breaker has closed", async || {
                store.state().breaker == BreakerState::Closed
            })
            .await;
        }
    }
    done.store(true, Ordering::Relaxed);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for store in &fleet {
        wait_until_recovered(store).await;
    }
    let mut spent = 0;
    for (tag, admitted) in clients.iter().zip(&*admitted) {
        let charged = BURST - left(&*fleet[0], &limit, *tag).await;
        let admitted = admitted.load(Ordering::Relaxed);
        assert!(charged >= admitted, "{admitted} tokens were admitted, but only {charged} charged");
        spent += charged - admitted;
    }
    // At each crash, every task had at most one check in flight. Charges were made only to a Redis
    // that had restarted and did not crash until they were complete.
    assert!(spent <= 3 * (TASKS as u64), "{spent} tokens were charged twice");
    assert_eq!(fleet.iter().map(|store| store.state().dropped_tokens).sum::<u64>(), 0);
}
