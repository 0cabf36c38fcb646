//! `POST /v1/events`.

use serde_json::{Value, json};
use sluice_http::ProblemKind;
use utoipa::openapi::{ObjectBuilder, Type, path::Operation};

use super::{LINES, Taken, schema::Events};
use crate::describe::{
    BODY_PROBLEMS, Example, Schemas, Topic, json_request_body, json_response, operation,
    problem_responses, with_examples, with_responses,
};

const ABOUT: &str = "\
Takes one event, an array of them, or one a line (`application/x-ndjson`): up to 10,000 events or 1 MiB at once. A bad event is refused by its index, and the \
rest are kept. Events are never limited.

`counter`, `gauge` and `histogram` are for metrics that the configuration declares under `metrics.custom`.";

pub(super) fn describe(schemas: &mut Schemas) -> Operation {
    let events = events();
    let examples = events.iter().map(|(name, what, event)| (*name, *what, event.clone()));
    let several: Vec<Value> = events.iter().map(|(_, _, event)| event.clone()).collect();
    let examples = examples.chain([("several", "Several at once", Value::from(several))]).collect();
    let lines: Vec<String> = events.iter().take(2).map(|(_, _, event)| event.to_string()).collect();
    let line = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("An event a line, each as in JSON."));
    let body = json_request_body(schemas.refer::<Events>(), examples).content(
        LINES[0],
        with_examples(line, vec![("lines", "One a line", Value::from(lines.join("\n")))]),
    );

    let refused =
        json!({ "accepted": 2, "refused": [{ "index": 1, "error": "missing field `status`" }] });
    let taken = json_response::<Taken>(schemas, "What became of the events.", Some(refused));
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

fn events() -> Vec<Example> {
    vec![
        (
            "llm_request",
            "A language model was asked",
            json!({
                "type": "llm_request", "model": "qwen", "operation": "chat", "status": "success", "duration_seconds": 1.2,
                "tokens_generated": 300, "tokens_consumed": 40,
            }),
        ),
        (
            "blueprint_operation",
            "A blueprint was created",
            json!({ "type": "blueprint_operation", "operation": "create", "status": "success", "blueprint": "web", "resources": 8 }),
        ),
        (
            "blueprint_validation",
            "A blueprint had mistakes",
            json!({ "type": "blueprint_validation", "errors": 3 }),
        ),
        (
            "deployment_start",
            "A deployment starts",
            json!({ "type": "deployment", "operation": "create", "phase": "start", "id": "d-1" }),
        ),
        (
            "deployment_finish",
            "A deployment ended",
            json!({
                "type": "deployment", "operation": "create", "phase": "finish", "id": "d-1", "status": "success", "duration_seconds": 42.5,
            }),
        ),
        (
            "tool_execution",
            "A tool was run",
            json!({ "type": "tool_execution", "tool_name": "scale", "status": "success", "duration_seconds": 0.2 }),
        ),
        (
            "connections",
            "Connections are open",
            json!({ "type": "connections", "kind": "websocket", "count": 12, "instance": "api-1" }),
        ),
        (
            "database_connections",
            "Connections to databases are open",
            json!({ "type": "database_connections", "count": 7, "instance": "api-1" }),
        ),
        (
            "cache",
            "How well a cache does",
            json!({ "type": "cache", "cache": "blueprints", "hit_rate": 0.93 }),
        ),
        (
            "counter",
            "A declared counter grows",
            json!({ "type": "counter", "name": "my_feature_total", "labels": { "operation": "export" }, "value": 1 }),
        ),
        (
            "gauge",
            "A declared gauge is set",
            json!({ "type": "gauge", "name": "queue_depth", "value": 17 }),
        ),
        (
            "histogram",
            "A declared histogram has one value more",
            json!({ "type": "histogram", "name": "job_seconds", "labels": { "job": "sync" }, "value": 3.5 }),
        ),
    ]
}
