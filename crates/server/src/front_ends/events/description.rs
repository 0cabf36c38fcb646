//! The description of `POST /v1/events`.

use serde_json::{Value, json};
use sluice_http::ProblemKind;
use utoipa::openapi::{ObjectBuilder, Type, path::Operation};

use super::{LINES, Taken, schema::Events};
use crate::describe::{
    BODY_PROBLEMS, Example, Schemas, Topic, json_request_body, json_response, operation,
    problem_responses, with_examples, with_responses,
};

const ABOUT: &str = "\
Accepts one event, an array of events, or one event per line (`application/x-ndjson`): up to \
10,000 events or 1 MiB in one body. An invalid event is rejected by its index, and the others are \
recorded. Events are never limited.

`counter`, `gauge` and `histogram` are for metrics that the configuration declares under \
`metrics.custom`.";

pub(crate) fn events(schemas: &mut Schemas) -> Operation {
    let events = example_events();
    let examples = events.iter().map(|(name, what, event)| (*name, *what, event.clone()));
    let several: Vec<Value> = events.iter().map(|(_, _, event)| event.clone()).collect();
    let examples = examples.chain([("several", "Several at once", Value::from(several))]).collect();
    let lines: Vec<String> = events.iter().take(2).map(|(_, _, event)| event.to_string()).collect();
    let line = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("One event per line, each as JSON."));
    let body = json_request_body(schemas.refer::<Events>(), examples).content(
        LINES[0],
        with_examples(line, vec![("lines", "One per line", Value::from(lines.join("\n")))]),
    );

    let refused =
        json!({ "accepted": 2, "refused": [{ "index": 1, "error": "missing field `status`" }] });
    let taken = json_response::<Taken>(schemas, "The result of the report.", Some(refused));
    let operation = operation(Topic::Events, "reportEvents", "Report events", ABOUT)
        .request_body(Some(body.build()));
    let wrong = problem_responses(
        schemas,
        BODY_PROBLEMS
            .into_iter()
            .chain([ProblemKind::TooManyEvents, ProblemKind::UnsupportedMediaType]),
    );
    let operation = with_responses(with_responses(operation, [("202", taken.build())]), wrong);
    operation.build()
}

fn example_events() -> Vec<Example> {
    vec![
        (
            "http_request",
            "A request to the application",
            json!({
                "type": "http_request", "method": "GET", "endpoint": "/orders/{id}", "status": 200,
                "duration_seconds": 0.012, "request_bytes": 0, "response_bytes": 730,
            }),
        ),
        (
            "llm_request",
            "A request to a language model",
            json!({
                "type": "llm_request", "model": "qwen", "operation": "chat", "status": "success",
                "duration_seconds": 1.2, "tokens_generated": 300, "tokens_consumed": 40,
            }),
        ),
        (
            "blueprint_operation",
            "A blueprint was created",
            json!({
                "type": "blueprint_operation", "operation": "create", "status": "success",
                "blueprint": "web", "resources": 8,
            }),
        ),
        (
            "blueprint_validation",
            "A blueprint has validation errors",
            json!({ "type": "blueprint_validation", "errors": 3 }),
        ),
        (
            "deployment_start",
            "A deployment starts",
            json!({ "type": "deployment", "operation": "create", "phase": "start", "id": "d-1" }),
        ),
        (
            "deployment_finish",
            "A deployment has finished",
            json!({
                "type": "deployment", "operation": "create", "phase": "finish", "id": "d-1",
                "status": "success", "duration_seconds": 42.5,
            }),
        ),
        (
            "tool_execution",
            "A tool was executed",
            json!({
                "type": "tool_execution", "tool_name": "scale", "status": "success",
                "duration_seconds": 0.2,
            }),
        ),
        (
            "connections",
            "Open connections",
            json!({ "type": "connections", "kind": "websocket", "count": 12, "instance": "api-1" }),
        ),
        (
            "database_connections",
            "Open database connections",
            json!({ "type": "database_connections", "count": 7, "instance": "api-1" }),
        ),
        (
            "cache",
            "The hit rate of a cache",
            json!({ "type": "cache", "cache": "blueprints", "hit_rate": 0.93 }),
        ),
        (
            "counter",
            "Increments a declared counter",
            json!({
                "type": "counter", "name": "my_feature_total",
                "labels": { "operation": "export" }, "value": 1,
            }),
        ),
        (
            "gauge",
            "Sets a declared gauge",
            json!({ "type": "gauge", "name": "queue_depth", "value": 17 }),
        ),
        (
            "histogram",
            "Adds a value to a declared histogram",
            json!({
                "type": "histogram", "name": "job_seconds",
                "labels": { "job": "sync" }, "value": 3.5,
            }),
        ),
    ]
}
