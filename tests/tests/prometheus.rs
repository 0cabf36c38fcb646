//! A real Prometheus watches a fleet: what it adds up is what the clients were told.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Request},
    metrics::Metrics,
    prometheus::{Prometheus, Series},
};
use tempfile::TempDir;

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
        (
            "/v1/check",
            "POST",
            Request::post("/v1/check", &json!({ "client": "bob", "path": "/api/v1/blueprints" })),
        ),
        ("/v1/check", "POST", Request::post("/v1/check", &json!({ "klient": "bob" }))),
        (
            "/v1/check/batch",
            "POST",
            Request::post(
                "/v1/check/batch",
                &json!({ "checks": [{ "client": "bob" }, { "client": "carol" }] }),
            ),
        ),
        (
            "/v1/forward-auth",
            "GET",
            keyed("GET", "/v1/forward-auth").header("x-forwarded-uri", "/x"),
        ),
        ("/health", "GET", Request::get("/health")),
    ]
}

/// Asks everything of one replica, several times, and counts the answers.
async fn ask_everything(mut client: Client, counts: &mut Counts) {
    for (endpoint, method, ask) in asks().iter().cycle().take(150) {
        let status = client.send(ask).await.status.to_string();
        *counts.entry(((*endpoint).to_owned(), (*method).to_owned(), status)).or_default() += 1;
    }
}

async fn counted(prometheus: &Prometheus) -> Counts {
    let series = prometheus
        .query(&format!("sum by (endpoint, method, status) (http_requests_total{OURS}) > 0"))
        .await;
    let key = |label: &str, one: &Series| one.label(label).to_owned();
    series
        .iter()
        .map(|one| {
            ((key("endpoint", one), key("method", one), key("status", one)), whole(one.value))
        })
        .collect()
}

fn whole(value: f64) -> u64 {
    format!("{value:.0}").parse().unwrap()
}

async fn sum(prometheus: &Prometheus, query: &str) -> u64 {
    prometheus.query(query).await.first().map_or(0, |series| whole(series.value))
}

#[tokio::test]
async fn the_sums_in_prometheus_equal_the_responses_to_clients() {
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, "");
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
        if seen == told && health >= Some(45) {
            Ok(())
        } else {
            Err(format!("{seen:?}\nin place of {told:?}"))
        }
    })
    .await;

    let batches: u64 = told
        .iter()
        .filter(|((endpoint, ..), _)| endpoint == "/v1/check/batch")
        .map(|(_, count)| count)
        .sum();
    let of_status = |wanted: &str| {
        told.iter()
            .filter(|((.., status), _)| status == wanted)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    assert!(of_status("429") > 100, "{told:?}");
    // A batch of two checks is one request, answered with 200 whatever is decided.
    let decisions = of_status("200") + of_status("429") - batches + 2 * batches;
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total)").await, decisions);
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total{source!='store'})").await, 0);
    let denied = sum(&prometheus, "sum(sluice_decisions_total{outcome='denied'})").await;
    assert!(
        (of_status("429") + 1..of_status("429") + 2 * batches).contains(&denied),
        "{denied}: batches are denied too"
    );
    assert_eq!(sum(&prometheus, "sum(rate_limit_hits_total)").await, denied);
    for histogram in
        ["http_request_duration_seconds", "http_request_size_bytes", "http_response_size_bytes"]
    {
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

#[tokio::test]
async fn unknown_clients_and_paths_make_no_series() {
    let sluice =
        memory_replica("limits: [{ name: everybody, per: header:x-org, rate: 1/day, burst: 1 }]");
    let mut client = Client::of(sluice.http_addr());
    let series = async |client: &mut Client| {
        Metrics::of(client).await.text().lines().filter(|line| !line.starts_with('#')).count()
    };
    let mut counts = Vec::new();
    // The first reading is itself counted, and shows in the second.
    for round in 0..3 {
        for number in 0..200 {
            let unlike = format!("{round}-{number}");
            let ask =
                Request::new(&format!("M{unlike}"), &format!("/path/{unlike}?query={unlike}"));
            let ask = ask
                .header("x-api-key", &unlike)
                .header("x-org", &unlike)
                .header("user-agent", &unlike);
            assert_eq!(client.send(&ask).await.status, 200);
        }
        counts.push(series(&mut client).await);
    }
    assert_eq!(counts[1], counts[2], "whoever asks for whatever, by whatever method, adds nothing");
}

/// What applications report, one event of each kind that a dashboard shows.
fn events() -> Value {
    json!([
        {
            "type": "llm_request", "model": "qwen", "operation": "chat", "status": "success",
            "duration_seconds": 1.2, "tokens_generated": 300, "tokens_consumed": 40,
        },
        {
            "type": "blueprint_operation", "operation": "create", "status": "success",
            "blueprint": "web", "resources": 8,
        },
        { "type": "blueprint_validation", "errors": 3 },
        { "type": "deployment", "operation": "create", "phase": "start", "id": "d-1" },
        {
            "type": "deployment", "operation": "create", "phase": "finish", "id": "d-1",
            "status": "success", "duration_seconds": 42.5,
        },
        {
            "type": "tool_execution", "tool_name": "scale", "status": "success",
            "duration_seconds": 0.2,
        },
        { "type": "connections", "kind": "websocket", "count": 12 },
        { "type": "database_connections", "count": 7 },
        { "type": "cache", "cache": "blueprints", "hit_rate": 0.93 },
    ])
}

/// A file of the workspace.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Every query of every panel, after the panel's name, with what Grafana would put in place of its
/// variables.
fn panels() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for file in ["alma-metrics", "sluice"] {
        let dashboard: Value =
            serde_json::from_str(&read(&format!("deploy/grafana/dashboards/{file}.json"))).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let variables = [
                    ("$__rate_interval", "1m"),
                    ("$__range", "1m"),
                    ("$job", ".*"),
                    ("$instance", ".*"),
                ];
                let query = target["expr"].as_str().unwrap().to_owned();
                let query = variables
                    .iter()
                    .fold(query, |query, (variable, value)| query.replace(variable, value));
                queries.push((format!("{file}: {}", panel["title"]), query));
            }
        }
    }
    queries
}

