//! `POST /json`.

use serde_json::json;
use utoipa::openapi::HttpMethod;

use super::{
    BODY_PROBLEMS, Described, Topic, answering, denying, json_body, operation, problems, standing,
    told,
};
use crate::{
    front_ends::{
        Kind,
        envoy_rls::json::{PATH, RequestBody, ResponseBody},
    },
    openapi::schemas::Schemas,
};

const ABOUT: &str = "\
What `ShouldRateLimit` is over gRPC, in Protobuf's own JSON. Names may also be written as in the messages (`hits_addend`), and whole numbers as text. A body \
needs no `Content-Type`.

Where the configuration names no rules (`rls.files`) there is no such door, and the path is decided about like any other.";

pub(super) fn json(schemas: &mut Schemas) -> Described {
    let request = json!({ "domain": "edge", "descriptors": [{ "entries": [{ "key": "api_key", "value": "alice" }] }], "hitsAddend": 1 });
    let brought = json!({ "domain": "edge", "descriptors": [{
        "entries": [{ "key": "path", "value": "/upload" }, { "key": "client", "value": "bob" }],
        "limit": { "requestsPerUnit": 10, "unit": "HOUR" },
        "hitsAddend": 2,
    }] });
    let examples = vec![
        ("by_rules", "By the rules of a file", request),
        ("with_a_limit", "By a limit that the request brings", brought),
    ];
    let body = json_body(schemas.refer::<RequestBody>(), examples);
    let answer = json!({ "overallCode": "OK", "statuses": [{
        "code": "OK", "currentLimit": { "requestsPerUnit": 60, "unit": "MINUTE" }, "limitRemaining": 59, "durationUntilReset": "1s",
    }] });
    let denial = json!({ "overallCode": "OVER_LIMIT", "statuses": [{
        "code": "OVER_LIMIT", "currentLimit": { "requestsPerUnit": 60, "unit": "MINUTE" }, "durationUntilReset": "59.250s",
    }] });
    let passes = told::<ResponseBody>(
        schemas,
        "The request passes. The fields are there unless `rls.response_headers` is off.",
        Some(answer),
    );
    let denied = told::<ResponseBody>(
        schemas,
        "The request is over a limit, and nothing was taken for any descriptor.",
        Some(denial),
    );
    let answers = [("200", standing(passes).build()), ("429", denying(denied).build())];
    let operation = operation(Topic::Envoy, "shouldRateLimit", "Decide about descriptors", ABOUT)
        .request_body(Some(body.build()));
    let wrong = problems(
        schemas,
        BODY_PROBLEMS.into_iter().chain([Kind::InvalidRequest, Kind::StoreUnavailable]),
    );
    Described {
        path: PATH,
        methods: &[HttpMethod::Post],
        operation: answering(answering(operation, answers), wrong).build(),
    }
}
