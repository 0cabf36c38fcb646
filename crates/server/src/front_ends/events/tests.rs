//! Events through the HTTP port.

use std::sync::Arc;

use http::{Request, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use sluice::{
    MemoryStore, Telemetry,
    stats::events::{CustomKind, CustomMetric},
};

use super::*;

const PATH: &str = EventReports::PATH;
use crate::front_ends::fixtures::{Port, PortResponse, json_post};
use sluice_testkit::policies;

/// The port of a process, and its metrics.
struct Process {
    port: Port,
    telemetry: Telemetry,
}

impl Process {
    fn new() -> Self {
        let telemetry = Telemetry::builder().build().unwrap();
        let declared = [
            CustomMetric::new("my_feature_total", CustomKind::Counter, &["operation"]).unwrap(),
            CustomMetric::new("queue_depth", CustomKind::Gauge, &[]).unwrap(),
            CustomMetric::new("job_seconds", CustomKind::Histogram(vec![1.0, 10.0]), &["job"])
                .unwrap(),
        ];
        assert!(telemetry.recorders().custom.declare(&declared).is_empty());
        let port = Port::recording(
            policies::document(),
            Arc::new(MemoryStore::new()),
            telemetry.recorders(),
        );
        Self { port, telemetry }
    }

    async fn report(&self, events: Value) -> PortResponse {
        self.port.post(PATH, events).await
    }

    async fn lines(&self, text: &str) -> PortResponse {
        self.port
            .send(
                Request::post(PATH)
                    .header("content-type", "application/x-ndjson")
                    .body(Body::from(text.to_owned()))
                    .unwrap(),
            )
            .await
    }

    fn metrics(&self) -> String {
        self.telemetry.prometheus().render().unwrap()
    }

    fn assert_metrics(&self, lines: &[&str]) {
        let text = self.metrics();
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line} is not in {text}");
        }
    }
}

fn llm_request() -> Value {
    json!({ "type": "llm_request", "model": "qwen", "operation": "chat", "status": "success",
            "duration_seconds": 1.2, "tokens_generated": 300, "tokens_consumed": 40 })
}

fn http_request() -> Value {
    json!({ "type": "http_request", "method": "GET", "endpoint": "/orders/{id}", "status": 200,
            "duration_seconds": 0.25, "request_bytes": 10, "response_bytes": 700 })
}

fn one_of_each() -> Vec<Value> {
    vec![
        http_request(),
        llm_request(),
        json!({
            "type": "blueprint_operation", "operation": "create", "status": "success",
            "blueprint": "web", "resources": 8,
        }),
        json!({ "type": "blueprint_validation", "errors": 3 }),
        json!({ "type": "deployment", "operation": "create", "phase": "start", "id": "d-1" }),
        json!({ "type": "deployment", "operation": "create", "phase": "start" }),
        json!({
            "type": "deployment", "operation": "create", "phase": "finish", "id": "d-1",
            "status": "success", "duration_seconds": 42.5,
        }),
        json!({ "type": "deployment", "operation": "update", "status": "failure" }),
        json!({
            "type": "tool_execution", "tool_name": "scale", "status": "success",
            "duration_seconds": 0.2,
        }),
        json!({ "type": "connections", "kind": "websocket", "count": 12, "instance": "api-1" }),
        json!({ "type": "database_connections", "count": 7 }),
        json!({ "type": "cache", "cache": "blueprints", "hit_rate": 0.93 }),
        json!({
            "type": "counter", "name": "my_feature_total", "labels": { "operation": "export" },
        }),
        json!({ "type": "gauge", "name": "queue_depth", "value": -17.5 }),
        json!({
            "type": "histogram", "name": "job_seconds", "labels": { "job": "sync" }, "value": 3,
        }),
    ]
}

const ONE_OF_EACH: [&str; 23] = [
    r#"http_requests_total{endpoint="/orders/{id}",method="GET",status="200"} 1"#,
    r#"http_request_duration_seconds_sum{endpoint="/orders/{id}",method="GET"} 0.25"#,
    r#"http_request_size_bytes_sum{endpoint="/orders/{id}",method="GET"} 10"#,
    r#"http_response_size_bytes_sum{endpoint="/orders/{id}",method="GET"} 700"#,
    r#"llm_requests_total{model="qwen",operation="chat",status="success"} 1"#,
    r#"llm_generation_duration_seconds_sum{model="qwen",operation="chat"} 1.2"#,
    r#"llm_tokens_generated_total{model="qwen",operation="chat"} 300"#,
    r#"llm_tokens_consumed_total{model="qwen",operation="chat"} 40"#,
    r#"blueprint_operations_total{operation="create"} 1"#,
    r#"blueprint_operation_results_total{operation="create",status="success"} 1"#,
    r#"blueprint_resources_count{blueprint="web"} 8"#,
    r#"blueprint_validation_errors_total{operation="validate"} 3"#,
    r#"deployment_operations_total{operation="create",status="success"} 1"#,
    r#"deployment_operations_total{operation="update",status="failure"} 1"#,
    r#"deployment_duration_seconds_sum{operation="create"} 42.5"#,
    "active_deployments 1",
    r#"tool_executions_total{status="success",tool_name="scale"} 1"#,
    r#"active_connections{kind="websocket",scope="fleet"} 12"#,
    r#"database_connections{scope="fleet"} 7"#,
    r#"cache_hit_rate{cache="blueprints"} 0.93"#,
    r#"my_feature_total{operation="export"} 1"#,
    "queue_depth -17.5",
    r#"job_seconds_bucket{job="sync",le="10"} 1"#,
];

