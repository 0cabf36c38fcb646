//! A real Prometheus watches a fleet: what it adds up is what the clients were told.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, PATIENT},
    http::{Client, Request},
    prometheus::{Prometheus, Series},
};

/// What the test asks; Prometheus itself asks all the time.
const OURS: &str = "{endpoint!='/metrics'}";

/// Requests by endpoint, method and status.
type Counts = BTreeMap<(String, String, String), u64>;

/// What each request is, and under which endpoint it is counted.
fn asks() -> Vec<(&'static str, &'static str, Request)> {
    let keyed = |method, path| Request::new(method, path).header("x-api-key", "alice");
    vec![
        ("/api/v1/blueprints", "GET", keyed("GET", "/api/v1/blueprints")),
        ("/api/v1/blueprints", "GET", keyed("GET", "/api/v1/blueprints/17")),
        ("/api/v1/tools/execute", "POST", keyed("POST", "/api/v1/tools/execute").body("{}")),
        ("other", "GET", keyed("GET", "/a/path/of/alice")),
        ("other", "GET", keyed("GET", "/an%2fencoded/slash")),
        ("/v1/check", "POST", Request::post("/v1/check", &json!({ "client": "bob", "path": "/api/v1/blueprints" }))),
        ("/v1/check", "POST", Request::post("/v1/check", &json!({ "klient": "bob" }))),
        ("/v1/check/batch", "POST", Request::post("/v1/check/batch", &json!({ "checks": [{ "client": "bob" }, { "client": "carol" }] }))),
        ("/v1/forward-auth", "GET", keyed("GET", "/v1/forward-auth").header("x-forwarded-uri", "/x")),
        ("/health", "GET", Request::get("/health")),
    ]
}

/// Asks everything of one replica, several times, and counts the answers.
async fn ask_everything(mut client: Client, counts: &mut Counts) {
    for (endpoint, method, ask) in asks().iter().cycle().take(150) {
        let status = client.ask(ask).await.status.to_string();
        *counts.entry(((*endpoint).to_owned(), (*method).to_owned(), status)).or_default() += 1;
    }
}

async fn counted(prometheus: &Prometheus) -> Counts {
    let series = prometheus.query(&format!("sum by (endpoint, method, status) (http_requests_total{OURS}) > 0")).await;
    let key = |label: &str, one: &Series| one.label(label).to_owned();
    series.iter().map(|one| ((key("endpoint", one), key("method", one), key("status", one)), whole(one.value))).collect()
}

fn whole(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap()
}

async fn sum(prometheus: &Prometheus, query: &str) -> u64 {
    prometheus.query(query).await.first().map_or(0, |series| whole(series.value))
}

#[tokio::test]
async fn what_prometheus_adds_up_over_replicas_is_what_clients_were_told() {
    let fleet = Fleet::start(3, RedisServer::start(), PATIENT, "");
    let prometheus = Prometheus::start(&fleet.addresses(), &[]).await;
    let mut told = Counts::new();
    for client in fleet.clients() {
        ask_everything(client, &mut told).await;
    }
    // The test kit asked as well, until each replica was up.
    told.remove(&("/health".to_owned(), "GET".to_owned(), "200".to_owned()));
    eventually_async("Prometheus has seen it all", async || {
        let mut seen = counted(&prometheus).await;
        let health = seen.remove(&("/health".to_owned(), "GET".to_owned(), "200".to_owned()));
        if seen == told && health >= Some(45) { Ok(()) } else { Err(format!("{seen:?}\nin place of {told:?}")) }
    })
    .await;

    let batches: u64 = told.iter().filter(|((endpoint, ..), _)| endpoint == "/v1/check/batch").map(|(_, count)| count).sum();
    let of_status = |wanted: &str| told.iter().filter(|((.., status), _)| status == wanted).map(|(_, count)| count).sum::<u64>();
    assert!(of_status("429") > 100, "{told:?}");
    // A batch of two checks is one request, answered with 200 whatever is decided.
    let decisions = of_status("200") + of_status("429") - batches + 2 * batches;
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total)").await, decisions);
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total{source!='store'})").await, 0);
    let denied = sum(&prometheus, "sum(sluice_decisions_total{outcome='denied'})").await;
    assert!((of_status("429") + 1..of_status("429") + 2 * batches).contains(&denied), "{denied}: batches are denied too");
    assert_eq!(sum(&prometheus, "sum(rate_limit_hits_total)").await, denied);
    for histogram in ["http_request_duration_seconds", "http_request_size_bytes", "http_response_size_bytes"] {
        let difference = format!("sum({histogram}_count{OURS}) - sum(http_requests_total{OURS})");
        assert_eq!(sum(&prometheus, &difference).await, 0, "{histogram}");
    }

    eventually_async("Prometheus finds every replica well", async || {
        let targets = prometheus.api("targets").await["data"]["activeTargets"].clone();
        let well = |target: &Value| target["health"] == "up" && target["lastError"] == "";
        if targets.as_array().unwrap().iter().all(well) { Ok(()) } else { Err(targets.to_string()) }
    })
    .await;
    assert_eq!(prometheus.query("sluice_build_info").await.len(), 3);
}
