//! What replicas announce to their store: one that may not is told so, and one that finds an older
//! replica with another number of partitions does not serve, since the two would share few buckets.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sluice_testkit::{
    RedisOptions, RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async,
};
use sluice_tests::{http::Client, metrics::Metrics};

const THIRTY: &str = "defaults: { rate: 1/day, burst: 30 }";
const FLEET: &str = "sluice:{mm}:fleet";
const WRONG_CONFIGURATION: i32 = 78;
const MINUTE: i64 = 60_000_000;
/// Far more than a start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes the announcement of a replica with so many partitions, which was there first and last at
/// these times, in microseconds from now.
fn announce(redis: &RedisServer, first: i64, last: i64, partitions: u8) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let now = i64::try_from(now).unwrap();
    let entry = format!(
        "{} {} 0.9.1 keys=2 partitions={partitions} reads=1-5 writes=1-5",
        now + first,
        now + last
    );
    redis.command(&["HSET", FLEET, "api-7", &entry]);
}

fn launch(redis: &RedisServer) -> Sluice {
    let config = format!("store: {{ url: \"{}\", timeout: 10s }}", redis.url());
    SluiceOptions::new(built_sluice()).config(config).launch()
}

#[track_caller]
fn assert_ends_with_conflict(sluice: &Sluice) {
    assert_eq!(sluice.wait_exit(PATIENCE).code(), Some(WRONG_CONFIGURATION), "{}", sluice.log());
    let log = sluice.log();
    let error = log.lines().find(|line| line.starts_with("sluice: store: ")).unwrap_or_default();
    for part in ["`api-7` (version 0.9.1)", "over 16 ", "over 64,", "same version", "store.prefix"]
    {
        assert!(error.contains(part), "{part}: {log}");
    }
}

#[tokio::test]
async fn a_replica_does_not_start_beside_an_older_one_with_other_partitions() {
    let redis = RedisServer::start();
    announce(&redis, -MINUTE, 0, 16);
    let sluice = launch(&redis);
    assert_ends_with_conflict(&sluice);
    assert!(!sluice.log().contains("listening"), "{}", sluice.log());
    assert_eq!(redis.command(&["HKEYS", FLEET]).items().len(), 1, "it has left the fleet");
}

#[tokio::test]
async fn a_replica_starts_beside_a_younger_one_a_silent_one_and_one_with_the_same_partitions() {
    for (first, last, partitions) in
        [(MINUTE, MINUTE, 16), (-2 * MINUTE, -MINUTE, 16), (-MINUTE, 0, 64)]
    {
        let redis = RedisServer::start();
        announce(&redis, first, last, partitions);
        let sluice = launch(&redis);
        sluice.wait_healthy();
        eventually_async("it is ready", async || {
            let ready = Client::of(sluice.http_addr()).get("/ready").await;
            if ready.status == 200 { Ok(()) } else { Err(ready.to_string()) }
        })
        .await;
        assert!(sluice.is_running(), "{first} {last} {partitions}: {}", sluice.log());
        assert!(!redis.command(&["HKEYS", FLEET]).items().is_empty());
    }
}

#[tokio::test]
async fn a_replica_that_starts_before_its_store_stops_when_it_finds_an_older_one_there() {
    let redis = RedisServer::start_with(&["--appendonly", "yes"]);
    // A time in the future counts as now, whenever that is.
    announce(&redis, -MINUTE, 10 * MINUTE, 16);
    redis.kill();
    let sluice = launch(&redis);
    sluice.wait_healthy();
    redis.restart();
    assert_ends_with_conflict(&sluice);
    assert!(sluice.log().contains("listening"), "it served without the store: {}", sluice.log());
}

