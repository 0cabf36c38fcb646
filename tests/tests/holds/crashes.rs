//! What becomes of a hold when a process ends between its reservation and its settlement.

use std::time::{Duration, Instant};

use serde_json::json;
use sluice_testkit::{RedisServer, eventually, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT},
    metrics::Metrics,
};

use crate::desk::{BUDGET, Desk, estimate, reservation, with_secret};

/// A thousand tokens that come back in some seconds, held for a second.
const HEALING: &str = "\
defaults: off
endpoints: {}
limits: [{ name: tokens, counts: total_tokens, rate: 200/second, burst: 1000, hold_for: 1s }]
";

/// The keys of `alice`: her bucket, and the records of her holds.
fn keys(redis: &RedisServer) -> (Vec<String>, Vec<String>) {
    let keys = redis.command(&["KEYS", "sluice:{??}[^:]*"]).texts();
    keys.into_iter().partition(|key| key.len() < 40)
}

#[tokio::test]
async fn what_a_killed_replica_has_reserved_stays_taken_and_heals() {
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, HEALING);
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    one.reserve(1_000).await;
    fleet.replicas[0].sigkill();
    assert_eq!(two.ask(900).await.status, 429, "its tokens stay taken");

    let (buckets, records) = keys(&fleet.redis);
    assert_eq!((buckets.len(), records.len()), (1, 1));
    for key in buckets.iter().chain(&records) {
        let ttl = fleet.redis.command(&["PTTL", key]).integer();
        assert!((1..=6_000).contains(&ttl), "{key} lasts {ttl} ms");
    }
    let ttl = fleet.redis.command(&["PTTL", &records[0]]).integer();
    assert!(ttl <= 2_000, "a record lasts twice as long as its hold: {ttl} ms");
    eventually("nothing is left in Redis", || {
        let left = keys(&fleet.redis);
        if left == (Vec::new(), Vec::new()) { Ok(()) } else { Err(format!("{left:?}")) }
    });
    eventually_async("refill has paid it back", async || two.left().await == 1_000).await;
}

/// Two equal quotas, of which one releases what nobody settles.
const QUOTAS: &str = "\
defaults: off
endpoints: {}
limits:
  - { name: releasing, counts: total_tokens, quota: 1000/year, hold_for: 1s, unsettled: release }
  - { name: charging, counts: total_tokens, quota: 1000/year, hold_for: 1s, unsettled: charge }
";

/// Returns what `alice` has left of the quota that releases, and of the other one.
async fn left_of_both(desk: &mut Desk) -> [u64; 2] {
    let looked = desk.0.post("/v1/check", &json!({ "client": "alice", "cost": 0 })).await;
    let body = looked.json();
    let limits = body["limits"].as_array().unwrap_or_else(|| panic!("{looked}"));
    ["releasing", "charging"].map(|name| {
        let limit = limits.iter().find(|limit| limit["name"] == name);
        limit.and_then(|limit| limit["remaining"].as_u64()).unwrap_or_else(|| panic!("{looked}"))
    })
}

#[tokio::test]
async fn what_a_killed_replica_has_reserved_returns_to_a_quota_that_releases() {
    let limits = with_secret("a secret of the fleet", QUOTAS);
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &limits);
    fleet.wait_for_each_other().await;
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    let before = Instant::now();
    let held = one.reserve(600).await;
    let taken = Instant::now();
    fleet.replicas[0].sigkill();
    let left = left_of_both(&mut two).await;
    // It is held for a second at least.
    if before.elapsed() < Duration::from_secs(1) {
        assert_eq!(left, [400, 400]);
    }
    // And for two at most, from when it was taken.
    tokio::time::sleep(Duration::from_millis(2_100).saturating_sub(taken.elapsed())).await;
    assert_eq!(left_of_both(&mut two).await, [1_000, 400]);
    eventually("the record is gone", || keys(&fleet.redis).1.is_empty());
    // What comes in the end all the same is charged, of the other quota what was used more.
    assert_eq!(two.settled(&held, 300).await, "late");
    assert_eq!(left_of_both(&mut two).await, [700, 400]);
}

