//! The description of `POST /v1/reserve`, `/v1/extend` and `/v1/settle`.

use serde_json::{Value, json};
use sluice_http::ProblemKind;
use utoipa::openapi::path::Operation;

use super::{
    answers::{HeldAnswer, SettledBody},
    wire::{ExtendBody, ReserveBody, SettleBody},
};
use crate::describe::{
    BODY_PROBLEMS, Schemas, Topic, decision_responses, examples, json_request_body, json_response,
    operation, problem_responses, with_limit_headers, with_responses,
};

const RESERVE: &str = "\
Takes what a request will use from every limit that applies, together with the request itself, or \
nothing if one of them has too few tokens. What was estimated is held until it is settled; after \
twice the time that it is held for, it stays charged.";

const EXTEND: &str = "\
Takes more for a request that uses more than was estimated: from all limits of the reservation, or \
from none. The hold then lasts as long as at first, from now on; without costs, that is all that \
changes. The reservation of the response replaces the one before.";

const SETTLE: &str = "\
Corrects what was held to what the request has used. What was not used is given back, and what was \
used beyond it is charged, below zero if necessary. Any replica can do that, and it may be sent \
again: it happens once.";

pub(crate) fn reserve(schemas: &mut Schemas) -> Operation {
    let examples = vec![
        (
            "model",
            "A request to a language model",
            json!({
                "client": "alice", "method": "POST", "path": "/v1/chat/completions",
                "model": "large", "costs": { "input_tokens": 812, "output_tokens": 1024 },
            }),
        ),
        (
            "everything",
            "All members that only a reservation has",
            json!({
                "client": "alice", "model": "large", "hold_for": "90s", "id": "request-7",
                "costs": {
                    "requests": 1, "input_tokens": 812, "cached_input_tokens": 500,
                    "cache_write_tokens": 0, "output_tokens": 1024, "cost": 0.02,
                },
            }),
        ),
    ];
    let body = json_request_body(schemas.refer::<ReserveBody<'_>>(), examples);
    let operation = operation(Topic::Decisions, "reserve", "Hold what a request will use", RESERVE)
        .request_body(Some(body.build()));
    let kinds = [ProblemKind::InvalidRequest, ProblemKind::HoldConflict];
    held(schemas, operation, &kinds)
}

pub(crate) fn extend(schemas: &mut Schemas) -> Operation {
    let more = json!({ "reservation": RESERVATION, "costs": { "output_tokens": 2048 } });
    let examples = vec![("more", "A longer answer", more)];
    let body = json_request_body(schemas.refer::<ExtendBody<'_>>(), examples);
    let operation = operation(Topic::Decisions, "extend", "Hold more for a request", EXTEND)
        .request_body(Some(body.build()));
    let kinds =
        [ProblemKind::InvalidRequest, ProblemKind::ReservationUnknown, ProblemKind::HoldConflict];
    held(schemas, operation, &kinds)
}

pub(crate) fn settle(schemas: &mut Schemas) -> Operation {
    let used = json!({
        "reservation": RESERVATION, "costs": { "input_tokens": 790, "output_tokens": 311 },
    });
    let nothing = json!({ "reservation": RESERVATION, "costs": {} });
    let examples = vec![
        ("used", "What was used", used),
        ("nothing", "The request failed: all is given back", nothing),
    ];
    let body = json_request_body(schemas.refer::<SettleBody<'_>>(), examples);
    let response = json_response::<SettledBody<'_>>(
        schemas,
        "The hold is settled.",
        Some(json!({
            "state": "settled", "charged": { "tokens": 1101 }, "given_back": { "tokens": 735 },
            "overrun": {},
        })),
    );
    let operation = operation(Topic::Decisions, "settle", "Correct what was held", SETTLE)
        .request_body(Some(body.build()));
    let operation = with_responses(operation, [("200", response.build())]);
    let kinds =
        [ProblemKind::InvalidRequest, ProblemKind::ReservationUnknown, ProblemKind::HoldConflict];
    with_responses(operation, problems(schemas, &kinds)).build()
}

/// What a reservation looks like, much shortened.
const RESERVATION: &str = "eyJ2IjoxfQ.kk0Jc1oTqFZ3";

/// Describes the responses of a step that holds tokens.
fn held(
    schemas: &mut Schemas,
    operation: utoipa::openapi::path::OperationBuilder,
    kinds: &[ProblemKind],
) -> Operation {
    let held = json_response::<HeldAnswer>(schemas, "The tokens are held.", Some(example()));
    let [_, denied] = decision_responses(schemas);
    let held = with_limit_headers(held).build();
    let operation = with_responses(operation, [("200", held), denied]);
    with_responses(operation, problems(schemas, kinds)).build()
}

fn problems(
    schemas: &mut Schemas,
    kinds: &[ProblemKind],
) -> impl Iterator<Item = (String, utoipa::openapi::Response)> {
    let usual = [ProblemKind::UnsupportedMediaType, ProblemKind::StoreUnavailable];
    let all = BODY_PROBLEMS.into_iter().chain(usual).chain(kinds.iter().copied());
    problem_responses(schemas, all).into_iter()
}

fn example() -> Value {
    let mut example = examples::allowed();
    if let Value::Object(members) = &mut example {
        members.insert("state".to_owned(), "held".into());
        members.insert("reservation".to_owned(), RESERVATION.into());
        members.insert("expires_in".to_owned(), "300s".into());
    }
    example
}
