//! `POST /v1/check` and `POST /v1/check/batch`.

use serde_json::{Value, json};
use utoipa::openapi::HttpMethod;

use super::{
    BODY_PROBLEMS, Described, Topic, answering, decided, json_body, operation, problems, told,
};
use crate::{
    front_ends::{
        Kind,
        check::{BATCH_PATH, BatchAnswer, BatchBody, CheckBody, PATH},
    },
    openapi::schemas::Schemas,
};

const ONE: &str = "\
Takes the cost from every limit that applies, or, if one of them lacks it, from none. What applies is what applies to a request for `path` by `method` from \
`client`; the caller is trusted to know all three.";

const BATCH: &str = "\
Decides up to 1,000 checks, one after another, in one round trip to the store. What is wrong with one of them is its own result's problem.";

pub(super) fn one(schemas: &mut Schemas) -> Described {
    let body = json_body(
        schemas.refer::<CheckBody<'_>>(),
        vec![
            (
                "by_client",
                "What a client is about to do",
                json!({ "client": "alice", "method": "POST", "path": "/api/v1/tools/execute" }),
            ),
            (
                "looking",
                "How a client stands, and nothing taken",
                json!({ "client": "alice", "cost": 0 }),
            ),
            (
                "by_ip",
                "A client of whom only the address is known",
                json!({ "ip": "192.0.2.1", "path": "/api/v1/blueprints/7" }),
            ),
            (
                "everything",
                "Everything that may be said",
                json!({
                    "client": "bob", "ip": "2001:db8::1", "method": "PUT", "path": "/api/v1/blueprints/7", "tier": "pro",
                    "attributes": { "x-org": "acme" }, "cost": 3,
                }),
            ),
        ],
    );
    let operation = operation(Topic::Decisions, "check", "Decide about one request", ONE)
        .request_body(Some(body.build()));
    let operation = answering(operation, decided(schemas));
    let wrong = problems(
        schemas,
        BODY_PROBLEMS.into_iter().chain([
            Kind::InvalidRequest,
            Kind::UnsupportedMediaType,
            Kind::StoreUnavailable,
        ]),
    );
    Described {
        path: PATH,
        methods: &[HttpMethod::Post],
        operation: answering(operation, wrong).build(),
    }
}

pub(super) fn batch(schemas: &mut Schemas) -> Described {
    let checks = json!({ "checks": [
        { "client": "alice", "path": "/api/v1/blueprints" },
        { "client": "bob", "path": "/api/v1/blueprints", "cost": 2 },
    ] });
    let body = json_body(schemas.refer::<BatchBody<'_>>(), vec![("two", "Two clients", checks)]);
    let results = told::<BatchAnswer<'_>>(
        schemas,
        "What became of each check: a decision, or a problem. Its `status` is the one that it would have been answered with alone.",
        Some(json!({ "results": [allowed(), {
            "type": "urn:sluice:problem:malformed-body", "title": "The body is not the JSON expected", "status": 400,
            "detail": "unknown field `klient`", "field": "klient",
        }] })),
    );
    let operation = operation(Topic::Decisions, "checkBatch", "Decide about many requests", BATCH)
        .request_body(Some(body.build()));
    let wrong = problems(
        schemas,
        BODY_PROBLEMS.into_iter().chain([Kind::TooManyChecks, Kind::UnsupportedMediaType]),
    );
    let operation = answering(answering(operation, [("200", results.build())]), wrong);
    Described { path: BATCH_PATH, methods: &[HttpMethod::Post], operation: operation.build() }
}

/// A decision that allows.
pub(super) fn allowed() -> Value {
    json!({
        "status": 200, "allowed": true, "limit": 60, "window": 60, "remaining": 9, "reset": 1_800_000_001,
        "limits": [{
            "name": "default", "requests_per_minute": 60, "burst": 10, "mode": "enforce", "cost": 1, "admitted": true, "remaining": 9,
            "reset": 1_800_000_001,
        }],
    })
}

/// A decision that denies.
pub(super) fn denied() -> Value {
    let reason =
        "limit default (60/minute, burst 10) has 0 of the 1 tokens asked for: try again in 1 s";
    json!({
        "status": 429, "allowed": false, "type": "urn:sluice:problem:rate-limited", "title": "Too many requests", "detail": reason,
        "error": "rate_limit_exceeded", "message": reason, "retry_after": 1, "never": false,
        "limit": 60, "window": 60, "remaining": 0, "reset": 1_800_000_010,
        "limits": [{
            "name": "default", "requests_per_minute": 60, "burst": 10, "mode": "enforce", "cost": 1, "admitted": false, "remaining": 0,
            "reset": 1_800_000_010, "retry_after": 1,
        }],
    })
}
