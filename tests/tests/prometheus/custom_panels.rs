//! The queries under "Custom Dashboards" of the document "Rate Limiting & Metrics", as it writes
//! them.

use serde_json::{Value, json};
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT},
    http::{Client, Request},
    prometheus::{Prometheus, Series},
};

const RESPONSE_TIME: &str =
    "rate(http_request_duration_seconds_sum[5m]) / \nrate(http_request_duration_seconds_count[5m])";
const TOKENS: &str = "rate(llm_tokens_generated_total[1m])";
const VALIDATION_FAILURES: &str = "rate(blueprint_validation_errors_total[5m]) / \n\
                                   rate(blueprint_operations_total{operation=\"validate\"}[5m])";
const MOST_LIMITED: &str = "topk(5, rate(rate_limit_hits_total[5m]))";

/// One request a day for each of seven endpoints, and 20 for all that is not exempt.
const SOON_EXCEEDED: &str = "\
endpoints:
  /1: { rate: 1/day, burst: 1 }
  /2: { rate: 1/day, burst: 1 }
  /3: { rate: 1/day, burst: 1 }
  /4: { rate: 1/day, burst: 1 }
  /5: { rate: 1/day, burst: 1 }
  /6: { rate: 1/day, burst: 1 }
  /7: { rate: 1/day, burst: 1 }
limits: [{ name: everything, rate: 20/day, burst: 20 }]
exempt: [/health, /7/status, /quiet]
";

async fn start(replicas: usize, yaml: &str) -> (Fleet, Vec<Client>, Prometheus) {
    let fleet = Fleet::start(replicas, RedisServer::start(), LONG_TIMEOUT, yaml);
    let prometheus = Prometheus::start(&fleet.addresses(), &[]).await;
    let clients = fleet.clients();
    (fleet, clients, prometheus)
}

async fn report(client: &mut Client, events: &Value) {
    let response = client.post("/v1/events", events).await;
    assert_eq!((response.status, &response.json()["refused"]), (202, &json!([])), "{response}");
}

/// Waits until `query` has `count` series: a rate sees the growth of a counter that was scraped
/// before.
async fn wait_for_series(prometheus: &Prometheus, query: &str, count: usize) {
    eventually_async(query, async || {
        let series = prometheus.query(query).await;
        if series.len() == count { Ok(()) } else { Err(format!("{series:?}")) }
    })
    .await;
}

#[tokio::test]
async fn every_query_of_the_document_has_data_as_it_is_written() {
    let (_fleet, mut clients, prometheus) = start(1, SOON_EXCEEDED).await;
    let llm = json!({
        "type": "llm_request", "model": "qwen", "operation": "chat", "status": "success",
        "tokens_generated": 300,
    });
    let validated =
        json!({ "type": "blueprint_operation", "operation": "validate", "status": "failure" });
    let errors = json!({ "type": "blueprint_validation", "errors": 3 });
    eventually_async("every query has data", async || {
        let client = &mut clients[0];
        report(client, &json!([llm, validated, errors])).await;
        client.get("/1").await;
        let mut empty = Vec::new();
        for query in [RESPONSE_TIME, TOKENS, VALIDATION_FAILURES, MOST_LIMITED] {
            let series = prometheus.query(query).await;
            if !series.iter().any(|one| one.value > 0.0 && one.value.is_finite()) {
                empty.push(format!("{query}: {series:?}"));
            }
        }
        if empty.is_empty() { Ok(()) } else { Err(empty.join("\n")) }
    })
    .await;
}

#[tokio::test]
async fn the_validation_failure_rate_is_the_number_of_errors_per_validation() {
    let (_fleet, mut clients, prometheus) = start(2, "").await;
    wait_for_series(&prometheus, "blueprint_operations_total{operation='validate'} == 0", 2).await;
    wait_for_series(&prometheus, "blueprint_validation_errors_total == 0", 2).await;
    let operation = |operation: &str, status: &str| {
        let kind = "blueprint_operation";
        json!({ "type": kind, "operation": operation, "status": status })
    };
    let validation = |errors: u64| json!({ "type": "blueprint_validation", "errors": errors });
    // Six errors in four validations, whatever words the application has for their results.
    let first = json!([
        operation("validate", "success"),
        validation(0),
        operation("validate", "failure"),
        validation(5),
        operation("validate", "invalid"),
        validation(1),
        operation("validate", "success"),
        validation(0),
        operation("create", "success"),
        operation("create", "failure"),
    ]);
    report(&mut clients[0], &first).await;
    report(&mut clients[1], &json!([operation("validate", "success"), validation(0)])).await;
    eventually_async("the ratio of each replica", async || {
        let mut series = prometheus.query(VALIDATION_FAILURES).await;
        series.sort_by(|a, b| b.value.total_cmp(&a.value));
        let [first, second] = series.as_slice() else { return Err(format!("{series:?}")) };
        let is = |one: &Series, ratio: f64| {
            one.label("operation") == "validate" && (one.value - ratio).abs() < 1e-9
        };
        if is(first, 1.5) && is(second, 0.0) { Ok(()) } else { Err(format!("{series:?}")) }
    })
    .await;
    // The results keep their words, under another name.
    let failed = "sum(blueprint_operation_results_total{operation='validate',status!='success'})";
    assert_eq!(prometheus.query(failed).await[0].value.to_string(), "2");
}

#[tokio::test]
async fn the_most_limited_endpoints_are_never_exempt_ones() {
    let (_fleet, mut clients, prometheus) = start(1, SOON_EXCEEDED).await;
    let client = &mut clients[0];
    let send = async |client: &mut Client, path: &str, times: usize| {
        let mut denied = 0;
        for _ in 0..times {
            let request = Request::get(path).header("x-api-key", "alice");
            denied += usize::from(client.send(&request).await.status == 429);
        }
        denied
    };
    for path in ["/1", "/2", "/3", "/4", "/5", "/6", "/7"] {
        assert!(send(client, path, 2).await > 0, "{path}");
    }
    wait_for_series(&prometheus, "rate_limit_hits_total > 0", 7).await;
    for (path, times) in
        [("/1", 1), ("/2", 2), ("/3", 3), ("/4", 4), ("/5", 5), ("/6", 6), ("/7", 7)]
    {
        assert_eq!(send(client, path, times).await, times, "{path}");
    }
    // More often than all others, by a client whose every other request is denied.
    for path in ["/quiet", "/quiet/place", "/7/status", "/health"] {
        assert_eq!(send(client, path, 30).await, 0, "{path}");
    }
    let exempt = "http_requests_total{endpoint='/quiet'} >= 60 and on () \
                  http_requests_total{endpoint='/7/status'} >= 30";
    wait_for_series(&prometheus, exempt, 1).await;
    eventually_async("the five endpoints with the most denials", async || {
        let series = prometheus.query(MOST_LIMITED).await;
        let mut endpoints: Vec<_> = series.iter().map(|one| one.label("endpoint")).collect();
        endpoints.sort_unstable();
        if endpoints == ["/3", "/4", "/5", "/6", "/7"] {
            Ok(())
        } else {
            Err(format!("{series:?}"))
        }
    })
    .await;
    // Where fewer than five have a limit, none of them may fill the list.
    let exempt = prometheus.query("rate_limit_hits_total{endpoint=~'/quiet|/7/status|/health'}");
    assert!(exempt.await.is_empty());
}
