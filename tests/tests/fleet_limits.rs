//! Three replicas that share one limit through Redis.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::time::Duration;

use serde_json::json;
use sluice_testkit::{RedisServer, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    audit::Audit,
    buckets,
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Request},
    load::Load,
    metrics::Metrics,
};

/// The duration of the load: several times as long as the most used bucket takes to become empty.
const LOAD: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_share_one_limit() {
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, buckets::LIMITS);
    let audit = Audit::begin(fleet.addresses()[0]).await;
    let load = Load::start(240, &fleet.addresses(), buckets::all());
    tokio::time::sleep(LOAD / 2).await;
    // As after a restart of Redis. The replicas must load their scripts again.
    fleet.redis.command(&["SCRIPT", "FLUSH"]);
    tokio::time::sleep(LOAD / 2).await;
    let record = load.stop().await;

    assert!(
        record.failed.is_empty(),
        "{} requests failed: {:?}",
        record.failed.len(),
        record.failed[0]
    );
    buckets::assert_every_window_keeps_its_limit(&record);
    let admitted = audit.assert_that_tokens_add_up(&record).await;
    let allowed = buckets::hot().in_window(record.time_in_use_us(buckets::HOT));
    assert!(admitted * 1_000 >= allowed * 995, "{admitted} of {allowed} tokens were admitted");

    let (mut allowed, mut denied, mut all) = (0, 0, 0);
    for client in &mut fleet.clients() {
        let metrics = Metrics::of(client).await;
        let decided = |labels: &[(&str, &str)]| metrics.count("sluice_decisions_total", labels);
        assert!(decided(&[]) > 0, "every replica decides");
        allowed += decided(&[("outcome", "allowed"), ("source", "store")]);
        denied += decided(&[("outcome", "denied"), ("source", "store")]);
        denied += decided(&[("outcome", "denied"), ("source", "cache")]);
        all += decided(&[]);
    }
    let responses = |response: bool| {
        record.checks.iter().filter(|check| check.allowed == response).count() as u64
    };
    let audited = 2;
    assert_eq!(
        (allowed, denied),
        (responses(true) + audited, responses(false)),
        "the metrics of the replicas equal the responses to clients"
    );
    assert_eq!(all, allowed + denied, "Redis decided all of it, or had decided it before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_memory_store_keeps_the_limit_too() {
    let sluice = memory_replica(buckets::LIMITS);
    let audit = Audit::begin(sluice.http_addr()).await;
    let load = Load::start(120, &[sluice.http_addr()], buckets::all());
    tokio::time::sleep(LOAD / 2).await;
    let record = load.stop().await;
    assert!(
        record.failed.is_empty(),
        "{} requests failed: {:?}",
        record.failed.len(),
        record.failed[0]
    );
    buckets::assert_every_window_keeps_its_limit(&record);
    audit.assert_that_tokens_add_up(&record).await;
}

#[tokio::test]
async fn fleets_with_different_prefixes_share_nothing() {
    let redis = RedisServer::start();
    let url = format!(
        "store: {{ url: \"{}\", timeout: 10s }}\ndefaults: {{ rate: 1/day, burst: 1 }}",
        redis.url()
    );
    let one = memory_replica(&url);
    let other = SluiceOptions::new(built_sluice())
        .config(&url)
        .env("SLUICE__STORE__PREFIX", "other")
        .start();
    let check = json!({ "client": "alice" });
    for (sluice, status) in [(&one, 200), (&other, 200), (&one, 429), (&other, 429)] {
        assert_eq!(Client::of(sluice.http_addr()).post("/v1/check", &check).await.status, status);
    }
    for prefix in ["sluice", "other"] {
        let buckets = redis.command(&["KEYS", &format!("{prefix}:{{*}}*default")]);
        assert_eq!(buckets.items().len(), 1, "{prefix}: {buckets:?}");
    }
}

#[tokio::test]
async fn a_client_has_one_bucket_on_every_replica_and_front_end() {
    let fleet = Fleet::start(
        3,
        RedisServer::start(),
        LONG_TIMEOUT,
        "defaults: { rate: 10/day, burst: 10 }",
    );
    let check = json!({ "client": "alice" });
    let asks = [
        Request::post("/v1/check", &check),
        Request::get("/some/path").header("x-api-key", "alice"),
        Request::get("/v1/forward-auth")
            .header("x-api-key", "alice")
            .header("x-forwarded-uri", "/some/other/path"),
        Request::post("/v1/check/batch", &json!({ "checks": [check, check] })),
    ];
    let mut clients = fleet.clients();
    let mut left = 10;
    // Twice through all replicas, from another one each time: five tokens each.
    for turn in 0..8 {
        let response = clients[turn % 3].send(&asks[turn % 4]).await;
        assert_eq!(response.status, 200, "{response}");
        left = match response.header("x-ratelimit-remaining") {
            Some(remaining) => {
                assert_eq!(remaining, (left - 1).to_string(), "{response}");
                left - 1
            }
            None => {
                let results = &response.json()["results"];
                assert_eq!(
                    (&results[0]["remaining"], &results[1]["remaining"]),
                    (&json!(left - 1), &json!(left - 2)),
                    "{response}"
                );
                left - 2
            }
        };
    }
    for client in &mut clients {
        for ask in &asks[..3] {
            assert_eq!(client.send(ask).await.status, 429, "nothing is left");
        }
    }
}

#[tokio::test]
async fn a_batch_of_a_thousand_checks_is_decided_in_its_order() {
    let fleet =
        Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, "defaults: { rate: 1/day, burst: 2 }");
    let checks: Vec<_> =
        (0..1_000).map(|number| json!({ "client": format!("client-{}", number % 400) })).collect();
    for (client, expected) in fleet.clients().iter_mut().zip([800, 0]) {
        let response = client.post("/v1/check/batch", &json!({ "checks": checks })).await;
        assert_eq!(response.status, 200, "{response}");
        let results = response.json()["results"].as_array().unwrap().clone();
        let allowed: Vec<_> = results.iter().map(|result| result["status"] == 200).collect();
        assert_eq!(allowed.len(), 1_000);
        assert!(
            allowed[..expected].iter().all(|allowed| *allowed)
                && allowed[expected..].iter().all(|allowed| !allowed),
            "{response}"
        );
    }
}

#[tokio::test]
async fn replicas_report_their_connections_to_redis() {
    let fleet = Fleet::start(2, RedisServer::start(), LONG_TIMEOUT, "");
    for client in &mut fleet.clients() {
        assert_eq!(client.post("/v1/check", &json!({ "client": "alice" })).await.status, 200);
    }
    eventually_async("what they tell is what Redis sees", async || {
        let mut expected = 0;
        for client in &mut fleet.clients() {
            expected +=
                Metrics::of(client).await.count("database_connections", &[("scope", "replica")]);
        }
        // The kit's own command uses one more connection.
        let seen = fleet.redis.info("connected_clients").parse::<u64>().unwrap() - 1;
        if expected >= 2 && expected == seen {
            Ok(())
        } else {
            Err(format!("{expected} reported, {seen} open"))
        }
    })
    .await;
}
