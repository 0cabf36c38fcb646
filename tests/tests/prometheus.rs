//! A real Prometheus scrapes a fleet: its sums equal the responses that clients got.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    echo::Echo,
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Request},
    metrics::Metrics,
    prometheus::{Prometheus, Series},
};
use tempfile::TempDir;

/// Selects the requests of the test, to the API and to Sluice's own endpoints; Prometheus requests
/// only `/metrics`.
const NOT_METRICS: &str = "endpoint!='/metrics'";
/// Labels the requests of the test that no limit covers.
const LISTED: &str = "metrics: { endpoints: [/a/path] }";

/// Selects the requests of the test in a metric and in its twin for Sluice's own endpoints.
fn both(metric: &str) -> String {
    format!("{{__name__=~'(sluice_)?{metric}',{NOT_METRICS}}}")
}

/// Requests by endpoint, method and status.
type Counts = BTreeMap<(String, String, String), u64>;

/// Returns requests, each with the endpoint and the method under which it is counted.
fn requests() -> Vec<(&'static str, &'static str, Request)> {
    let keyed = |method, path| Request::new(method, path).header("x-api-key", "alice");
    vec![
        ("/api/v1/blueprints", "GET", keyed("GET", "/api/v1/blueprints")),
        ("/api/v1/blueprints", "GET", keyed("GET", "/api/v1/blueprints/17")),
        ("/api/v1/tools/execute", "POST", keyed("POST", "/api/v1/tools/execute").body("{}")),
        ("/a/path", "GET", keyed("GET", "/a/path/of/alice")),
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

/// Sends each request several times to one replica, and counts the responses.
async fn send_all_requests(mut client: Client, counts: &mut Counts) {
    for (endpoint, method, request) in requests().iter().cycle().take(150) {
        let status = client.send(request).await.status.to_string();
        *counts.entry(((*endpoint).to_owned(), (*method).to_owned(), status)).or_default() += 1;
    }
}

async fn counts_in(prometheus: &Prometheus) -> Counts {
    let series = prometheus
        .query(&format!("sum by (endpoint, method, status) ({}) > 0", both("http_requests_total")))
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
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, LISTED);
    let prometheus = Prometheus::start(&fleet.addresses(), &[]).await;
    let mut sent = Counts::new();
    for client in fleet.clients() {
        send_all_requests(client, &mut sent).await;
    }
    // The test kit also requested `/health`, until each replica was up.
    sent.remove(&("/health".to_owned(), "GET".to_owned(), "200".to_owned()));
    eventually_async("Prometheus has scraped every request", async || {
        let mut seen = counts_in(&prometheus).await;
        let health = seen.remove(&("/health".to_owned(), "GET".to_owned(), "200".to_owned()));
        if seen == sent && health >= Some(45) {
            Ok(())
        } else {
            Err(format!("{seen:?}\nin place of {sent:?}"))
        }
    })
    .await;

    let batches: u64 = sent
        .iter()
        .filter(|((endpoint, ..), _)| endpoint == "/v1/check/batch")
        .map(|(_, count)| count)
        .sum();
    let of_status = |wanted: &str| {
        sent.iter()
            .filter(|((.., status), _)| status == wanted)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    assert!(of_status("429") > 100, "{sent:?}");
    // A batch of two checks is one request, whose status is 200 whatever its checks decide.
    let decisions = of_status("200") + of_status("429") - batches + 2 * batches;
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total)").await, decisions);
    assert_eq!(sum(&prometheus, "sum(sluice_decisions_total{source='local'})").await, 0);
    let denied = sum(&prometheus, "sum(sluice_decisions_total{outcome='denied'})").await;
    assert!(
        (of_status("429") + 1..of_status("429") + 2 * batches).contains(&denied),
        "{denied}: checks in batches are denied too"
    );
    assert_eq!(sum(&prometheus, "sum(rate_limit_hits_total)").await, denied);
    for histogram in
        ["http_request_duration_seconds", "http_request_size_bytes", "http_response_size_bytes"]
    {
        let counts = both(&format!("{histogram}_count"));
        let difference = format!("sum({counts}) - sum({})", both("http_requests_total"));
        assert_eq!(sum(&prometheus, &difference).await, 0, "{histogram}");
    }
    let of_api = sum(&prometheus, "sum(http_requests_total)").await;
    let to_api = |endpoint: &str| ["other", "/a/path"].contains(&endpoint);
    let expected =
        sent.iter().filter(|((endpoint, ..), _)| to_api(endpoint) || endpoint.starts_with("/api/"));
    assert_eq!(of_api, expected.map(|(_, count)| count).sum::<u64>(), "{sent:?}");

    eventually_async("every replica is healthy in Prometheus", async || {
        let targets = prometheus.api("targets").await["data"]["activeTargets"].clone();
        let healthy = |target: &Value| target["health"] == "up" && target["lastError"] == "";
        if targets.as_array().unwrap().iter().all(healthy) {
            Ok(())
        } else {
            Err(targets.to_string())
        }
    })
    .await;
    assert_eq!(prometheus.query("sluice_build_info").await.len(), 3);
}

#[tokio::test]
async fn unknown_clients_and_paths_make_no_series() {
    let sluice =
        memory_replica("limits: [{ name: each_org, per: header:x-org, rate: 1/day, burst: 1 }]");
    let mut client = Client::of(sluice.http_addr());
    let series = async |client: &mut Client| {
        Metrics::of(client).await.text().lines().filter(|line| !line.starts_with('#')).count()
    };
    let mut counts = Vec::new();
    // The first scrape adds series for itself, which the second one has.
    for round in 0..3 {
        for number in 0..200 {
            let unique = format!("{round}-{number}");
            let request =
                Request::new(&format!("M{unique}"), &format!("/path/{unique}?query={unique}"));
            let request = request
                .header("x-api-key", &unique)
                .header("x-org", &unique)
                .header("user-agent", &unique);
            assert_eq!(client.send(&request).await.status, 200);
        }
        counts.push(series(&mut client).await);
    }
    assert_eq!(counts[1], counts[2], "unknown methods, paths and clients add no series");
}

/// Returns one event of each kind that a dashboard shows.
fn events() -> Value {
    json!([
        {
            "type": "llm_request", "model": "qwen", "operation": "chat", "status": "success",
            "duration_seconds": 1.2, "tokens_generated": 300, "tokens_consumed": 40,
            "cost": 0.002,
        },
        {
            "type": "blueprint_operation", "operation": "create", "status": "success",
            "blueprint": "web", "resources": 8,
        },
        { "type": "blueprint_validation", "errors": 3 },
        { "type": "deployment", "operation": "create", "phase": "start", "id": "d-1" },
        {
            "type": "deployment", "operation": "create", "phase": "finish", "id": "d-1",
            "status": "success", "duration_seconds": 42.5, "kind": "small", "cost": 1.5,
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

/// Reads a file of the workspace.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Returns each query of each panel, with the panel's name, and with values in place of Grafana's
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
                    ("$namespace", ".*"),
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

/// Writes the rules of `deploy/prometheus` with the evaluation interval of this test.
fn fast_rules() -> TempDir {
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

/// Queries for panels of one's own, as the document "Rate Limiting & Metrics" writes them.
const DOCUMENT_QUERIES: [&str; 3] = [
    "rate(http_request_duration_seconds_sum[5m]) / \nrate(http_request_duration_seconds_count[5m])",
    "rate(llm_tokens_generated_total[1m])",
    "topk(5, rate(rate_limit_hits_total[5m]))",
];

/// Records only targets of the same job that are another program; this test has none.
const OF_OTHER_TARGETS: &str = "job:sluice_other_targets:count";

/// Returns what is wrong with the rules after Prometheus has evaluated them.
async fn errors_of_rules(prometheus: &Prometheus) -> Vec<String> {
    let mut errors = Vec::new();
    let response = prometheus.api("rules").await;
    for rule in response["data"]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
    {
        let name = rule["name"].as_str().unwrap();
        if rule["health"] != "ok" {
            errors.push(rule.to_string());
        } else if rule["type"] == "recording"
            && name != OF_OTHER_TARGETS
            && prometheus.query(name).await.is_empty()
        {
            errors.push(format!("{name} records nothing"));
        // A slow test machine may fire the alerts about latency.
        } else if name.starts_with("Sluice")
            && !name.ends_with("Slow")
            && rule["state"] != "inactive"
        {
            errors.push(format!("{name} fires although the fleet is healthy: {rule}"));
        }
    }
    errors
}

#[tokio::test]
async fn every_panel_has_data_every_rule_is_evaluated_and_a_healthy_fleet_has_no_alerts() {
    let api = Echo::start().await;
    let edge = TempDir::new().unwrap();
    fs::write(
        edge.path().join("edge.yaml"),
        "{ domain: edge, descriptors: [{ key: user, rate_limit: { unit: hour, requests_per_unit: \
         1000 } }] }",
    )
    .unwrap();
    // Every front end, and a gateway beside them.
    let yaml = format!(
        "limits: [{{ name: tried, rate: 1/day, burst: 1, mode: shadow }}]\n\
         gateway: {{ upstream: \"http://{}\", doors: on }}\n\
         rls: {{ files: [\"{}/*.yaml\"] }}\n\
         costs: {{ budget: 1000000 }}\n\
         slos: [{{ name: api, endpoint: /api/**, objective: 99, window: 30d }}]\n",
        api.address(),
        edge.path().display()
    );
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, &yaml);
    let rules = fast_rules();
    let prometheus =
        Prometheus::start(&fleet.addresses(), &[format!("\"{}/*.yml\"", rules.path().display())])
            .await;
    for mut client in fleet.clients() {
        let response = client.post("/v1/events", &events()).await;
        assert_eq!((response.status, &response.json()["refused"]), (202, &json!([])), "{response}");
        let entries = json!([{ "key": "user", "value": "alice" }]);
        let call = json!({ "domain": "edge", "descriptors": [{ "entries": entries }] });
        assert_eq!(client.post("/json", &call).await.status, 200);
        send_all_requests(client, &mut Counts::new()).await;
    }
    for mut client in fleet.clients() {
        // Without the page, costs and objectives are read once a minute.
        assert_eq!(client.get("/monitoring/metrics/summary").await.status, 200);
    }
    let mut panels = panels();
    assert!(panels.len() > 40, "{}", panels.len());
    let document = |query: &&str| ("the document's".to_owned(), (*query).to_owned());
    panels.extend(DOCUMENT_QUERIES.iter().map(document));
    eventually_async("every panel has data", async || {
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
        let errors = errors_of_rules(&prometheus).await;
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
    })
    .await;
}