#[tokio::test]
async fn what_a_killed_replica_has_reserved_is_settled_by_another_one() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &limits);
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    let held = one.reserve(1_000).await;
    fleet.replicas[0].sigkill();
    assert_eq!(two.settled(&held, 400).await, "settled");
    assert_eq!(two.left().await, 2_600);
}

#[tokio::test]
async fn a_store_that_has_lost_a_hold_charges_the_difference_once() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &limits);
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    let [over, under] = [one.reserve(1_000).await, one.reserve(1_000).await];
    fleet.redis.kill();
    fleet.redis.restart();
    for desk in [&mut one, &mut two] {
        eventually_async("Redis decides again", async || {
            Metrics::of(&mut desk.0)
                .await
                .count("sluice_store_breaker_state", &[("state", "closed")])
                == 1
        })
        .await;
        assert_eq!(desk.left().await, 3_000, "the store has lost its memory");
    }
    // 1,300 were used, of which the new bucket is charged what is more than the estimate.
    assert_eq!(two.settled(&over, 1_300).await, "late");
    assert_eq!(one.settled(&over, 1_300).await, "repeated");
    assert_eq!(one.settle(&over, 1_200).await.status, 409);
    assert_eq!(one.left().await, 2_700);
    // Of the other hold, no more than a full bucket comes back.
    assert_eq!(one.settled(&under, 100).await, "late");
    assert_eq!(two.settled(&under, 100).await, "repeated");
    assert_eq!(one.left().await, 3_000);
}

#[tokio::test]
async fn a_caller_that_ends_has_paid_its_estimate() {
    let fleet = Fleet::start(1, RedisServer::start(), LONG_TIMEOUT, HEALING);
    let mut caller = Desk::of(fleet.addresses()[0]);
    caller.reserve(1_000).await;
    drop(caller);
    let mut desk = Desk::of(fleet.addresses()[0]);
    assert_eq!(desk.ask(900).await.status, 429);
    eventually_async("refill has paid it back", async || desk.left().await == 1_000).await;
    eventually("nothing is left in Redis", || keys(&fleet.redis) == (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_caller_that_did_not_get_its_answer_asks_again_and_pays_once() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, &limits);
    let [mut one, mut two] = [0, 1].map(|index| Desk::of(fleet.addresses()[index]));
    let mut body = estimate(1_000);
    body["id"] = "request-7".into();
    let first = one.0.post("/v1/reserve", &body).await;
    assert_eq!(first.json()["state"], "held");
    // As if that had been lost together with its replica.
    fleet.replicas[0].sigkill();
    let again = two.0.post("/v1/reserve", &body).await;
    assert_eq!(again.json()["state"], "repeated", "{again}");
    assert_eq!(two.left().await, 2_000);
    assert_eq!(two.settled(&reservation(&again), 400).await, "settled");
    assert_eq!(two.left().await, 2_600);
    let settled = two.0.post("/v1/reserve", &body).await;
    assert_eq!((settled.status, settled.problem().as_deref()), (409, Some("hold-conflict")));
}

#[tokio::test]
async fn what_is_settled_too_late_stays_charged_and_an_overrun_is_charged() {
    let limits = BUDGET.replace("hold_for: 1h", "hold_for: 1s");
    let fleet = Fleet::start(1, RedisServer::start(), LONG_TIMEOUT, &limits);
    let mut desk = Desk::of(fleet.addresses()[0]);
    let [under, over] = [desk.reserve(100).await, desk.reserve(100).await];
    eventually("the records are gone", || keys(&fleet.redis).1.is_empty());
    // Redis forgets at the end of the lifetime, in whole milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    let settled = desk.settle(&under, 40).await;
    assert_eq!(settled.json()["state"], "late", "{settled}");
    assert_eq!(settled.json()["charged"]["tokens"], 100, "{settled}");
    for _ in 0..3 {
        desk.settle(&over, 150).await;
    }
    assert!(desk.left().await <= 3_000 - 100 - 150, "nothing comes back");
    let late = Metrics::of(&mut desk.0).await;
    assert!(late.count("sluice_settlements_total", &[("state", "late")]) >= 2);
}
