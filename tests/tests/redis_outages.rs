//! Replicas and Redis stop, hang and restart under load: every check gets a response, and the
//! promises about limits hold.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::time::Duration;

use serde_json::json;
use sluice_testkit::{RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    audit::Audit,
    buckets,
    fleet::{Fleet, LONG_TIMEOUT},
    http::{Client, Request},
    load::{Load, LoadRecord},
    metrics::Metrics,
    window_limit::{WindowLimit, now},
};
use tokio::task::JoinSet;

const LOAD_TIME: Duration = Duration::from_millis(1_200);
const CLIENTS: usize = 120;
/// Short enough to notice a Redis that hangs, long enough for a Redis on a busy machine.
const SHORT_TIMEOUT: Duration = Duration::from_millis(300);
/// A burst of 30 and almost no refill, so that the expected number of tokens is exact.
const THIRTY: &str = "defaults: { rate: 1/day, burst: 30 }";

/// A Redis that keeps its data over a restart.
fn persistent_redis() -> RedisServer {
    RedisServer::start_with(&["--appendonly", "yes"])
}

#[track_caller]
fn assert_no_failures(record: &LoadRecord) {
    assert!(
        record.failed.is_empty(),
        "{} requests failed: {:?}",
        record.failed.len(),
        record.failed[0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_adds_no_tokens_and_loses_only_those_of_unanswered_requests() {
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, buckets::LIMITS);
    let audit = Audit::begin(fleet.addresses()[0]).await;
    let load = Load::start(CLIENTS, &fleet.addresses(), buckets::all());
    tokio::time::sleep(LOAD_TIME).await;
    load.set_available(1, false);
    fleet.replicas[1].sigkill();
    tokio::time::sleep(LOAD_TIME).await;
    fleet.replicas[1].restart();
    load.set_available(1, true);
    tokio::time::sleep(LOAD_TIME).await;
    let record = load.stop().await;

    assert!(
        record.failed.iter().all(|failed| failed.replica == 1),
        "the other replicas respond: {:?}",
        record.failed
    );
    assert!(record.failed.len() <= CLIENTS / 3, "only requests in flight are lost");
    buckets::assert_every_window_keeps_its_limit(&record);
    audit.assert_that_tokens_add_up(&record).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_is_decided_and_limits_hold_while_redis_restarts() {
    let fleet = Fleet::start(3, persistent_redis(), LONG_TIMEOUT, buckets::LIMITS);
    fleet.wait_for_each_other().await;
    let load = Load::start(CLIENTS, &fleet.addresses(), buckets::all());
    tokio::time::sleep(LOAD_TIME).await;
    let killed = now();
    fleet.redis.kill();
    fleet.wait_for_breakers("open").await;
    fleet.redis.restart();
    fleet.wait_for_breakers("closed").await;
    let recovered = now();
    tokio::time::sleep(LOAD_TIME).await;
    let record = load.stop().await;

    assert_no_failures(&record);
    buckets::assert_windows_keep(&record, |limit| limit, |_, received| received < killed);
    buckets::assert_windows_keep(&record, |limit| limit, |sent, _| sent > recovered);
    // During the outage the shares of the replicas add up to the limit once more.
    let outage_us = recovered - killed;
    buckets::assert_windows_keep(
        &record,
        |limit| limit.with_burst(limit.burst() + limit.in_window(outage_us)),
        |_, _| true,
    );
    for client in &mut fleet.clients() {
        let local = Metrics::of(client)
            .await
            .count("sluice_decisions_total", &[("source", "local"), ("outcome", "allowed")]);
        assert!(local > 0, "each replica decides locally");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_check_is_decided_and_limits_hold_while_redis_hangs() {
    let fleet = Fleet::start(3, RedisServer::start(), SHORT_TIMEOUT, buckets::LIMITS);
    fleet.wait_for_each_other().await;
    let load = Load::start(CLIENTS, &fleet.addresses(), buckets::all());
    tokio::time::sleep(LOAD_TIME).await;
    fleet.redis.pause();
    fleet.wait_for_breakers("open").await;
    fleet.redis.resume();
    fleet.wait_for_breakers("closed").await;
    tokio::time::sleep(LOAD_TIME).await;
    let record = load.stop().await;

    assert_no_failures(&record);
    // On a busy machine a replica may decide locally at other times too, always within its share.
    // All shares together are the limit once more.
    buckets::assert_windows_keep(&record, WindowLimit::twice, |_, _| true);
}

/// Makes checks one after the other, and returns how many were allowed.
async fn take(client: &mut Client, who: &str, times: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..times {
        let response = client.post("/v1/check", &json!({ "client": who })).await;
        assert!(matches!(response.status, 200 | 429), "{who}: {response}");
        admitted += usize::from(response.status == 200);
    }
    admitted
}

/// Returns the tokens that `who` has left, as one replica sees it.
async fn remaining(client: &mut Client, who: &str) -> u64 {
    client
        .post("/v1/check", &json!({ "client": who, "cost": 0 }))
        .await
        .number("x-ratelimit-remaining")
}

#[tokio::test]
async fn while_redis_is_down_each_replica_admits_its_share_and_charges_it_later() {
    let fleet = Fleet::start(3, persistent_redis(), LONG_TIMEOUT, THIRTY);
    fleet.wait_for_each_other().await;
    let mut clients = fleet.clients();
    assert_eq!(take(&mut clients[0], "careful", 6).await, 6);

    fleet.redis.kill();
    for client in &mut clients {
        assert_eq!(take(client, "careful", 5).await, 5);
        assert_eq!(take(client, "greedy", 20).await, 10, "a third of the burst");
    }
    fleet.wait_for_breakers("open").await;
    fleet.redis.restart();
    fleet.wait_for_breakers("closed").await;

    for client in &mut clients {
        let errors = Metrics::of(client).await;
        let of_kind = |kind| errors.count("sluice_store_errors_total", &[("kind", kind)]);
        assert!(of_kind("unreachable") >= 3, "three failures open the breaker");
        assert_eq!(of_kind("breaker_open"), 25 - 3, "the other checks were not sent");
        assert_eq!(remaining(client, "careful").await, 30 - 6 - 3 * 5);
        assert_eq!(remaining(client, "greedy").await, 0);
        assert_eq!(remaining(client, "newcomer").await, 30);
    }
}

#[tokio::test]
async fn replicas_that_start_while_redis_is_down_divide_limits_among_those_that_are_expected() {
    let fleet = Fleet::start_expecting(3, persistent_redis(), LONG_TIMEOUT, 3, THIRTY);
    fleet.redis.kill();
    fleet.replicas.iter().for_each(Sluice::restart);
    let mut clients = fleet.clients();
    let mut admitted = Vec::new();
    for client in &mut clients {
        let seen = Metrics::of(client).await.count("sluice_replicas_live", &[]);
        assert!(seen <= 1, "it has seen no other: {seen}");
        admitted.push(take(client, "greedy", 20).await);
    }
    assert_eq!(admitted, [10, 10, 10], "a third of the burst each");

    fleet.redis.restart();
    fleet.wait_for_breakers("closed").await;
    for client in &mut clients {
        eventually_async("what all of them admitted is charged", async || {
            match remaining(client, "greedy").await {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn tokens_admitted_while_redis_hangs_are_charged_later() {
    let fleet = Fleet::start(3, RedisServer::start(), Duration::from_secs(1), THIRTY);
    fleet.wait_for_each_other().await;
    let mut clients = fleet.clients();
    assert_eq!(take(&mut clients[0], "careful", 6).await, 6);

    fleet.redis.pause();
    // At the same time, since each replica waits for the timeout in its first three checks.
    let mut tasks = JoinSet::new();
    for mut client in fleet.clients() {
        tasks.spawn(async move { take(&mut client, "careful", 5).await });
    }
    assert_eq!(tasks.join_all().await, [5, 5, 5]);
    fleet.wait_for_breakers("open").await;
    fleet.redis.resume();
    fleet.wait_for_breakers("closed").await;

    // Redis may execute what it received while it hung, so those tokens can be taken twice. These
    // are at most three checks of each replica.
    let left = remaining(&mut clients[0], "careful").await;
    assert!((0..=9).contains(&left), "{left}");
    for client in &mut clients {
        assert_eq!(remaining(client, "careful").await, left, "all replicas see the same bucket");
    }
}

#[tokio::test]
async fn a_redis_that_starts_late_is_used_once_it_is_up() {
    let redis = RedisServer::start();
    redis.kill();
    let config = format!("store: {{ url: \"{}\" }}\n{THIRTY}", redis.url());
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());

    let ready = client.get("/ready").await;
    assert_eq!(
        (ready.status, &ready.json()["status"], &ready.json()["store"]["status"]),
        (503, &json!("unavailable"), &json!("away")),
        "a store that was never reached may still be starting"
    );
    assert_eq!(take(&mut client, "alice", 40).await, 30, "alone, its share is the whole limit");

    redis.restart();
    eventually_async("the replica uses Redis", async || {
        client.get("/ready").await.json()["status"] == "ready"
    })
    .await;
    eventually_async("the admitted tokens are charged in Redis", async || {
        let buckets = redis.command(&["KEYS", "sluice:{*}*default"]).items().len();
        if buckets == 1 { Ok(()) } else { Err(format!("{buckets} buckets")) }
    })
    .await;
    eventually_async("Redis decides", async || remaining(&mut client, "bob").await == 30).await;
    assert_eq!(remaining(&mut client, "alice").await, 0);
}

#[tokio::test]
async fn a_fleet_whose_limits_return_errors_is_not_ready_without_redis() {
    let redis = RedisServer::start();
    let config =
        format!("store: {{ url: \"{}\", on_failure: error, timeout: 10s }}\n{THIRTY}", redis.url());
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(take(&mut client, "alice", 5).await, 5);

    redis.kill();
    let response = client.send(&Request::get("/").header("x-api-key", "alice")).await;
    assert_eq!((response.status, response.problem().as_deref()), (503, Some("store-unavailable")));
    let ready = client.get("/ready").await;
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("unavailable")));
    assert_eq!(client.get("/health").await.status, 200, "the process itself is healthy");

    redis.restart();
    eventually_async("the replica is ready again", async || {
        client.get("/ready").await.status == 200
    })
    .await;
    eventually_async("checks are decided again", async || {
        client.send(&Request::get("/").header("x-api-key", "alice")).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn tokens_owed_from_an_outage_are_counted_until_they_are_charged() {
    let fleet = Fleet::start(1, RedisServer::start(), SHORT_TIMEOUT, THIRTY);
    let mut client = fleet.clients().remove(0);
    fleet.redis.pause();
    for name in ["alice", "alice", "bob", "alice", "bob"] {
        assert_eq!(client.post("/v1/check", &json!({ "client": name })).await.status, 200);
    }
    let expect = async |client: &mut Client, owed: u64, charged: u64| {
        eventually_async(
            &format!("{owed} buckets are owed, {charged} tokens charged"),
            async || {
                let metrics = Metrics::of(client).await;
                let counts = [
                    metrics.count("sluice_store_owed_buckets", &[]),
                    metrics.count("sluice_store_charged_tokens_total", &[]),
                ];
                if counts == [owed, charged] { Ok(()) } else { Err(format!("{counts:?}")) }
            },
        )
        .await;
    };
    expect(&mut client, 2, 0).await;
    fleet.redis.resume();
    expect(&mut client, 0, 5).await;
    assert_eq!(Metrics::of(&mut client).await.count("sluice_store_dropped_tokens_total", &[]), 0);
}

#[tokio::test]
async fn a_replica_serves_without_a_store_that_does_not_come() {
    let redis = RedisServer::start();
    redis.kill();
    let config = format!("store: {{ url: \"{}\", wait_at_start: 0s }}\n{THIRTY}", redis.url());
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let ready = Client::of(sluice.http_addr()).get("/ready").await;
    assert_eq!(
        (ready.status, &ready.json()["status"], &ready.json()["store"]["status"]),
        (200, &json!("degraded"), &json!("away"))
    );
}

#[tokio::test]
async fn evictions_of_the_server_are_told() {
    let redis = RedisServer::start();
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]);
    let config = format!("store: {{ url: \"{}\" }}\n{THIRTY}", redis.url());
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());
    eventually_async("the policy is told", async || {
        let ready = client.get("/ready").await;
        let warning = ready.json()["store"]["warning"].to_string();
        let told = (ready.status, ready.json()["status"] == "degraded") == (200, true);
        if told && warning.contains("maxmemory-policy") { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
    assert!(sluice.log().contains("may evict buckets"), "{}", sluice.log());

    // The server evicts other programs' keys too: nobody knows whose are next.
    redis.command(&["CONFIG", "SET", "maxmemory", "3mb"]);
    for key in 0..64 {
        let name = format!("other-{key}");
        redis.command(&["SET", &name, &"x".repeat(100_000), "EX", "1000"]);
    }
    eventually_async("the evictions are counted", async || {
        let metrics = Metrics::of(&mut client).await;
        let evicted = metrics.count("sluice_store_evicted_keys_total", &[]);
        let may_evict = metrics.count("sluice_store_may_evict", &[]);
        if evicted > 0 && may_evict == 1 { Ok(()) } else { Err(evicted) }
    })
    .await;
}

#[tokio::test]
async fn a_flush_of_the_server_is_told() {
    let redis = RedisServer::start();
    let config = format!("store: {{ url: \"{}\" }}\n{THIRTY}", redis.url());
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());
    let keys = || redis.command(&["KEYS", "sluice:{??}:epoch"]).texts();
    eventually_async("the memory of every partition has begun", async || keys().len() == 64).await;
    // A memory of less than a second is none.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(Metrics::of(&mut client).await.count("sluice_store_memory_lost_total", &[]), 0);
    redis.command(&["FLUSHALL"]);
    eventually_async("the loss is counted", async || {
        let metrics = Metrics::of(&mut client).await;
        let lost = metrics.count("sluice_store_memory_lost_total", &[]);
        if lost == 64 { Ok(()) } else { Err(lost) }
    })
    .await;
    let log = sluice.log();
    assert!(log.contains("the store has lost its memory"), "{log}");
    assert!(log.contains("every client has a full bucket now"), "{log}");
}
