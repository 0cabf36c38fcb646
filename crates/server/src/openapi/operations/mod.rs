//! What can be asked, door by door.

mod check;
mod envoy_rls;
mod events;
mod forward_auth;
mod house;

use std::{collections::BTreeMap, fmt::Write};

use http::header::RETRY_AFTER;
use serde_json::Value;
use sluice::response::{
    ProblemBody,
    schema::{self, Allowed, Denied},
};
use utoipa::{
    ToSchema,
    openapi::{
        Content, HttpMethod, RefOr, Required,
        content::ContentBuilder,
        example::ExampleBuilder,
        path::{Operation, OperationBuilder},
        request_body::RequestBodyBuilder,
        response::{Response, ResponseBuilder},
        schema::{Ref, Schema},
    },
};

use super::schemas::Schemas;
use crate::front_ends::Kind;

/// The names of the credentials that may be asked for.
pub(super) const BASIC: &str = "basic";
pub(super) const BEARER: &str = "bearer";

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// What every request to a door with a JSON body may come to.
const BODY_PROBLEMS: [Kind; 4] =
    [Kind::MalformedBody, Kind::BodyTooSlow, Kind::BodyTooLarge, Kind::HeadersTooLarge];

/// Something that can be asked.
pub(super) struct Described {
    pub(super) path: &'static str,
    /// The methods by which it is asked, the usual one first.
    pub(super) methods: &'static [HttpMethod],
    pub(super) operation: Operation,
}

/// What operations are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Decisions,
    Envoy,
    Events,
    Monitoring,
    Process,
}

/// An example: its name, what it shows, and its value.
type Example = (&'static str, &'static str, Value);

/// Everything that can be asked.
pub(super) fn all(schemas: &mut Schemas) -> Vec<Described> {
    let doors = [
        check::one(schemas),
        check::batch(schemas),
        forward_auth::decide(schemas),
        envoy_rls::json(schemas),
        events::take(schemas),
    ];
    doors.into_iter().chain(house::all(schemas)).collect()
}

/// The method as it is written in a request.
pub(super) const fn verb(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Delete => "DELETE",
        HttpMethod::Options => "OPTIONS",
        HttpMethod::Head => "HEAD",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Trace => "TRACE",
    }
}

// === impl Topic ===

impl Topic {
    pub(super) const ALL: [Self; 5] =
        [Self::Decisions, Self::Envoy, Self::Events, Self::Monitoring, Self::Process];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Decisions => "Decisions",
            Self::Envoy => "Envoy",
            Self::Events => "Events",
            Self::Monitoring => "Monitoring",
            Self::Process => "Process",
        }
    }

    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::Decisions => "Whether a request may pass.",
            Self::Envoy => "Envoy's rate limit service, for who cannot speak gRPC.",
            Self::Events => "What applications report of themselves.",
            Self::Monitoring => {
                "How the fleet is. Where `admin.listen` is set these are at that port only, and `admin` may ask for credentials."
            }
            Self::Process => "Whether this process lives, and what it understands.",
        }
    }
}

// === building blocks ===

/// An operation of this name. The first sentence tells what it does, `description` the rest.
fn operation(topic: Topic, name: &str, summary: &str, description: &str) -> OperationBuilder {
    OperationBuilder::new()
        .tag(topic.name())
        .operation_id(Some(name))
        .summary(Some(summary))
        .description(Some(description))
}

fn json_body(schema: Ref, examples: Vec<Example>) -> RequestBodyBuilder {
    RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content(JSON, with_examples(schema, examples))
}

fn with_examples(schema: impl Into<RefOr<Schema>>, examples: Vec<Example>) -> Content {
    let examples = examples.into_iter().map(|(name, what, value)| {
        (name.to_owned(), RefOr::T(ExampleBuilder::new().summary(what).value(Some(value)).build()))
    });
    ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build()
}

/// An answer in JSON.
fn told<T: ToSchema>(
    schemas: &mut Schemas,
    description: &str,
    example: Option<Value>,
) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(schemas.refer::<T>())).example(example).build();
    ResponseBuilder::new().description(description).content(JSON, content)
}

/// The two answers of a decision.
fn decided(schemas: &mut Schemas) -> [(&'static str, Response); 2] {
    let allowed = told::<Allowed>(schemas, "The request may pass.", Some(check::allowed()));
    let denied = ContentBuilder::new()
        .schema(Some(schemas.refer::<Denied>()))
        .example(Some(check::denied()))
        .build();
    let denied = ResponseBuilder::new().description(DENIED).content(PROBLEM, denied);
    [("200", standing(allowed).build()), ("429", denying(denied).build())]
}

const DENIED: &str = "The request is denied, and nothing was taken: there are too few tokens now (`urn:sluice:problem:rate-limited`), or the cost is above \
the burst, so that waiting does not help (`urn:sluice:problem:cost-above-burst`).";

/// With the fields that tell where a client stands.
fn standing(response: ResponseBuilder) -> ResponseBuilder {
    let fields = schema::headers().into_iter().filter(|(name, _)| *name != RETRY_AFTER.as_str());
    fields.fold(response, |response, (name, header)| response.header(name, header))
}

/// With the fields of a denial.
fn denying(response: ResponseBuilder) -> ResponseBuilder {
    schema::headers()
        .into_iter()
        .fold(response, |response, (name, header)| response.header(name, header))
}

/// The answers of what can go wrong, one for each status.
fn problems(
    schemas: &mut Schemas,
    kinds: impl IntoIterator<Item = Kind>,
) -> Vec<(String, Response)> {
    let mut by_status = BTreeMap::<u16, String>::new();
    for kind in kinds {
        let told = by_status.entry(kind.status().as_u16()).or_default();
        let between = if told.is_empty() { "" } else { "\n\n" };
        write!(told, "{between}{} (`{}`).", kind.title(), kind.type_uri())
            .expect("a string takes everything");
    }
    let problem = schemas.refer::<ProblemBody<'_>>();
    let answer = |told| {
        ResponseBuilder::new()
            .description(told)
            .content(PROBLEM, ContentBuilder::new().schema(Some(problem.clone())).build())
    };
    by_status.into_iter().map(|(status, told)| (status.to_string(), answer(told).build())).collect()
}

/// With these answers too.
fn answering<S: Into<String>>(
    operation: OperationBuilder,
    answers: impl IntoIterator<Item = (S, Response)>,
) -> OperationBuilder {
    answers
        .into_iter()
        .fold(operation, |operation, (status, response)| operation.response(status, response))
}
