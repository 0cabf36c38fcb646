//! `/v1/forward-auth`.

use std::iter::repeat;

use http::{HeaderName, header::FORWARDED};
use serde_json::Value;
use utoipa::openapi::{
    HttpMethod, ObjectBuilder, Required, Type,
    path::{ParameterBuilder, ParameterIn},
    response::ResponseBuilder,
};

use super::{Described, Topic, answering, decided, operation, problems, standing};
use crate::{
    front_ends::{
        Kind,
        forward_auth::{METHODS, PATH, TARGETS},
    },
    openapi::schemas::Schemas,
};

const ABOUT: &str = "\
For proxies that ask before they forward: nginx `auth_request`, Caddy `forward_auth`, Traefik `ForwardAuth`, HAProxy. The proxy sends the head of the request \
that it holds, by any method, and says in fields of its own what that request is for. Who asks is told by `clients.identify`: unless that says otherwise by \
`X-API-Key`, or else a bearer token, or else the address.

The fields of the answer are for the proxy to hand on. Fields that contradict each other are refused: a client could have sent one of them.";

const CLIENT: &str = "Who asks.";
const METHOD: &str = "The method asked for; the one of this request unless said.";
const TARGET: &str = "The path asked for, with or without scheme, host and query; `/` unless said.";
const ADDRESS: &str =
    "The client's address, believed when the proxy is one of `clients.trusted_proxies`.";

pub(super) fn decide(schemas: &mut Schemas) -> Described {
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
    let [_, denied] = decided(schemas);
    let allowed =
        standing(ResponseBuilder::new().description("The request may pass. There is no body."));
    let wrong =
        problems(schemas, [Kind::InvalidRequest, Kind::HeadersTooLarge, Kind::StoreUnavailable]);
    let operation = answering(answering(operation, [("200", allowed.build()), denied]), wrong);
    let methods = &[
        HttpMethod::Get,
        HttpMethod::Head,
        HttpMethod::Post,
        HttpMethod::Put,
        HttpMethod::Patch,
        HttpMethod::Delete,
        HttpMethod::Options,
    ];
    Described { path: PATH, methods, operation: operation.build() }
}