/// Waits until the replica is ready and warns about announcements, or does not any more.
async fn wait_for_warning(client: &mut Client, status: &str, warns: bool) {
    eventually_async("the replica warns of rejected announcements, or no more", async || {
        let ready = client.get("/ready").await;
        let body = ready.json();
        let warning = body["store"]["warning"].as_str().unwrap_or_default();
        let says_it_all = ["announcements", "too large a share", "old layout", "HSET"]
            .map(|part| warning.contains(part));
        let is_up = ready.status == 200 && body["store"]["status"] == "up";
        if is_up && body["status"] == status && says_it_all == [warns; 4] {
            Ok(())
        } else {
            Err(ready.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn announcements_that_the_store_rejects_are_logged_and_told() {
    let redis = RedisServer::start();
    redis.command(&["SET", FLEET, "no hash"]);
    let config = format!("store: {{ url: \"{}\" }}\n{THIRTY}", redis.url());
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());
    eventually_async("it is logged", async || {
        sluice.log().contains("this replica cannot announce itself")
    })
    .await;
    wait_for_warning(&mut client, "degraded", true).await;
    redis.command(&["ACL", "SETUSER", "default", "-evalsha"]);
    eventually_async("a refusal of another kind is logged too", async || {
        sluice.log().contains("the store refuses this replica")
    })
    .await;
    redis.command(&["ACL", "SETUSER", "default", "+evalsha"]);
    redis.command(&["DEL", FLEET]);
    eventually_async("its end is logged", async || {
        sluice.log().contains("the store accepts this replica again")
    })
    .await;
    wait_for_warning(&mut client, "ready", false).await;
}

#[tokio::test]
async fn a_user_who_may_decide_but_not_announce_is_told() {
    let redis = RedisOptions::new().user("sluice", "password").start();
    redis.command(&["ACL", "SETUSER", "sluice", "-hgetall"]);
    let url = format!("redis://sluice:password@127.0.0.1:{}", redis.port());
    let config = format!("store: {{ url: \"{url}\", timeout: 10s }}\n{THIRTY}");
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());
    wait_for_warning(&mut client, "degraded", true).await;
    let response = client.post("/v1/check", &json!({ "client": "alice" })).await;
    assert_eq!(response.status, 200, "{response}");
    let local = [("source", "local"), ("outcome", "allowed")];
    let metrics = Metrics::of(&mut client).await;
    assert_eq!(metrics.count("sluice_decisions_total", &local), 0, "the store decides");
    redis.command(&["ACL", "SETUSER", "sluice", "+hgetall"]);
    wait_for_warning(&mut client, "ready", false).await;
}

/// Waits until every one of these replicas says that another one has another secret, or that none
/// has.
async fn wait_for_secrets(replicas: &[&Sluice], differ: bool) {
    for sluice in replicas {
        let mut client = Client::of(sluice.http_addr());
        eventually_async("the replica warns of another secret, or no more", async || {
            let ready = client.get("/ready").await;
            let body = ready.json();
            let warning = body["store"]["warning"].as_str().unwrap_or_default();
            let others = Metrics::of(&mut client).await;
            let others = others.count("sluice_replicas_with_another_secret", &[]);
            let status = if differ { "degraded" } else { "ready" };
            let is_so = warning.contains("clients.secret") == differ && body["status"] == status;
            if is_so && others == u64::from(differ) { Ok(()) } else { Err(ready.to_string()) }
        })
        .await;
    }
}

#[tokio::test]
async fn replicas_with_different_secrets_say_so_until_they_have_the_same() {
    let redis = RedisServer::start();
    let with_secret = |secret: &str| {
        let store = format!("store: {{ url: \"{}\", timeout: 10s }}", redis.url());
        format!("{store}\nclients: {{ secret: {secret} }}\n{THIRTY}")
    };
    let start =
        |secret: &str| SluiceOptions::new(built_sluice()).config(with_secret(secret)).start();
    let (one, other) = (start("first-secret"), start("second-secret"));
    wait_for_secrets(&[&one, &other], true).await;
    assert_eq!(one.log().matches("hashes clients with another secret").count(), 1, "{}", one.log());

    let announced = redis.command(&["HVALS", FLEET]);
    for text in [format!("{announced:?}"), one.log(), other.log()] {
        assert!(!text.contains("first-secret") && !text.contains("second-secret"), "{text}");
    }

    other.rewrite_config(&with_secret("first-secret"));
    wait_for_secrets(&[&one, &other], false).await;
    assert!(one.log().contains("with the same secret again"), "{}", one.log());
}
