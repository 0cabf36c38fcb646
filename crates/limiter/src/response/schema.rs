//! The schemas of what a client is told, for programs that describe themselves with `utoipa`.
//!
//! They are made of the types that are written. [`ProblemBody`](super::ProblemBody) describes
//! itself; a [`DecisionBody`](super::DecisionBody) has two shapes, each with a schema of its own:
//! [`Allowed`] and [`Denied`]. [`headers`] describes the fields beside them.
//!
//! ```
//! use sluice::response::schema::{Denied, headers};
//! use utoipa::{ToSchema, openapi::{ContentBuilder, Ref, ResponseBuilder}};
//!
//! let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Denied::name()))).build();
//! let denied = ResponseBuilder::new().description("Too many requests").content("application/problem+json", content);
//! let denied = headers().into_iter().fold(denied, |denied, (name, header)| denied.header(name, header)).build();
//! assert!(denied.headers.contains_key("retry-after"));
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

/// A decision that allows.
#[derive(Clone, Copy, Debug)]
pub struct Allowed;

/// A decision that denies: an RFC 9457 problem.
#[derive(Clone, Copy, Debug)]
pub struct Denied;

impl PartialSchema for Allowed {
    fn schema() -> RefOr<Schema> {
        // Where no limit applies none binds, and its members are left out.
        let Object { properties, .. } = object::<Binding>();
        let mut schema = decision(200, true, "The request may pass.");
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

/// The header fields that tell where a client stands, by name. Where no limit applies there are
/// none of them, and `Retry-After` is only on a denial that waiting ends.
#[must_use]
pub fn headers() -> [(&'static str, Header); fields::MOST_FIELDS] {
    let number = |what| (Type::Integer, what);
    let text = |what| (Type::String, what);
    [
        (&fields::X_LIMIT, number("Requests per minute of the limit that binds.")),
        (&fields::X_REMAINING, number("Tokens left of the limit that binds.")),
        (&fields::X_RESET, number("When the bucket of the limit that binds is full again, in Unix seconds.")),
        (&fields::POLICY, text(r#"Every limit that applies: `"default";q=60;w=60` is 60 tokens every 60 seconds."#)),
        (&fields::STATE, text(r#"Every limit that applies: `"default";r=9;t=1` is 9 tokens left, and full in one second."#)),
        (&fields::RETRY, number("Whole seconds until the same would be allowed.")),
    ]
    .map(|(name, (kind, what))| {
        let schema = ObjectBuilder::new().schema_type(kind);
        (name.as_str(), HeaderBuilder::new().schema(Some(schema)).description(Some(what)).build())
    })
}

/// The members of every decision.
fn decision(status: u16, allowed: bool, description: &str) -> Object {
    let verdicts =
        ArrayBuilder::new().items(Ref::from_schema_name(VerdictBody::name())).description(Some(
            "What every limit that applies said, the one that binds first and shadows last.",
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
