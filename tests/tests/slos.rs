//! Service level objectives over real replicas: what they count, and what an operator sees of it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "in a test, a failed unwrap is a failed test"
)]

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, Sluice, SluiceOptions, built_sluice, eventually_async};
use sluice_tests::http::{Client, Request};

const SLOS: &str = "\
slos:
  - { name: api, endpoint: '/api/**', objective: 99, window: 30d }
  - { name: fast, endpoint: /api/jobs, objective: 90, window: 7d, latency: 500ms }
  - { name: unused, endpoint: /other, objective: 99.9, window: 30d }
";

fn replica(redis: &RedisServer, more: &str) -> Sluice {
    let url = redis.url();
    let config =
        format!("store: {{ url: {url} }}\nmetrics: {{ endpoints: [/api/jobs] }}\n{SLOS}{more}");
    SluiceOptions::new(built_sluice()).config(config).start()
}

/// Reports `count` requests that got this status and took so long.
async fn report(sluice: &Sluice, endpoint: &str, status: u16, seconds: f64, count: usize) {
    let event = json!({
        "type": "http_request", "method": "GET", "endpoint": endpoint, "status": status,
        "duration_seconds": seconds,
    });
    let events: Vec<Value> = std::iter::repeat_n(event, count).collect();
    let request = Request::post("/v1/events", &Value::from(events));
    let response = Client::of(sluice.http_addr()).send(&request).await;
    assert_eq!(response.status, 202, "{response:?}");
}

async fn page(sluice: &Sluice) -> Value {
    let response = Client::of(sluice.http_addr()).get("/monitoring/slo").await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn replicas_count_for_the_same_objectives_and_show_the_same() {
    let redis = RedisServer::start();
    let (one, other) = (replica(&redis, ""), replica(&redis, ""));
    report(&one, "/api/jobs", 200, 0.1, 700).await;
    report(&other, "/api/jobs/17", 500, 0.1, 5).await;
    report(&other, "/api/jobs", 429, 0.9, 45).await;
    report(&one, "/api/users/3", 204, 2.0, 250).await;
    report(&one, "/elsewhere", 500, 0.1, 100).await;
    for sluice in [&one, &other] {
        eventually_async("every replica shows all requests", async || {
            page(sluice).await["slos"][0]["requests"] == 1_000
        })
        .await;
        let slos = page(sluice).await["slos"].clone();
        let [api, fast, unused] = &slos.as_array().unwrap()[..] else { panic!("{slos}") };
        // 5 of 1,000 failed, of 10 that may.
        assert_eq!((&api["failed"], &api["good_ratio"]), (&json!(5), &json!(0.995)), "{api}");
        assert_eq!(
            api["error_budget"],
            json!({ "requests": 10, "left": 0.5, "burn_rate_last_day": 0.5 })
        );
        // 45 of 750 were slow, of 75 that may be; a quick error is not slow.
        assert_eq!((&fast["requests"], &fast["failed"]), (&json!(750), &json!(45)), "{fast}");
        assert_eq!(
            (&fast["latency_ms"], &fast["error_budget"]["left"]),
            (&json!(500), &json!(0.4))
        );
        // Without requests there is no share, and no number that is none.
        assert_eq!((&unused["requests"], &unused["good_ratio"]), (&json!(0), &Value::Null));
        assert_eq!(unused["error_budget"]["left"], Value::Null);
    }
    let metrics = Client::of(one.http_addr()).get("/metrics").await.text();
    let left = "sluice_slo_error_budget_left_ratio{slo=\"api\"} 0.5";
    assert!(metrics.contains(left), "{left}");
    assert!(!metrics.contains("sluice_slo_good_ratio{slo=\"unused\"}"));
    assert!(metrics.contains("sluice_slo_objective_ratio{slo=\"unused\"} 0.999"));
}

#[tokio::test]
async fn a_changed_objective_counts_at_once_and_keeps_what_was_counted() {
    let redis = RedisServer::start();
    let sluice = replica(&redis, "");
    report(&sluice, "/api/jobs", 200, 0.1, 10).await;
    eventually_async("the first requests are counted", async || {
        page(&sluice).await["slos"][0]["requests"] == 10
    })
    .await;
    let url = redis.url();
    let slo = "{ name: api, endpoint: /elsewhere, objective: 50, window: 7d }";
    sluice.rewrite_config(&format!("store: {{ url: {url} }}\nslos: [{slo}]\n"));
    sluice.sighup();
    eventually_async("the new objective is shown", async || {
        page(&sluice).await["slos"][0]["objective"] == 50.0
    })
    .await;
    report(&sluice, "/elsewhere", 503, 0.1, 10).await;
    eventually_async("the new objective counts", async || {
        page(&sluice).await["slos"][0]["failed"] == 10
    })
    .await;
    let slos = page(&sluice).await["slos"].clone();
    assert_eq!(slos.as_array().unwrap().len(), 1);
    assert_eq!((&slos[0]["requests"], &slos[0]["error_budget"]["left"]), (&json!(20), &json!(0)));
}

#[tokio::test]
async fn the_last_denials_are_shown_without_the_log_of_decisions() {
    let config = "defaults: { rate: 1/day, burst: 1 }\nendpoints: {}\n";
    let sluice = SluiceOptions::new(built_sluice()).config(config).start();
    let mut client = Client::of(sluice.http_addr());
    for status in [200, 429] {
        assert_eq!(client.get("/a").await.status, status);
    }
    let page: Value = client.get("/monitoring/denials").await.json();
    let [denial] = &page["denials"].as_array().unwrap()[..] else { panic!("{page}") };
    assert_eq!(denial["limit"], "default");
    assert!(denial["retry_after"].as_u64().unwrap() > 80_000, "{denial}");
    assert!(!page.to_string().contains("127.0.0.1"), "{page}");
}
