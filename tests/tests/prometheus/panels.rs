//! Every panel of the dashboards has data, and every rule is evaluated.

use std::{fs, path::Path};

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    echo::Echo,
    fleet::{Fleet, LONG_TIMEOUT},
    http::Client,
    prometheus::Prometheus,
};
use tempfile::TempDir;

use crate::traffic::{Counts, send_all_requests};

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

/// Records only targets of the same job that are another program; this test has none.
const OF_OTHER_TARGETS: &str = "job:sluice_other_targets:count";

/// Holds tokens, and settles them.
async fn hold(client: &mut Client) {
    let estimate = json!({ "client": "holder", "costs": { "requests": 0, "output_tokens": 100 } });
    let held = client.post("/v1/reserve", &estimate).await;
    assert_eq!(held.status, 200, "{held}");
    let reservation = &held.json()["reservation"];
    let used = json!({ "reservation": reservation, "costs": { "output_tokens": 40 } });
    assert_eq!(client.post("/v1/settle", &used).await.status, 200);
}

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
        "limits:\n\
         - {{ name: tried, rate: 1/day, burst: 1, mode: shadow }}\n\
         - {{ name: tokens, counts: total_tokens, rate: 100000/minute, burst: 200000 }}\n\
         - {{ name: in flight, concurrent: 1000 }}\n\
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
    let panels = panels();
    assert!(panels.len() > 40, "{}", panels.len());
    eventually_async("every panel has data", async || {
        // `increase` sees only what happens between two scrapes.
        for mut client in fleet.clients() {
            hold(&mut client).await;
        }
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
