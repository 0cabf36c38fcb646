//! Schemas of the responses, for programs that describe their API with `utoipa`.
//!
//! The schemas are derived from the types that are serialized. [`ProblemBody`](super::ProblemBody)
//! implements `ToSchema` itself. A [`DecisionBody`](super::DecisionBody) has two shapes, each with
//! a schema of its own: [`Allowed`] and [`Denied`]. [`headers`] describes the header fields.
//!
//! ```
//! use sluice::response::schema::{Denied, headers};
//! use utoipa::{ToSchema, openapi::{ContentBuilder, Ref, ResponseBuilder}};
//!
//! let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Denied::name()))).build();
//! let mut denied = ResponseBuilder::new()
//!     .description("Too many requests")
//!     .content("application/problem+json", content);
//! for (name, header) in headers() {
//!     denied = denied.header(name, header);
//! }
//! assert!(denied.build().headers.contains_key("retry-after"));
//! ```

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Header, RefOr,
        header::HeaderBuilder,
        schema::{ArrayBuilder, Object, ObjectBuilder, Ref, Schema, Type},
    },
};

use super::{
    decision::{Binding, DenialBody, VerdictBody},
    headers as fields,
};

/// The schema of a decision that allows the request.
#[derive(Clone, Copy, Debug)]
pub struct Allowed;

/// The schema of a decision that denies the request: an RFC 9457 problem.
#[derive(Clone, Copy, Debug)]
pub struct Denied;

impl PartialSchema for Allowed {
    fn schema() -> RefOr<Schema> {
        // When no limit applies, none binds, and these members are absent: they are not required.
        let Object { properties, .. } = object::<Binding>();
        let mut schema = decision(200, true, "The request is allowed.");
        schema.properties.extend(properties);
        RefOr::T(Schema::Object(schema))
    }
}

impl ToSchema for Allowed {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add_verdict(schemas);
    }
}

impl PartialSchema for Denied {
    fn schema() -> RefOr<Schema> {
        let mut schema = decision(429, false, "The request is denied, and nothing was taken.");
        for Object { properties, required, .. } in [object::<DenialBody<'_>>(), object::<Binding>()]
        {
            schema.properties.extend(properties);
            schema.required.extend(required);
        }
        RefOr::T(Schema::Object(schema))
    }
}

impl ToSchema for Denied {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add_verdict(schemas);
    }
}

/// Returns the header fields that report a decision, by name.
///
/// When no limit applies, a response has none of them. `Retry-After` is only on a denial that ends
/// by waiting.
#[must_use]
pub fn headers() -> [(&'static str, Header); fields::MOST_FIELDS] {
    let number = |what| (Type::Integer, what);
    let text = |what| (Type::String, what);
    [
        (
            &fields::X_LIMIT,
            number("The tokens per period of the binding limit, or its burst if larger."),
        ),
        (&fields::X_REMAINING, number("The remaining tokens of the binding limit.")),
        (
            &fields::X_RESET,
            number("When the bucket of the binding limit is full again, in Unix seconds."),
        ),
        (
            &fields::POLICY,
            text(
                "Every limit that applies: `\"default\";q=60;w=60` is 60 tokens every 60 seconds.",
            ),
        ),
        (
            &fields::STATE,
            text(
                "Every limit that applies: `\"default\";r=9;t=1` is 9 tokens left, and full in one \
                 second.",
            ),
        ),
        (&fields::RETRY, number("Whole seconds until the same request would be allowed.")),
    ]
    .map(|(name, (kind, what))| {
        let schema = ObjectBuilder::new().schema_type(kind);
        (name.as_str(), HeaderBuilder::new().schema(Some(schema)).description(Some(what)).build())
    })
}

/// Returns the schema of the members that every decision has.
fn decision(status: u16, allowed: bool, description: &str) -> Object {
    let verdicts =
        ArrayBuilder::new().items(Ref::from_schema_name(VerdictBody::name())).description(Some(
            "The verdict of every limit that applies: the binding one first, shadow limits last.",
        ));
    ObjectBuilder::new()
        .description(Some(description))
        .property(
            "status",
            ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status])),
        )
        .property(
            "allowed",
            ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([allowed])),
        )
        .property("limits", verdicts)
        .required("status")
        .required("allowed")
        .required("limits")
        .build()
}

fn add_verdict(schemas: &mut Vec<(String, RefOr<Schema>)>) {
    schemas.push((VerdictBody::name().into_owned(), VerdictBody::schema()));
}

fn object<T: ToSchema>() -> Object {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object,
        _ => unreachable!("a struct with named fields is an object"),
    }
}
