//! A failover over a real Redis that hangs, dies, comes back, and refuses to write.
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

/// Long enough that only a Redis that hangs, never a busy machine, runs into it.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A replica with its store at `server`.
fn replica(server: &RedisServer) -> Arc<Failover<RedisStore>> {
    let settings = RedisSettings::new(server.url()).timeout(TIMEOUT);
    Arc::new(Failover::over(RedisStore::new(&settings, ()).unwrap(), TIMEOUT))
}

/// A Redis that forgets nothing when it is killed.
fn durable() -> RedisServer {
    RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// One token an hour, so that no refill blurs what is counted.
fn hourly(burst: u64) -> Arc<Limit> {
    let numbers = Rate::new("1/hour".parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new("hourly", Algorithm::TokenBucket(numbers)).unwrap())
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

/// Takes `count` tokens, all of them in the process.
async fn take_locally(store: &impl Store, limit: &Arc<Limit>, client: Tag, count: usize) {
    for _ in 0..count {
        let decision = take(store, limit, client).await;
        assert_eq!((decision.is_allowed(), decision.source()), (true, Source::Local));
    }
}

async fn is_closed(store: &Failover<RedisStore>) {
    eventually_async("the breaker is closed and nothing is owed", async || {
        let state = store.state();
        state.breaker == BreakerState::Closed && state.owed_buckets == 0
    })
    .await;
}

/// The tokens left in the real bucket, by the store's own word.
async fn left(store: &impl Store, limit: &Arc<Limit>, client: Tag) -> u64 {
    let decision = store.decide(&one(Action::Peek, limit, client)).await.unwrap();
    assert_eq!(decision.source(), Source::Store);
    decision.verdicts()[0].remaining
}

#[tokio::test]
async fn a_redis_that_hangs_costs_three_waits_and_is_told_everything_afterwards() {
    let server = RedisServer::start();
    let (store, limit, alice) = (replica(&server), hourly(1_000), client("alice"));
    take(&*store, &limit, alice).await;
    server.pause();
    take_locally(&*store, &limit, alice, 50).await;
    let state = store.state();
    assert_eq!((state.breaker, state.opened), (BreakerState::Open, 1));
    assert!(state.errors_of(StoreErrorKind::BreakerOpen) >= 47, "{state:?}");
    server.resume();
    is_closed(&store).await;
    let spent = 1_000 - left(&*store, &limit, alice).await;
    // The three that waited may have been taken when Redis woke up, or not.
    assert!((51..=54).contains(&spent), "{spent}");
    assert_eq!(store.state().charged_tokens, 50);
}

#[tokio::test]
async fn a_redis_that_is_killed_and_restarted_is_told_everything_afterwards() {
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
        is_closed(&store).await;
        assert_eq!(left(&*store, &limit, alice).await, 990 - 20 * outage);
    }
}

#[tokio::test]
async fn a_redis_that_is_away_from_the_start_is_found_when_it_comes() {
    let server = RedisServer::start();
    server.kill();
    let (store, limit, alice) = (replica(&server), hourly(10), client("alice"));
    assert!(store.probe().await.is_err());
    take_locally(&*store, &limit, alice, 4).await;
    server.restart();
    is_closed(&store).await;
    store.probe().await.unwrap();
    assert_eq!(left(&*store, &limit, alice).await, 6);
}

#[tokio::test]
async fn a_primary_that_turned_read_only_is_away_until_it_takes_writes_again() {
    let dead = ReservedPort::new();
    let dead = dead.number().to_string();
    for (turn, turn_back) in [
        (["REPLICAOF", "127.0.0.1", &dead].as_slice(), ["REPLICAOF", "NO", "ONE"].as_slice()),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ] {
        let server = RedisServer::start();
        let (store, limit, alice) = (replica(&server), hourly(100), client("alice"));
        take(&*store, &limit, alice).await;
        server.command(turn);
        take_locally(&*store, &limit, alice, 20).await;
        let state = store.state();
        assert_eq!(state.breaker, BreakerState::Open, "{turn:?}");
        assert_eq!(state.last_failure.unwrap().1.kind(), StoreErrorKind::Refused, "{turn:?}");
        assert!(store.probe().await.is_err(), "it answers, but it would not decide");
        server.command(turn_back);
        is_closed(&store).await;
        assert_eq!(left(&*store, &limit, alice).await, 79, "{turn:?}");
    }
}

#[tokio::test]
async fn a_redis_that_forgot_its_scripts_meanwhile_is_told_all_the_same() {
    let server = RedisServer::start();
    let (store, limit, alice) = (replica(&server), hourly(100), client("alice"));
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    take_locally(&*store, &limit, alice, 5).await;
    server.command(&["SCRIPT", "FLUSH"]);
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    is_closed(&store).await;
    assert_eq!(left(&*store, &limit, alice).await, 95);
}

#[tokio::test]
async fn each_limit_answers_as_it_says_while_redis_is_away() {
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
    // Once for each state of the breaker and more, so that asking and not asking give the same
    // answers.
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
async fn a_fleet_shares_its_limits_while_redis_is_away() {
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
    assert_eq!(admitted, 9, "three each");
    server.restart();
    for store in &fleet {
        is_closed(store).await;
    }
    assert_eq!(left(&*fleet[0], &limit, alice).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_token_is_forgotten_when_redis_is_killed_and_restarted() {
    const CLIENTS: usize = 20;
    const TASKS: usize = 64;
    const BURST: u64 = 400_000;
    let server = durable();
    let (fleet, limit) = ([replica(&server), replica(&server)], hourly(BURST));
    let clients: Arc<[Tag]> = (0..CLIENTS).map(|number| client(&number.to_string())).collect();
    let admitted: Arc<[AtomicU64]> = (0..CLIENTS).map(|_| AtomicU64::new(0)).collect();
    let (done, locally) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (store, limit, clients) =
            (Arc::clone(&fleet[task % 2]), Arc::clone(&limit), Arc::clone(&clients));
        let (admitted, done, locally) =
            (Arc::clone(&admitted), Arc::clone(&done), Arc::clone(&locally));
        tasks.spawn(async move {
            let mut place = task;
            while !done.load(Ordering::Relaxed) {
                place = (place + 1) % CLIENTS;
                let decision = take(&*store, &limit, clients[place]).await;
                assert!(decision.is_allowed());
                admitted[place].fetch_add(1, Ordering::Relaxed);
                if decision.source() == Source::Local {
                    locally.fetch_add(1, Ordering::Relaxed);
                    // Local answers are there at once, and would keep everybody else from the
                    // runtime.
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
        let before = locally.load(Ordering::Relaxed);
        eventually_async("the replicas have decided some", async || {
            locally.load(Ordering::Relaxed) > before + 1_000
        })
        .await;
        server.restart();
        for store in &fleet {
            eventually_async("the store is back", async || {
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
        is_closed(store).await;
    }
    let mut spent = 0;
    for (tag, admitted) in clients.iter().zip(&*admitted) {
        let charged = BURST - left(&*fleet[0], &limit, *tag).await;
        let admitted = admitted.load(Ordering::Relaxed);
        assert!(charged >= admitted, "{admitted} were admitted, and only {charged} charged");
        spent += charged - admitted;
    }
    // One check was in flight for each task at each kill; charges were only made to a Redis that
    // had just come back, and stayed.
    assert!(spent <= 3 * (TASKS as u64), "{spent} were charged twice");
    assert_eq!(fleet.iter().map(|store| store.state().dropped_tokens).sum::<u64>(), 0);
}