/// A directory with the rules as they are, but evaluated as often as replicas are scraped here.
fn hurried_rules() -> TempDir {
    let directory = TempDir::new().unwrap();
    for file in ["alma", "recording", "sluice"] {
        let rules = read(&format!("deploy/prometheus/rules/{file}.yml"));
        assert!(rules.contains("interval: 30s"), "{file}");
        fs::write(
            directory.path().join(format!("{file}.yml")),
            rules.replace("interval: 30s", "interval: 500ms"),
        )
        .unwrap();
    }
    directory
}

/// What is wrong with the rules as Prometheus has evaluated them.
async fn troubles_with_rules(prometheus: &Prometheus) -> Vec<String> {
    let mut troubles = Vec::new();
    let response = prometheus.api("rules").await;
    for rule in response["data"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
    {
        let name = rule["name"].as_str().unwrap();
        if rule["health"] != "ok" {
            troubles.push(rule.to_string());
        } else if rule["type"] == "recording" && prometheus.query(name).await.is_empty() {
            troubles.push(format!("{name} records nothing"));
        // How fast this machine is at the moment is not the fleet's fault.
        } else if name.starts_with("Sluice")
            && !name.ends_with("Slow")
            && rule["state"] != "inactive"
        {
            troubles.push(format!("{name} raises an alarm about a fleet that is well: {rule}"));
        }
    }
    troubles
}

#[tokio::test]
async fn every_panel_has_data_every_rule_is_evaluated_and_a_healthy_fleet_has_no_alerts() {
    let fleet = Fleet::start(
        3,
        RedisServer::start(),
        LONG_TIMEOUT,
        "limits: [{ name: tried, rate: 1/day, burst: 1, mode: shadow }]",
    );
    let rules = hurried_rules();
    let prometheus =
        Prometheus::start(&fleet.addresses(), &[format!("\"{}/*.yml\"", rules.path().display())])
            .await;
    for mut client in fleet.clients() {
        let taken = client.post("/v1/events", &events()).await;
        assert_eq!((taken.status, &taken.json()["refused"]), (202, &json!([])), "{taken}");
        ask_everything(client, &mut Counts::new()).await;
    }
    let panels = panels();
    assert!(panels.len() > 40, "{}", panels.len());
    eventually_async("every panel shows something", async || {
        let mut empty = Vec::new();
        for (panel, query) in &panels {
            if prometheus.query(query).await.is_empty() {
                empty.push(format!("{panel}: {query}"));
            }
        }
        if empty.is_empty() { Ok(()) } else { Err(empty.join("\n")) }
    })
    .await;
    eventually_async("every rule is evaluated", async || {
        let troubles = troubles_with_rules(&prometheus).await;
        if troubles.is_empty() { Ok(()) } else { Err(troubles.join("\n")) }
    })
    .await;
}
