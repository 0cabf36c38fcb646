//! The body of a problem, as RFC 9457 describes it: `application/problem+json`.

use http::HeaderValue;
use serde::Serialize;

use super::problem_kind::ProblemKind;

/// The media type of a problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A problem's members on the wire.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Problem))]
pub struct ProblemBody<'a> {
    /// The problem's stable name, `urn:sluice:problem:...`.
    #[serde(rename = "type")]
    pub type_uri: &'static str,
    /// The same words for every problem of the type.
    pub title: &'static str,
    /// The status it is answered with.
    pub status: u16,
    /// What is wrong, and what would be right.
    pub detail: &'a str,
    /// Which part of the request's body is wrong: `checks[3].cost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub field: Option<&'a str>,
}

impl<'a> ProblemBody<'a> {
    /// A problem of `kind`; `detail` says what is wrong and what would be right.
    #[must_use]
    pub const fn new(kind: ProblemKind, detail: &'a str) -> Self {
        Self {
            type_uri: kind.type_uri(),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail,
            field: None,
        }
    }
}