#[tokio::test]
async fn an_event_an_array_and_lines_are_accepted() {
    for form in ["one by one", "array", "lines", "lines that are called JSON"] {
        let process = Process::new();
        let events = one_of_each();
        let text = events.iter().map(Value::to_string).collect::<Vec<_>>().join("\r\n\n") + "\n";
        let responses = match form {
            "array" => vec![process.report(json!(events)).await],
            "lines" => vec![process.lines(&text).await],
            "lines that are called JSON" => vec![process.port.send(json_post(PATH, text)).await],
            _ => {
                let mut responses = Vec::new();
                for event in &events {
                    responses.push(process.report(event.clone()).await);
                }
                responses
            }
        };
        let accepted: u64 =
            responses.iter().map(|got| got.body["accepted"].as_u64().unwrap()).sum();
        assert_eq!(accepted, 15, "{form}");
        for got in &responses {
            assert_eq!(
                (got.status, &got.body["refused"]),
                (StatusCode::ACCEPTED, &json!([])),
                "{form}"
            );
        }
        process.assert_metrics(&ONE_OF_EACH);
    }
}

#[tokio::test]
async fn an_invalid_event_is_rejected_by_index_and_the_others_are_recorded() {
    let process = Process::new();
    let with_in = |mut event: Value, field: &str, value: Value| {
        event[field] = value;
        event
    };
    let with = |field: &str, value: Value| with_in(llm_request(), field, value);
    let http = |field: &str, value: Value| with_in(http_request(), field, value);
    let without = |field: &str| {
        let mut event = llm_request();
        event.as_object_mut().unwrap().remove(field);
        event
    };
    let bad = [
        (json!(5), "an event must be a JSON object: `{ \"type\": .. }`"),
        (json!([llm_request()]), "an event must be a JSON object"),
        (json!({}), "type: missing: send one of `http_request`, `llm_request`, "),
        (json!({ "type": 7 }), "type: must be a string, not the number 7"),
        (
            with("type", json!("llm_requests")),
            "type: `llm_requests` is not a type of event: send one of ",
        ),
        (without("model"), "missing field `model`"),
        (with("model", json!("")), "model must be 1 to 128 bytes"),
        (with("model", json!("a\u{0}b")), "model must be 1 to 128 bytes"),
        (with("status", json!(200)), "status: must be a string, not the number 200"),
        (with("duration_seconds", json!(-1)), "duration_seconds: -1 is not a duration"),
        (with("duration_seconds", json!(1e12)), "duration_seconds: 1000000000000 is too long"),
        (
            with("tokens_generated", json!(-1)),
            "tokens_generated: must be a whole number of at least 0, not the number -1",
        ),
        (
            with("tokens_generated", json!(1.5)),
            "tokens_generated: must be a whole number of at least 0, not the number 1.5",
        ),
        (
            with("duration_seconds", json!("fast")),
            "duration_seconds: must be a number, not the string \"fast\"",
        ),
        (
            with("tokens_generated", json!(u64::MAX)),
            "tokens_generated: 18446744073709551615 is too large",
        ),
        (with("colour", json!("red")), "colour: unknown field `colour`, expected one of"),
        (http("status", json!(600)), "status: 600 is not an HTTP status: send a number from 100"),
        (http("status", json!(99)), "status: 99 is not an HTTP status"),
        (http("status", json!(70_000)), "status: 70000 is not an HTTP status"),
        (
            http("status", json!("200")),
            "status: must be a whole number of at least 0, not the string \"200\"",
        ),
        (http("endpoint", json!("orders")), "endpoint: must be a path that begins with `/`"),
        (
            http("endpoint", json!(format!("/{}", "x".repeat(8_192)))),
            "endpoint: must be a path that begins with `/`, of at most 8192 bytes",
        ),
        (http("method", json!("")), "method must be 1 to 128 bytes"),
        (http("duration_seconds", json!(-1)), "duration_seconds: -1 is not a duration"),
        (http("duration_seconds", Value::Null), "duration_seconds: must be a number, not null"),
        (http("request_bytes", json!(-1)), "request_bytes: must be a whole number of at least 0"),
        (http("response_bytes", json!(u64::MAX)), "response_bytes: 18446744073709551615 is too"),
        (json!({ "type": "deployment", "operation": "create" }), "status: missing"),
        (
            json!({ "type": "deployment", "operation": "create", "phase": "begin" }),
            "phase: must be `start` or `finish`, not `begin`",
        ),
        (
            json!({
                "type": "deployment", "operation": "create", "phase": "start", "status": "ok",
            }),
            "phase: a deployment that starts",
        ),
        (
            json!({ "type": "connections", "kind": "pigeon", "count": 1 }),
            "kind: must be one of `http`, `websocket`, `grpc`, not `pigeon`",
        ),
        (json!({ "type": "cache", "cache": "a", "hit_rate": 93 }), "hit_rate: 93 is not a share"),
        (
            json!({
                "type": "blueprint_operation", "operation": "a", "status": "b", "resources": 1,
            }),
            "resources: the blueprint is missing",
        ),
        (
            json!({ "type": "counter", "name": "theirs_total" }),
            "no metric `theirs_total` is declared",
        ),
        (
            json!({ "type": "counter", "name": "my_feature_total" }),
            "`my_feature_total` needs exactly the labels `operation`",
        ),
        (
            json!({ "type": "counter", "name": "queue_depth" }),
            "`queue_depth` is declared as a gauge, not as a counter",
        ),
        (
            json!({ "type": "gauge", "name": "queue_depth", "value": "7" }),
            "value: must be a number, not the string \"7\"",
        ),
    ];
    // A valid event before each invalid one.
    let events: Vec<Value> =
        bad.iter().flat_map(|(event, _)| [llm_request(), event.clone()]).collect();
    let text = events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    for got in [process.report(json!(events)).await, process.lines(&text).await] {
        assert_eq!(
            (got.status, got.body["accepted"].as_u64()),
            (StatusCode::ACCEPTED, Some(bad.len() as u64))
        );
        let refused = got.body["refused"].as_array().unwrap();
        assert_eq!(refused.len(), bad.len(), "{}", got.body);
        for (i, ((event, expected), refused)) in bad.iter().zip(refused).enumerate() {
            assert_eq!(refused["index"], 2 * i + 1, "{event}");
            let error = refused["error"].as_str().unwrap();
            assert!(error.starts_with(expected), "{event}: {error}");
        }
    }
    let good = 2 * bad.len();
    process.assert_metrics(&[&format!(
        r#"llm_requests_total{{model="qwen",operation="chat",status="success"}} {good}"#
    )]);
    let broken = process
        .lines("{\"type\":\n{\"type\":\"blueprint_validation\",\"errors\":1}\nnot json\n")
        .await;
    assert_eq!(broken.body["accepted"], 1, "{}", broken.body);
    assert_eq!(
        (&broken.body["refused"][0]["index"], &broken.body["refused"][1]["index"]),
        (&json!(0), &json!(2))
    );
}

