//! A Redis that loses its memory: it is noticed, and a cold start says what clients have then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Partition, Rate, Subject, Tagger,
};
use sluice_store::{ColdStart, RedisSettings, RedisStore, Replica, Store};
use sluice_testkit::{RedisOptions, RedisServer};

const MINUTE_US: i64 = 60_000_000;

fn start() -> RedisServer {
    RedisOptions::new().movable_clock().start()
}

/// Connects as a replica does: it announces itself.
async fn join(server: &RedisServer, cold_start: ColdStart) -> RedisStore {
    let timeout = Duration::from_secs(60);
    let settings = RedisSettings::new(server.url()).timeout(timeout).cold_start(cold_start);
    let store = RedisStore::new(&settings, ()).unwrap();
    announce(&store).await;
    store
}

async fn announce(store: &RedisStore) {
    store.announce(&Replica::new("one", "1")).await.unwrap();
}

fn daily() -> Arc<Limit> {
    let rate: Rate = "24/day, burst 10".parse().unwrap();
    Arc::new(Limit::new("daily", Algorithm::TokenBucket(rate)).unwrap())
}

async fn act(store: &RedisStore, action: Action, name: &str, cost: u64) -> Decision {
    let client = Tagger::new(b"").tag(Subject::Client(name.as_bytes()));
    let check = Check::new(action).with(&daily(), client, Cost::new(cost).unwrap());
    store.decide(&check).await.unwrap()
}

async fn take(store: &RedisStore, name: &str, cost: u64) -> bool {
    act(store, Action::Take, name, cost).await.is_allowed()
}

fn epoch_keys(server: &RedisServer) -> Vec<String> {
    server.command(&["KEYS", "sluice:{??}:epoch"]).texts()
}

fn epoch(server: &RedisServer, key: &str) -> i64 {
    server.command(&["GET", key]).text().parse().unwrap()
}

#[tokio::test]
async fn a_flushed_server_gives_every_client_a_full_bucket_and_is_counted() {
    let server = start();
    let store = join(&server, ColdStart::Full).await;
    assert!(take(&store, "alice", 10).await && take(&store, "bob", 10).await);
    server.step_clock(MINUTE_US);
    announce(&store).await;
    assert!(!take(&store, "alice", 1).await);
    assert_eq!(store.lost_partitions(), 0, "nothing is lost");

    server.command(&["FLUSHALL"]);
    announce(&store).await;
    assert_eq!(store.lost_partitions(), u64::from(Partition::COUNT));
    assert!(take(&store, "alice", 10).await && take(&store, "bob", 10).await);
    server.step_clock(MINUTE_US);
    announce(&store).await;
    assert_eq!(store.lost_partitions(), u64::from(Partition::COUNT), "one loss counts once");
}

#[tokio::test]
async fn with_an_empty_cold_start_nobody_has_the_burst_again() {
    let server = start();
    let store = join(&server, ColdStart::Empty).await;
    // The memory began long ago, so that unseen buckets are full.
    server.step_clock(24 * 60 * MINUTE_US);
    assert!(take(&store, "alice", 10).await);

    server.restart();
    store.probe().await.unwrap();
    assert_eq!(store.lost_partitions(), u64::from(Partition::COUNT), "a probe finds out too");
    for name in ["alice", "bob"] {
        assert!(!take(&store, name, 1).await, "{name}");
        let peeks = vec![Check::new(Action::Peek), Check::new(Action::Peek)];
        assert!(store.decide_all(&peeks).await.iter().all(Result::is_ok));
    }
    let mut admitted = 0;
    for _ in 0..24 {
        server.step_clock(60 * MINUTE_US);
        admitted += u64::from(take(&store, "alice", 1).await);
    }
    assert_eq!(admitted, 24, "the refill, and nothing of the burst");
    assert!(take(&store, "bob", 10).await, "a day later, an unseen bucket is full");
    assert!(!take(&store, "bob", 1).await);
}

