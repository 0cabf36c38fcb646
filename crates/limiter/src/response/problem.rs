//! The JSON body of an RFC 9457 problem: `application/problem+json`.

use http::HeaderValue;
use serde::Serialize;

use super::problem_kind::ProblemKind;

/// The media type of a problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The JSON body of a problem.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Problem))]
pub struct ProblemBody<'a> {
    /// The problem's stable name, `urn:sluice:problem:...`.
    #[serde(rename = "type")]
    pub type_uri: &'static str,
    /// The title, which is the same for every problem of the type.
    pub title: &'static str,
    /// The HTTP status of the response.
    pub status: u16,
    /// What is wrong, and what would be valid.
    pub detail: &'a str,
    /// The part of the request's body that is wrong, such as `checks[3].cost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub field: Option<&'a str>,
}

impl<'a> ProblemBody<'a> {
    /// Creates a problem of `kind`; `detail` says what is wrong and what would be valid.
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