#[tokio::test]
async fn a_body_without_events_is_a_problem() {
    let process = Process::new();
    let as_type = |content_type: &str, text: &str| {
        Request::post(PATH)
            .header("content-type", content_type)
            .body(Body::from(text.to_owned()))
            .unwrap()
    };
    let event = llm_request().to_string();
    let many = format!("[{}]", vec!["0"; MAX_EVENTS + 1].join(","));
    for (what, request, status, problem) in [
        ("nothing", json_post(PATH, ""), 400, "malformed-body"),
        ("not JSON", json_post(PATH, "llm_request"), 400, "malformed-body"),
        ("incomplete", json_post(PATH, "[{}, {"), 400, "malformed-body"),
        ("not UTF-8", json_post(PATH, &b"{\"type\":\"\xff\"}"[..]), 400, "malformed-body"),
        (
            "more than one, on one line",
            json_post(PATH, format!("{event} {event}")),
            400,
            "malformed-body",
        ),
        ("too many", json_post(PATH, many.clone()), 400, "too-many-events"),
        (
            "too many lines",
            as_type("application/x-ndjson", &"0\n".repeat(MAX_EVENTS + 1)),
            400,
            "too-many-events",
        ),
        ("too long", json_post(PATH, vec![b' '; MAX_BYTES + 1]), 413, "body-too-large"),
        (
            "too long lines",
            as_type("application/x-ndjson", &" ".repeat(MAX_BYTES + 1)),
            413,
            "body-too-large",
        ),
        (
            "a form",
            as_type("application/x-www-form-urlencoded", &event),
            415,
            "unsupported-media-type",
        ),
        ("a GET", Request::get(PATH).body(Body::empty()).unwrap(), 405, "method-not-allowed"),
    ] {
        let got = process.port.send(request).await;
        assert_eq!(
            (got.status.as_u16(), got.problem()),
            (status, Some(format!("urn:sluice:problem:{problem}").as_str())),
            "{what}: {}",
            got.body
        );
    }
    assert!(!process.metrics().contains("llm_requests_total{"));
    let nothing = process.report(json!([])).await;
    assert_eq!(
        (nothing.status, nothing.body),
        (StatusCode::ACCEPTED, json!({ "accepted": 0, "refused": [] }))
    );
    let full =
        process.port.send(json_post(PATH, format!("[{}]", vec!["0"; MAX_EVENTS].join(",")))).await;
    assert_eq!(
        (full.status, full.body["refused"].as_array().unwrap().len()),
        (StatusCode::ACCEPTED, MAX_EVENTS)
    );
}

