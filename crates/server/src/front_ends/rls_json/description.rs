//! `POST /json`.

use serde_json::json;
use sluice_http::ProblemKind;
use sluice_rls::json::{RequestBody, ResponseBody};
use utoipa::openapi::path::Operation;

use crate::describe::{
    BODY_PROBLEMS, Schemas, Topic, json_request_body, json_response, operation, problem_responses,
    with_denial_headers, with_limit_headers, with_responses,
};

const ABOUT: &str = "\
The equivalent of `ShouldRateLimit` over gRPC, in Protobuf's JSON mapping. Members may also be \
named as in the messages (`hits_addend`), and whole numbers may be strings. A body needs no \
`Content-Type`.

Without rules (`rls.files`) the status is 404; behind `gateway.doors: on` the path is then the \
upstream's.";

pub(crate) fn rls_json(schemas: &mut Schemas) -> Operation {
    let request = json!({
        "domain": "edge",
        "descriptors": [{ "entries": [{ "key": "api_key", "value": "alice" }] }],
        "hitsAddend": 1,
    });
    let with_limit = json!({ "domain": "edge", "descriptors": [{
        "entries": [{ "key": "path", "value": "/upload" }, { "key": "client", "value": "bob" }],
        "limit": { "requestsPerUnit": 10, "unit": "HOUR" },
        "hitsAddend": 2,
    }] });
    let examples = vec![
        ("by_rules", "By the rules of a file", request),
        ("with_a_limit", "By a limit in the request", with_limit),
    ];
    let body = json_request_body(schemas.refer::<RequestBody>(), examples);
    let answer = json!({ "overallCode": "OK", "statuses": [{
        "code": "OK", "currentLimit": { "requestsPerUnit": 60, "unit": "MINUTE" },
        "limitRemaining": 59, "durationUntilReset": "1s",
    }] });
    let denial = json!({ "overallCode": "OVER_LIMIT", "statuses": [{
        "code": "OVER_LIMIT", "currentLimit": { "requestsPerUnit": 60, "unit": "MINUTE" },
        "durationUntilReset": "59.250s",
    }] });
    let allowed = json_response::<ResponseBody>(schemas, "The request is allowed.", Some(answer));
    let denied = json_response::<ResponseBody>(
        schemas,
        "The request is over a limit. No descriptor took any tokens, except for usage that is \
         charged past zero.",
        Some(denial),
    );
    let answers = [
        ("200", with_limit_headers(allowed).build()),
        ("429", with_denial_headers(denied).build()),
    ];
    let operation = operation(Topic::Envoy, "shouldRateLimit", "Decide about descriptors", ABOUT)
        .request_body(Some(body.build()));
    let wrong = problem_responses(
        schemas,
        BODY_PROBLEMS
            .into_iter()
            .chain([ProblemKind::InvalidRequest, ProblemKind::NoRules])
            .chain([ProblemKind::StoreUnavailable]),
    );
    with_responses(with_responses(operation, answers), wrong).build()
}
