//! `/v1/forward-auth`.

use std::iter::repeat;

use http::{HeaderName, header::FORWARDED};
use serde_json::Value;
use sluice_http::ProblemKind;
use utoipa::openapi::{
    ObjectBuilder, Required, Type,
    path::{Operation, ParameterBuilder, ParameterIn},
    response::ResponseBuilder,
};

use super::{METHODS, TARGETS};
use crate::describe::{
    Schemas, Topic, decision_responses, operation, problem_responses, with_limit_headers,
    with_responses,
};

const ABOUT: &str = "\
For proxies that ask for permission before they forward a request: nginx `auth_request`, Caddy \
`forward_auth`, Traefik `ForwardAuth`, HAProxy. The proxy sends the head of the request that it \
holds, by any method, and describes that request in header fields. `clients.identify` says how the \
client is identified: by default by `X-API-Key`, else by a bearer token, else by its address.

The fields of the response are for the proxy to pass on. Contradicting fields are rejected, since \
a client could have sent one of them.";

const CLIENT: &str = "The client.";
const METHOD: &str = "The requested method; the method of this request by default.";
const TARGET: &str = "The requested path, with or without scheme, host and query; `/` by default.";
const ADDRESS: &str =
    "The client's address, used if the proxy is one of `clients.trusted_proxies`.";

pub(crate) fn forward_auth(schemas: &mut Schemas) -> Operation {
    // A proxy sends one name of each kind.
    let named = |names: &[HeaderName], what, example: &'static str| {
        let examples = [Some(Value::from(example))].into_iter().chain(repeat(None));
        names
            .iter()
            .map(HeaderName::to_string)
            .zip(examples)
            .map(move |(name, example)| (name, what, example))
            .collect::<Vec<_>>()
    };
    let parameters = [
        named(&[HeaderName::from_static("x-api-key")], CLIENT, "alice"),
        named(&TARGETS, TARGET, "/api/v1/blueprints?page=2"),
        named(&METHODS, METHOD, "GET"),
        named(&[HeaderName::from_static("x-forwarded-for"), FORWARDED], ADDRESS, "192.0.2.1"),
    ]
    .into_iter()
    .flatten();
    let operation = parameters.fold(
        operation(Topic::Decisions, "forwardAuth", "Decide for a proxy", ABOUT),
        |operation, (name, what, example)| {
            operation.parameter(
                ParameterBuilder::new()
                    .name(name)
                    .parameter_in(ParameterIn::Header)
                    .required(Required::False)
                    .description(Some(what))
                    .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                    .example(example),
            )
        },
    );
    let [_, denied] = decision_responses(schemas);
    let allowed = with_limit_headers(
        ResponseBuilder::new().description("The request is allowed. There is no body."),
    );
    let wrong = problem_responses(
        schemas,
        [
            ProblemKind::InvalidRequest,
            ProblemKind::HeadersTooLarge,
            ProblemKind::StoreUnavailable,
            ProblemKind::Overloaded,
        ],
    );
    let operation =
        with_responses(with_responses(operation, [("200", allowed.build()), denied]), wrong);
    operation.build()
}
