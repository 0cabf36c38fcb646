//! The key by which replicas know the reservations of each other.

use sluice_testkit::{
    RedisServer, Sluice, SluiceOptions, built_sluice, eventually, eventually_async,
};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT},
    http::Response,
    metrics::Metrics,
};

use crate::desk::{BUDGET, Desk, with_secret};

/// The key in Redis that replicas without a secret agree on.
const AGREED: &str = "sluice:{mm}:reservations";

fn config(redis: &RedisServer, limits: &str) -> String {
    format!("store: {{ url: \"{}\", timeout: 10s }}\n{limits}", redis.url())
}

fn replica(redis: &RedisServer, limits: &str) -> Sluice {
    SluiceOptions::new(built_sluice()).config(config(redis, limits)).start()
}

/// Returns what Redis has under the agreed key, once it has something.
fn agreed(redis: &RedisServer) -> Vec<u8> {
    eventually("replicas have agreed on a key", || {
        let value = redis.command(&["GET", AGREED]);
        match value {
            sluice_testkit::Reply::Bulk(bytes) if !bytes.is_empty() => Some(bytes),
            _ => None,
        }
    })
}

/// Waits until what `one` reserves from now on is known to `two`.
async fn wait_for_agreement(one: &mut Desk, two: &mut Desk) {
    eventually_async("one replica settles what the other one has reserved", async || {
        let held = one.reserve(1).await;
        let settled = two.settle(&held, 1).await;
        if settled.status == 200 { Ok(()) } else { Err(settled.to_string()) }
    })
    .await;
}

#[track_caller]
fn assert_unknown(response: &Response) {
    assert_eq!(
        (response.status, response.problem().as_deref()),
        (404, Some("reservation-unknown")),
        "{response}"
    );
}

#[tokio::test]
async fn replicas_without_a_secret_agree_on_a_key() {
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, BUDGET);
    let mut desks: Vec<_> = fleet.addresses().into_iter().map(Desk::of).collect();
    let [one, two] = &mut desks[..] else { panic!("two replicas") };
    wait_for_agreement(one, two).await;
    wait_for_agreement(two, one).await;
    let key = agreed(&fleet.redis);
    assert_eq!(key.len(), 32);

    let later = replica(&fleet.redis, BUDGET);
    let mut later = Desk::of(later.http_addr());
    wait_for_agreement(one, &mut later).await;
    assert_eq!(agreed(&fleet.redis), key);
}

#[tokio::test]
async fn live_replicas_keep_their_key_when_redis_forgets_it() {
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, BUDGET);
    let mut desks: Vec<_> = fleet.addresses().into_iter().map(Desk::of).collect();
    let [one, two] = &mut desks[..] else { panic!("two replicas") };
    wait_for_agreement(one, two).await;
    let key = agreed(&fleet.redis);
    let held = one.reserve(100).await;

    fleet.redis.command(&["FLUSHALL"]);
    assert_eq!(agreed(&fleet.redis), key);
    assert_eq!(two.settled(&held, 150).await, "late");

    fleet.redis.kill();
    fleet.redis.restart();
    assert_eq!(agreed(&fleet.redis), key);
    wait_for_agreement(two, one).await;
}

#[tokio::test]
async fn a_restarted_replica_without_a_secret_takes_the_agreed_key() {
    let redis = RedisServer::start();
    let sluice = replica(&redis, BUDGET);
    let key = agreed(&redis);
    let held = Desk::of(sluice.http_addr()).reserve(100).await;
    sluice.sigkill();
    sluice.restart();
    let mut desk = Desk::of(sluice.http_addr());
    eventually_async("what was reserved before the restart is known", async || {
        desk.settle(&held, 40).await.status == 200
    })
    .await;
    assert_eq!(desk.left().await, 2_960);
    assert_eq!(agreed(&redis), key);
}

#[tokio::test]
async fn what_was_reserved_under_another_secret_is_settled_after_a_reload() {
    let [old, new, newer, newest] =
        ["the old secret", "the new secret", "a newer secret", "the newest secret"]
            .map(|secret| with_secret(secret, BUDGET));
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &old);
    let mut desks: Vec<_> = fleet.addresses().into_iter().map(Desk::of).collect();
    let [one, two] = &mut desks[..] else { panic!("two replicas") };
    let held = one.reserve(1_000).await;
    let later = one.reserve(10).await;

    let reload = async |desk: &mut Desk, replica: &Sluice, limits: &str| {
        let before = reloads(desk).await;
        replica.rewrite_config(&config(&fleet.redis, limits));
        eventually_async("the secret has changed", async || reloads(desk).await > before).await;
    };
    reload(one, &fleet.replicas[0], &new).await;
    assert_unknown(&two.settle(&one.reserve(1).await, 1).await);
    reload(two, &fleet.replicas[1], &new).await;
    assert_eq!(two.left().await, 2_999, "a new secret is a new bucket");
    let settled = two.settle(&held, 400).await;
    assert_eq!((settled.status, &settled.json()["state"]), (200, &"settled".into()), "{settled}");
    assert_eq!(settled.json()["given_back"]["tokens"], 600);
    let held = one.reserve(1).await;
    assert_eq!(two.settled(&held, 1).await, "settled");
    assert_unknown(&Desk::of(replica(&fleet.redis, &old).http_addr()).settle(&held, 1).await);

    reload(two, &fleet.replicas[1], &newer).await;
    assert_eq!(two.settled(&later, 10).await, "settled");
    reload(two, &fleet.replicas[1], &newest).await;
    assert_unknown(&two.settle(&later, 10).await);
}

/// Returns how often a replica has read its configuration again.
async fn reloads(desk: &mut Desk) -> u64 {
    Metrics::of(&mut desk.0).await.count("sluice_config_reloads_total", &[("result", "applied")])
}
