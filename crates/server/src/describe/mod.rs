//! Building blocks for the descriptions of operations in the OpenAPI document.

pub(crate) mod examples;
mod schemas;

use std::{collections::BTreeMap, fmt::Write};

use http::header::RETRY_AFTER;
use serde_json::Value;
use sluice::response::{
    ProblemBody,
    schema::{self, Allowed, Denied},
};
use sluice_http::{ProblemKind, access::TokenFields};
use utoipa::{
    ToSchema,
    openapi::{
        Content, HttpMethod, RefOr, Required, SecurityRequirement,
        content::ContentBuilder,
        example::ExampleBuilder,
        path::{Operation, OperationBuilder},
        request_body::RequestBodyBuilder,
        response::{Response, ResponseBuilder},
        schema::{Ref, Schema},
    },
};

pub(crate) use self::schemas::Schemas;

/// The names of the security schemes.
pub(crate) const BASIC: &str = "basic";
pub(crate) const BEARER: &str = "bearer";
pub(crate) const CALLER_BEARER: &str = "callerBearer";
pub(crate) const CALLER_TOKEN: &str = "callerToken";

pub(crate) const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// The problems of every front end with a JSON body.
pub(crate) const BODY_PROBLEMS: [ProblemKind; 5] = [
    ProblemKind::MalformedBody,
    ProblemKind::BodyTooSlow,
    ProblemKind::BodyTooLarge,
    ProblemKind::HeadersTooLarge,
    ProblemKind::Overloaded,
];

/// One operation.
pub(crate) struct Described {
    pub(crate) path: &'static str,
    /// The methods; the first is the usual one.
    pub(crate) methods: &'static [HttpMethod],
    pub(crate) operation: Operation,
}

/// The groups of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Decisions,
    Envoy,
    Events,
    Monitoring,
    Process,
}

/// An example: its name, its summary, and its value.
pub(crate) type Example = (&'static str, &'static str, Value);

/// Returns the method's name.
pub(crate) const fn verb(method: &HttpMethod) -> &'static str {
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
    pub(crate) const ALL: [Self; 5] =
        [Self::Decisions, Self::Envoy, Self::Events, Self::Monitoring, Self::Process];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Decisions => "Decisions",
            Self::Envoy => "Envoy",
            Self::Events => "Events",
            Self::Monitoring => "Monitoring",
            Self::Process => "Process",
        }
    }

    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Decisions => "Decides whether requests are allowed.",
            Self::Envoy => "Envoy's rate limit service for clients without gRPC.",
            Self::Events => "Reports of applications.",
            Self::Monitoring => {
                "The state of the fleet. With `admin.listen` these are on that port only. \
                 `admin` may require credentials."
            }
            Self::Process => "The probes of this process and its API description.",
        }
    }
}

// === building blocks ===

/// Starts an operation. `summary` says what it does, `description` gives details.
pub(crate) fn operation(
    topic: Topic,
    name: &str,
    summary: &str,
    description: &str,
) -> OperationBuilder {
    OperationBuilder::new()
        .tag(topic.name())
        .operation_id(Some(name))
        .summary(Some(summary))
        .description(Some(description))
}

pub(crate) fn json_request_body(schema: Ref, examples: Vec<Example>) -> RequestBodyBuilder {
    RequestBodyBuilder::new()
        .required(Some(Required::True))
        .content(JSON, with_examples(schema, examples))
}

pub(crate) fn with_examples(schema: impl Into<RefOr<Schema>>, examples: Vec<Example>) -> Content {
    let examples = examples.into_iter().map(|(name, what, value)| {
        (name.to_owned(), RefOr::T(ExampleBuilder::new().summary(what).value(Some(value)).build()))
    });
    ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build()
}

/// Starts a response with a JSON body.
pub(crate) fn json_response<T: ToSchema>(
    schemas: &mut Schemas,
    description: &str,
    example: Option<Value>,
) -> ResponseBuilder {
    let content = ContentBuilder::new().schema(Some(schemas.refer::<T>())).example(example).build();
    ResponseBuilder::new().description(description).content(JSON, content)
}

/// Returns the two responses of a decision.
pub(crate) fn decision_responses(schemas: &mut Schemas) -> [(&'static str, Response); 2] {
    let allowed =
        json_response::<Allowed>(schemas, "The request is allowed.", Some(examples::allowed()));
    let denied = ContentBuilder::new()
        .schema(Some(schemas.refer::<Denied>()))
        .example(Some(examples::denied()))
        .build();
    let denied = ResponseBuilder::new().description(DENIED).content(PROBLEM, denied);
    [("200", with_limit_headers(allowed).build()), ("429", with_denial_headers(denied).build())]
}

const DENIED: &str = "\
The request is denied and takes no tokens: there are too few tokens now \
(`urn:sluice:problem:rate-limited`), or the cost is above the burst, so that waiting does not help \
(`urn:sluice:problem:cost-above-burst`).";

/// Adds the rate limit fields.
pub(crate) fn with_limit_headers(response: ResponseBuilder) -> ResponseBuilder {
    let fields = schema::headers().into_iter().filter(|(name, _)| *name != RETRY_AFTER.as_str());
    fields.fold(response, |response, (name, header)| response.header(name, header))
}

/// Adds the rate limit fields and `Retry-After`.
pub(crate) fn with_denial_headers(response: ResponseBuilder) -> ResponseBuilder {
    schema::headers()
        .into_iter()
        .fold(response, |response, (name, header)| response.header(name, header))
}

/// Returns the responses with problems, one for each status.
pub(crate) fn problem_responses(
    schemas: &mut Schemas,
    kinds: impl IntoIterator<Item = ProblemKind>,
) -> Vec<(String, Response)> {
    let mut by_status = BTreeMap::<u16, String>::new();
    for kind in kinds {
        let description = by_status.entry(kind.status().as_u16()).or_default();
        let between = if description.is_empty() { "" } else { "\n\n" };
        write!(description, "{between}{} (`{}`).", kind.title(), kind.type_uri())
            .expect("writing to a string does not fail");
    }
    let problem = schemas.refer::<ProblemBody<'_>>();
    let answer = |description| {
        ResponseBuilder::new()
            .description(description)
            .content(PROBLEM, ContentBuilder::new().schema(Some(problem.clone())).build())
    };
    by_status
        .into_iter()
        .map(|(status, description)| (status.to_string(), answer(description).build()))
        .collect()
}

/// Adds to the operation of a front end what `access.tokens` does.
pub(crate) fn guarded(
    schemas: &mut Schemas,
    mut operation: Operation,
    fields: TokenFields,
) -> Operation {
    let schemes: &[&str] = match fields {
        TokenFields::Both => &[CALLER_TOKEN, CALLER_BEARER],
        TokenFields::OwnAlone => &[CALLER_TOKEN],
    };
    let with = |name: &&str| SecurityRequirement::new(*name, [] as [&str; 0]);
    let anybody = SecurityRequirement::default();
    operation.security = Some([anybody].into_iter().chain(schemes.iter().map(with)).collect());
    for (status, response) in problem_responses(schemas, [ProblemKind::Unauthorized]) {
        operation.responses.responses.insert(status, RefOr::T(response));
    }
    operation
}

/// Adds responses to an operation.
pub(crate) fn with_responses<S: Into<String>>(
    operation: OperationBuilder,
    answers: impl IntoIterator<Item = (S, Response)>,
) -> OperationBuilder {
    answers
        .into_iter()
        .fold(operation, |operation, (status, response)| operation.response(status, response))
}