#[tokio::test]
async fn reported_requests_are_counted_by_pattern_and_not_by_path() {
    let process = Process::new();
    let report = |endpoint: &str, status: u16| {
        json!({ "type": "http_request", "method": "GET", "endpoint": endpoint, "status": status,
                "duration_seconds": 0.1 })
    };
    let mut events = vec![
        report("/api/v1/blueprints/7?page=2", 200),
        report("/api/v1/blueprints", 200),
        report("/api/x/%2e%2e/v1/blueprints", 200),
        report("/users/17/files/d41d8cd98f00b204e9800998ecf8427e", 500),
        report("/users/18/files/550e8400-e29b-41d4-a716-446655440000", 500),
        report("/a%2fb", 200),
    ];
    events.extend((0..500).map(|n| report(&format!("/no-such-path-{n}"), 404)));
    events.extend((0..500).map(|n| report(&format!("/path-{n}"), 200)));
    let got = process.report(Value::from(events)).await;
    assert_eq!(got.body["refused"], json!([]));
    process.assert_metrics(&[
        r#"http_requests_total{endpoint="/api/v1/blueprints",method="GET",status="200"} 3"#,
        r#"http_requests_total{endpoint="/users/:id/files/:id",method="GET",status="500"} 2"#,
        r#"http_requests_total{endpoint="other",method="GET",status="404"} 500"#,
        // One of the hundred places has the path above, and `/a%2fb` is read differently.
        r#"http_requests_total{endpoint="other",method="GET",status="200"} 402"#,
    ]);
    let metrics = process.metrics();
    let reported = |line: &&str| line.starts_with("http_requests_total{");
    assert_eq!(metrics.lines().filter(reported).count(), 1 + 100 + 2);
}

#[tokio::test]
async fn events_are_never_limited() {
    let process = Process::new();
    for _ in 0..30 {
        assert_eq!(process.report(llm_request()).await.status, StatusCode::ACCEPTED);
    }
    process.assert_metrics(&[
        r#"sluice_http_requests_total{endpoint="/v1/events",method="POST",status="202"} 30"#,
    ]);
}

/// Returns a JSON object with the members of events and arbitrary values.
fn any_event() -> impl Strategy<Value = Value> {
    let kinds: Vec<&str> = vec![
        "http_request",
        "llm_request",
        "deployment",
        "blueprint_operation",
        "tool_execution",
        "connections",
        "cache",
        "gauge",
        "counter",
    ];
    let names: Vec<&str> = vec![
        "method",
        "endpoint",
        "model",
        "operation",
        "status",
        "duration_seconds",
        "tokens_generated",
        "phase",
        "id",
        "labels",
        "value",
        "name",
    ];
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!({ "operation": "a" })),
        Just(json!([[]])),
    ];
    let fields = prop::collection::vec((prop::sample::select(names), value), 0..6);
    (prop::sample::select(kinds), fields).prop_map(|(kind, fields)| {
        let mut event: serde_json::Map<String, Value> =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        event.insert("type".to_owned(), json!(kind));
        Value::Object(event)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_body_gets_a_response(
        events in prop::collection::vec(any_event(), 0..8),
        raw in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let process = Process::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let text = events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
            let array = process.report(json!(events)).await;
            prop_assert_eq!(array.status, StatusCode::ACCEPTED);
            let accepted = array.body["accepted"].as_u64().unwrap();
            let refused = array.body["refused"].as_array().unwrap().len() as u64;
            prop_assert_eq!(accepted + refused, events.len() as u64);
            prop_assert_eq!(process.lines(&text).await.body, array.body);
            for content_type in ["application/json", "application/x-ndjson"] {
                let request = Request::post(PATH)
                    .header("content-type", content_type)
                    .body(Body::from(raw.clone()))
                    .unwrap();
                prop_assert!(process.port.send(request).await.status.as_u16() < 500);
            }
            Ok(())
        })?;
    }
}