#[tokio::test]
async fn a_replica_that_has_just_started_knows_of_no_loss_but_of_the_epoch() {
    let server = start();
    let first = join(&server, ColdStart::Empty).await;
    server.command(&["FLUSHALL"]);
    announce(&first).await;
    assert_eq!(first.lost_partitions(), 0, "a memory of less than a second is none");
    let second = join(&server, ColdStart::Empty).await;
    assert_eq!(second.lost_partitions(), 0);
    assert!(!take(&second, "alice", 1).await);
}

#[tokio::test]
async fn before_the_first_announcement_an_unseen_bucket_is_full() {
    let server = start();
    join(&server, ColdStart::Empty).await;
    let settings = RedisSettings::new(server.url()).timeout(Duration::from_secs(60));
    let settings = settings.cold_start(ColdStart::Empty);
    let store = RedisStore::new(&settings, ()).unwrap();
    assert!(take(&store, "alice", 10).await);
}

#[tokio::test]
async fn each_partition_has_an_epoch_that_lasts() {
    let server = start();
    let store = join(&server, ColdStart::Full).await;
    let keys = epoch_keys(&server);
    assert_eq!(keys.len(), usize::from(Partition::COUNT));
    let began = epoch(&server, &keys[0]);
    for key in &keys {
        assert_eq!(server.command(&["PTTL", key]).integer(), -1, "{key} does not expire");
        assert_eq!(epoch(&server, key), began, "all of a server begin at once");
    }
    server.step_clock(MINUTE_US);
    announce(&store).await;
    assert_eq!(epoch(&server, &keys[0]), began);

    // One is lost, one is no number, one no text.
    server.command(&["DEL", &keys[1]]);
    server.command(&["SET", &keys[2], "junk"]);
    server.command(&["DEL", &keys[3]]);
    server.command(&["HSET", &keys[3], "a", "b"]);
    announce(&store).await;
    assert_eq!(store.lost_partitions(), 3);
    for key in &keys[1..4] {
        assert!(epoch(&server, key) >= began + MINUTE_US, "{key}");
    }
    assert_eq!(epoch(&server, &keys[0]), began);
}

#[tokio::test]
async fn an_epoch_follows_a_clock_that_steps_back() {
    let server = start();
    let store = join(&server, ColdStart::Empty).await;
    let key = &epoch_keys(&server)[0];
    let began = epoch(&server, key);
    server.step_clock(-60 * MINUTE_US);
    announce(&store).await;
    assert!(epoch(&server, key) < began - 59 * MINUTE_US);
    assert_eq!(store.lost_partitions(), 0, "that is no loss");
    server.step_clock(24 * 60 * MINUTE_US);
    assert!(take(&store, "alice", 10).await);
}

#[tokio::test]
async fn a_full_bucket_outlives_the_time_in_which_an_unseen_one_is_not_full() {
    let server = start();
    let store = join(&server, ColdStart::Empty).await;
    let began = epoch(&server, &epoch_keys(&server)[0]);
    let filled_at = began + daily().rate().unwrap().fill().micros;
    act(&store, Action::Reset, "alice", 0).await;
    act(&store, Action::Reset, "bob", 0).await;
    assert!(take(&store, "bob", 1).await, "the other script");
    let buckets = server.command(&["KEYS", "sluice:{??}*daily"]).texts();
    assert_eq!(buckets.len(), 2);
    for key in &buckets {
        let expires_ms = server.command(&["PEXPIRETIME", key]).integer();
        assert_eq!(expires_ms, (filled_at + 999) / 1_000, "{key}");
    }
    // From then on, a full bucket is deleted as ever.
    server.step_clock(filled_at - began);
    act(&store, Action::Reset, "alice", 0).await;
    act(&store, Action::Reset, "bob", 0).await;
    assert!(server.command(&["KEYS", "sluice:{??}*daily"]).texts().is_empty());
}
