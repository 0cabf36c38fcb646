//! How a replica connects to Redis: with TLS, with users and passwords, and after a password
//! changed.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::fs;

use serde_json::{Value, json};
use sluice_testkit::{
    RedisOptions, RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async,
};
use sluice_tests::http::Client;
use tempfile::TempDir;

const TEN: &str = "defaults: { rate: 10/day, burst: 10 }";

fn start(store: &str) -> Sluice {
    SluiceOptions::new(built_sluice())
        .config(format!("store: {{ timeout: 10s, {store} }}\n{TEN}"))
        .start()
}

async fn ready(sluice: &Sluice) -> Value {
    Client::of(sluice.http_addr()).get("/ready").await.json()
}

async fn take(sluice: &Sluice) -> Value {
    let mut client = Client::of(sluice.http_addr());
    let response = client.post("/v1/check", &json!({ "client": "alice" })).await;
    response.json()["remaining"].clone()
}

fn buckets(redis: &RedisServer) -> usize {
    redis.command(&["KEYS", "sluice:{*}*default"]).items().len()
}

#[tokio::test]
async fn a_redis_with_a_trusted_certificate_is_used() {
    let redis = RedisServer::start_tls();
    let sluice =
        start(&format!("url: \"{}\", ca_file: \"{}\"", redis.url(), redis.ca_file().display()));
    assert_eq!(ready(&sluice).await["status"], "ready");
    assert_eq!((take(&sluice).await, buckets(&redis)), (json!(9), 1));
}

#[tokio::test]
async fn a_redis_with_an_untrusted_certificate_is_not_used() {
    let (redis, other) = (RedisServer::start_tls(), RedisServer::start_tls());
    let sluice =
        start(&format!("url: \"{}\", ca_file: \"{}\"", redis.url(), other.ca_file().display()));
    let ready = ready(&sluice).await;
    assert_eq!(
        (&ready["status"], &ready["store"]["status"]),
        (&json!("unavailable"), &json!("away")),
        "a store that was never reached may still be starting: {ready}"
    );
    assert_eq!(
        (take(&sluice).await, buckets(&redis)),
        (json!(9), 0),
        "the replica decides locally"
    );
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_not_printed() {
    let redis = RedisOptions::new().user("sluice", "right-password").start();
    let sluice =
        start(&format!("url: \"redis://sluice:wrong-password@127.0.0.1:{}\"", redis.port()));
    let ready = ready(&sluice).await;
    assert_eq!(
        (&ready["status"], &ready["store"]["status"]),
        (&json!("unavailable"), &json!("refused")),
        "{ready}"
    );
    assert_eq!(ready["store"]["error"], "the call was rejected");
    let detailed = Client::of(sluice.http_addr()).get("/monitoring/health/detailed").await.json();
    let error = detailed["store"]["error"].as_str().unwrap();
    assert!(
        error.to_lowercase().contains("password") && !error.contains("wrong-password"),
        "{error}"
    );
    assert_eq!(take(&sluice).await, 9);
}

#[tokio::test]
async fn a_user_who_may_not_run_the_scripts_is_refused_until_that_is_mended() {
    let redis = RedisOptions::new().user("sluice", "password").start();
    // The scripts are unknown at first, and each has commands of its own.
    for forbidden in ["script|load", "evalsha", "time", "get", "mget", "set", "del"] {
        redis.command(&["ACL", "SETUSER", "sluice", &format!("-{forbidden}")]);
        let url = format!("redis://sluice:password@127.0.0.1:{}", redis.port());
        let sluice = start(&format!("url: \"{url}\""));
        let refused = ready(&sluice).await;
        assert_eq!(
            (&refused["status"], &refused["store"]["status"]),
            (&json!("unavailable"), &json!("refused")),
            "{forbidden}: {refused}"
        );
        let path = "/monitoring/health/detailed";
        let detailed = Client::of(sluice.http_addr()).get(path).await.json();
        let error = detailed["store"]["error"].as_str().unwrap().to_lowercase();
        assert!(error.contains(forbidden), "{forbidden}: {error}");
        // The others are not needed to announce the replica.
        if ["script|load", "evalsha", "time"].contains(&forbidden) {
            eventually_async("the log says why", async || {
                sluice.log().contains("the store refuses this replica")
            })
            .await;
        }
        redis.command(&["ACL", "SETUSER", "sluice", &format!("+{forbidden}")]);
        eventually_async("the replica is ready", async || {
            ready(&sluice).await["status"] == "ready"
        })
        .await;
    }
}

#[tokio::test]
async fn a_changed_password_is_read_again() {
    let redis = RedisOptions::new().user("sluice", "old-password").start();
    let files = TempDir::new().unwrap();
    let file = files.path().join("password");
    fs::write(&file, "old-password\n").unwrap();
    let sluice = start(&format!(
        "url: \"redis://sluice@127.0.0.1:{}\", password_file: \"{}\"",
        redis.port(),
        file.display()
    ));
    assert_eq!((&ready(&sluice).await["status"], take(&sluice).await), (&json!("ready"), json!(9)));

    redis.command(&["ACL", "SETUSER", "sluice", "resetpass", ">new-password"]);
    fs::write(&file, "new-password\n").unwrap();
    // Redis keeps the connections of a user whose password changed; only new connections need the
    // new password.
    redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    eventually_async("the replica uses the new password", async || {
        ready(&sluice).await["status"] == "ready"
    })
    .await;
    assert_eq!(take(&sluice).await, 8, "from the same bucket");
}
