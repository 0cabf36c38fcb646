//! Three replicas and one Redis: one limit.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::time::Duration;

use serde_json::json;
use sluice_testkit::{RedisServer, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    audit::Audit,
    crowd::Crowd,
    fleet::{Fleet, PATIENT, alone},
    http::{Client, Request},
    metrics::Metrics,
    subjects,
};

/// How long the crowd is at it: several times as long as the hot bucket needs to run dry.
const LOAD: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_share_one_limit() {
    let fleet = Fleet::start(3, RedisServer::start(), PATIENT, subjects::LIMITS);
    let audit = Audit::begin(fleet.addresses()[0]).await;
    let crowd = Crowd::gather(240, &fleet.addresses(), subjects::all());
    tokio::time::sleep(LOAD / 2).await;
    // As a restarted or replaced server would have: nobody is to notice.
    fleet.redis.command(&["SCRIPT", "FLUSH"]);
    tokio::time::sleep(LOAD / 2).await;
    let story = crowd.disperse().await;

    assert!(
        story.failed.is_empty(),
        "{} requests have no answer: {:?}",
        story.failed.len(),
        story.failed[0]
    );
    subjects::assert_every_window_keeps_its_promise(&story);
    let admitted = audit.assert_that_tokens_add_up(&story).await;
    let promised = subjects::hot().in_window(story.time_in_use_us(subjects::HOT));
    assert!(admitted * 1_000 >= promised * 995, "{admitted} of {promised} tokens were admitted");

    let (mut allowed, mut denied, mut all) = (0, 0, 0);
    for client in &mut fleet.clients() {
        let metrics = Metrics::of(client).await;
        let decided = |labels: &[(&str, &str)]| metrics.count("sluice_decisions_total", labels);
        assert!(decided(&[]) > 0, "every replica decides");
        allowed += decided(&[("outcome", "allowed"), ("source", "store")]);
        denied += decided(&[("outcome", "denied"), ("source", "store")]);
        all += decided(&[]);
    }
    let told =
        |answer: bool| story.asked.iter().filter(|asked| asked.allowed == answer).count() as u64;
    let audited = 2;
    assert_eq!(
        (allowed, denied),
        (told(true) + audited, told(false)),
        "what the replicas counted is what the clients were told"
    );
    assert_eq!(all, allowed + denied, "Redis decided all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_buckets_in_its_memory_keeps_the_promise_too() {
    let sluice = alone(subjects::LIMITS);
    let audit = Audit::begin(sluice.http_addr()).await;
    let crowd = Crowd::gather(120, &[sluice.http_addr()], subjects::all());
    tokio::time::sleep(LOAD / 2).await;
    let story = crowd.disperse().await;
    assert!(
        story.failed.is_empty(),
        "{} requests have no answer: {:?}",
        story.failed.len(),
        story.failed[0]
    );
    subjects::assert_every_window_keeps_its_promise(&story);
    audit.assert_that_tokens_add_up(&story).await;
}

#[tokio::test]
async fn another_prefix_is_another_fleet() {
    let redis = RedisServer::start();
    let url = format!(
        "store: {{ url: \"{}\", timeout: 10s }}\ndefaults: {{ rate: 1/day, burst: 1 }}",
        redis.url()
    );
    let one = alone(&url);
    let other = SluiceOptions::new(built_sluice())
        .config(&url)
        .env("SLUICE__STORE__PREFIX", "other")
        .start();
    let check = json!({ "client": "alice" });
    for (sluice, status) in [(&one, 200), (&other, 200), (&one, 429), (&other, 429)] {
        assert_eq!(Client::of(sluice.http_addr()).post("/v1/check", &check).await.status, status);
    }
    for prefix in ["sluice", "other"] {
        let buckets = redis.command(&["KEYS", &format!("{prefix}:{{*}}:default")]);
        assert_eq!(buckets.items().len(), 1, "{prefix}: {buckets:?}");
    }
}

#[tokio::test]
async fn a_client_has_one_bucket_whatever_the_replica_and_the_door() {
    let fleet =
        Fleet::start(3, RedisServer::start(), PATIENT, "defaults: { rate: 10/day, burst: 10 }");
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
    // Twice around, and each time from another replica: five tokens each.
    for turn in 0..8 {
        let answer = clients[turn % 3].ask(&asks[turn % 4]).await;
        assert_eq!(answer.status, 200, "{answer}");
        left = match answer.header("x-ratelimit-remaining") {
            Some(remaining) => {
                assert_eq!(remaining, (left - 1).to_string(), "{answer}");
                left - 1
            }
            None => {
                let results = &answer.json()["results"];
                assert_eq!(
                    (&results[0]["remaining"], &results[1]["remaining"]),
                    (&json!(left - 1), &json!(left - 2)),
                    "{answer}"
                );
                left - 2
            }
        };
    }
    for client in &mut clients {
        for ask in &asks[..3] {
            assert_eq!(client.ask(ask).await.status, 429, "nothing is left");
        }
    }
}

#[tokio::test]
async fn a_batch_of_a_thousand_checks_is_decided_in_its_order() {
    let fleet =
        Fleet::start(2, RedisServer::start(), PATIENT, "defaults: { rate: 1/day, burst: 2 }");
    let checks: Vec<_> =
        (0..1_000).map(|number| json!({ "client": format!("client-{}", number % 400) })).collect();
    for (client, expected) in fleet.clients().iter_mut().zip([800, 0]) {
        let answer = client.post("/v1/check/batch", &json!({ "checks": checks })).await;
        assert_eq!(answer.status, 200, "{answer}");
        let results = answer.json()["results"].as_array().unwrap().clone();
        let allowed: Vec<_> = results.iter().map(|result| result["status"] == 200).collect();
        assert_eq!(allowed.len(), 1_000);
        assert!(
            allowed[..expected].iter().all(|allowed| *allowed)
                && allowed[expected..].iter().all(|allowed| !allowed),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn replicas_tell_how_many_connections_they_have_to_redis() {
    let fleet = Fleet::start(2, RedisServer::start(), PATIENT, "");
    for client in &mut fleet.clients() {
        assert_eq!(client.post("/v1/check", &json!({ "client": "alice" })).await.status, 200);
    }
    eventually_async("what they tell is what Redis sees", async || {
        let mut told = 0;
        for client in &mut fleet.clients() {
            told +=
                Metrics::of(client).await.count("database_connections", &[("scope", "replica")]);
        }
        // The kit's own question comes over one more.
        let seen = fleet.redis.info("connected_clients").parse::<u64>().unwrap() - 1;
        if told >= 2 && told == seen { Ok(()) } else { Err(format!("{told} told, {seen} seen")) }
    })
    .await;
}
