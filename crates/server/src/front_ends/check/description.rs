//! The description of `POST /v1/check` and `POST /v1/check/batch`.

use serde_json::json;
use sluice_http::ProblemKind;
use utoipa::openapi::path::Operation;

use super::{BatchAnswer, BatchBody, CheckBody};
use crate::describe::{
    BODY_PROBLEMS, Schemas, Topic, decision_responses, examples, json_request_body, json_response,
    operation, problem_responses, with_responses,
};

const ONE: &str = "\
Takes the cost from every limit that applies, or from none if one of them has too few tokens. The \
limits that apply are those of a request for `path` with `method` from `client`; the caller is \
trusted to know all three.";

const BATCH: &str = "\
Decides up to 1,000 checks, one after another, in one round trip to the store. An error in one \
check is that check's result.";

pub(crate) fn check(schemas: &mut Schemas) -> Operation {
    let body = json_request_body(
        schemas.refer::<CheckBody<'_>>(),
        vec![
            (
                "by_client",
                "A request of a client",
                json!({ "client": "alice", "method": "POST", "path": "/api/v1/tools/execute" }),
            ),
            (
                "looking",
                "The state of a client's limits, without taking tokens",
                json!({ "client": "alice", "cost": 0 }),
            ),
            (
                "by_ip",
                "A client that is known by its address only",
                json!({ "ip": "192.0.2.1", "path": "/api/v1/blueprints/7" }),
            ),
            (
                "everything",
                "All members",
                json!({
                    "client": "bob", "ip": "2001:db8::1", "tier": "pro",
                    "method": "PUT", "path": "/api/v1/blueprints/7",
                    "attributes": { "x-org": "acme" }, "cost": 3,
                }),
            ),
        ],
    );
    let operation = operation(Topic::Decisions, "check", "Decide about one request", ONE)
        .request_body(Some(body.build()));
    let operation = with_responses(operation, decision_responses(schemas));
    let wrong = problem_responses(
        schemas,
        BODY_PROBLEMS.into_iter().chain([
            ProblemKind::InvalidRequest,
            ProblemKind::UnsupportedMediaType,
            ProblemKind::StoreUnavailable,
        ]),
    );
    with_responses(operation, wrong).build()
}

pub(crate) fn batch(schemas: &mut Schemas) -> Operation {
    let checks = json!({ "checks": [
        { "client": "alice", "path": "/api/v1/blueprints" },
        { "client": "bob", "path": "/api/v1/blueprints", "cost": 2 },
    ] });
    let body =
        json_request_body(schemas.refer::<BatchBody<'_>>(), vec![("two", "Two clients", checks)]);
    let results = json_response::<BatchAnswer<'_>>(
        schemas,
        "The result of each check: a decision or a problem. Its `status` is that of a single \
         check.",
        Some(json!({ "results": [examples::allowed(), {
            "type": "urn:sluice:problem:malformed-body", "title": "The body is not the expected \
                JSON", "status": 400,
            "detail": "unknown field `klient`", "field": "klient",
        }] })),
    );
    let operation = operation(Topic::Decisions, "checkBatch", "Decide about many requests", BATCH)
        .request_body(Some(body.build()));
    let wrong = problem_responses(
        schemas,
        BODY_PROBLEMS
            .into_iter()
            .chain([ProblemKind::TooManyChecks, ProblemKind::UnsupportedMediaType]),
    );
    let operation = with_responses(with_responses(operation, [("200", results.build())]), wrong);
    operation.build()
}
