//! Why a request does not pass, as RFC 9457 tells it: `application/problem+json`.
//!
//! A problem's `type` is a name, not an address: `urn:sluice:problem:rate-limited` is the same
//! behind every proxy and on every host, and never changes. Clients tell problems apart by it;
//! `title` and `detail` are for people.

use http::{HeaderValue, StatusCode};
use serde::Serialize;
use sluice_core::{Decision, Retry};

use crate::error::LimiterError;

/// The media type of a problem.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request does not pass: the names that clients may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Too few tokens now; later there are enough.
    RateLimited,
    /// More tokens asked for than the bucket can ever hold.
    CostAboveBurst,
    /// What was asked cannot be decided about: a path, a client or a header that cannot be read.
    InvalidRequest,
    /// The store cannot decide, and the limits that apply leave the answer to the caller.
    StoreUnavailable,
    /// Nothing tells who asks: the program's mistake, not the client's.
    ClientUnknown,
}

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

impl ProblemKind {
    /// What `decision` refuses with; `None` when it allows.
    #[must_use]
    pub fn of(decision: &Decision) -> Option<Self> {
        decision.is_denied().then(|| Self::of_denial(decision.retry()))
    }

    /// What a denial is that ends as `retry` says.
    pub(super) const fn of_denial(retry: Retry) -> Self {
        match retry {
            Retry::Never => Self::CostAboveBurst,
            Retry::Now | Retry::After(_) => Self::RateLimited,
        }
    }

    /// The stable name: the problem's `type`.
    #[must_use]
    pub const fn type_uri(self) -> &'static str {
        match self {
            Self::RateLimited => "urn:sluice:problem:rate-limited",
            Self::CostAboveBurst => "urn:sluice:problem:cost-above-burst",
            Self::InvalidRequest => "urn:sluice:problem:invalid-request",
            Self::StoreUnavailable => "urn:sluice:problem:store-unavailable",
            Self::ClientUnknown => "urn:sluice:problem:client-unknown",
        }
    }

    /// The same words for every problem of the kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::RateLimited => "Too many requests",
            Self::CostAboveBurst => "The cost is above the burst",
            Self::InvalidRequest => "The request cannot be decided about",
            Self::StoreUnavailable => "The store cannot decide",
            Self::ClientUnknown => "Nothing tells who asks",
        }
    }

    /// The status it is answered with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::RateLimited | Self::CostAboveBurst => StatusCode::TOO_MANY_REQUESTS,
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ClientUnknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<&LimiterError> for ProblemKind {
    fn from(error: &LimiterError) -> Self {
        match error {
            LimiterError::Request(_) => Self::InvalidRequest,
            LimiterError::Store(_) => Self::StoreUnavailable,
        }
    }
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
