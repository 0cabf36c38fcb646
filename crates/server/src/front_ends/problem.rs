//! What goes wrong, as RFC 9457 tells it: `application/problem+json`.
//!
//! A problem's `type` is a name, not an address: `urn:sluice:problem:body-too-large` is the same
//! behind every proxy and on every host, and never changes. Clients tell problems apart by it;
//! `title` and `detail` are for people.

use std::borrow::Cow;

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};
use sluice::{
    LimiterError, RequestError, StoreError,
    response::{PROBLEM_JSON, ProblemBody, ProblemKind},
};

/// A kind of problem: the names that clients may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What came is no HTTP.
    MalformedRequest,
    /// The path is longer than HTTP can be read here.
    PathTooLong,
    /// The body is not the JSON that the door reads.
    MalformedBody,
    /// What was asked cannot be decided about: a path, a client or a header that cannot be read.
    InvalidRequest,
    /// More checks than a batch may hold.
    TooManyChecks,
    /// More events than a body may hold.
    TooManyEvents,
    /// The body is longer than the door reads.
    BodyTooLarge,
    /// The body did not arrive in time.
    BodyTooSlow,
    /// The header fields are longer than any door reads.
    HeadersTooLarge,
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    /// The path does not know the method.
    MethodNotAllowed,
    /// A path among those that tell about this process, with nothing behind it.
    NotFound,
    /// Who asks may not see what is told here.
    Unauthorized,
    /// What was asked for cannot be told, through no fault of the asker.
    Internal,
    /// The store cannot decide, and the limits that apply leave the answer to the caller.
    StoreUnavailable,
    /// The upstream cannot be connected to, or breaks.
    UpstreamFailed,
    /// The upstream does not answer in time.
    UpstreamTooSlow,
    /// No upstream is well.
    NoUpstream,
}

/// One problem, ready to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    /// Which part of the body is wrong: `checks[3].cost`.
    field: Option<String>,
    allow: Option<&'static str>,
}

// === impl Kind ===

impl Kind {
    /// The stable name: the problem's `type`.
    pub(crate) const fn type_uri(self) -> &'static str {
        match self {
            Self::MalformedRequest => "urn:sluice:problem:malformed-request",
            Self::PathTooLong => "urn:sluice:problem:path-too-long",
            Self::MalformedBody => "urn:sluice:problem:malformed-body",
            Self::InvalidRequest => ProblemKind::InvalidRequest.type_uri(),
            Self::TooManyChecks => "urn:sluice:problem:too-many-checks",
            Self::TooManyEvents => "urn:sluice:problem:too-many-events",
            Self::BodyTooLarge => "urn:sluice:problem:body-too-large",
            Self::BodyTooSlow => "urn:sluice:problem:body-too-slow",
            Self::HeadersTooLarge => "urn:sluice:problem:headers-too-large",
            Self::UnsupportedMediaType => "urn:sluice:problem:unsupported-media-type",
            Self::MethodNotAllowed => "urn:sluice:problem:method-not-allowed",
            Self::NotFound => "urn:sluice:problem:not-found",
            Self::Unauthorized => "urn:sluice:problem:unauthorized",
            Self::Internal => "urn:sluice:problem:internal",
            Self::StoreUnavailable => ProblemKind::StoreUnavailable.type_uri(),
            Self::UpstreamFailed => "urn:sluice:problem:upstream-failed",
            Self::UpstreamTooSlow => "urn:sluice:problem:upstream-too-slow",
            Self::NoUpstream => "urn:sluice:problem:no-upstream",
        }
    }

    /// The same words for every problem of the kind.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request is not HTTP",
            Self::PathTooLong => "The path is too long",
            Self::MalformedBody => "The body is not the JSON expected",
            Self::InvalidRequest => ProblemKind::InvalidRequest.title(),
            Self::TooManyChecks => "Too many checks in one batch",
            Self::TooManyEvents => "Too many events in one body",
            Self::BodyTooLarge => "The body is too large",
            Self::BodyTooSlow => "The body did not arrive in time",
            Self::HeadersTooLarge => "The header fields are too large",
            Self::UnsupportedMediaType => "The body is not said to be JSON",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::NotFound => "Nothing is here",
            Self::Unauthorized => "Credentials are needed",
            Self::Internal => "Something is wrong here",
            Self::StoreUnavailable => ProblemKind::StoreUnavailable.title(),
            Self::UpstreamFailed => "The upstream failed",
            Self::UpstreamTooSlow => "The upstream did not answer in time",
            Self::NoUpstream => "No upstream is well",
        }
    }

    /// The status it is answered with.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::PathTooLong => StatusCode::URI_TOO_LONG,
            Self::MalformedRequest
            | Self::MalformedBody
            | Self::TooManyChecks
            | Self::TooManyEvents => StatusCode::BAD_REQUEST,
            Self::InvalidRequest => ProblemKind::InvalidRequest.status(),
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::StoreUnavailable => ProblemKind::StoreUnavailable.status(),
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::UpstreamTooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::NoUpstream => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

// === impl Problem ===

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::new(Kind::InvalidRequest, error.to_string())
    }
}

impl From<StoreError> for Problem {
    /// The chain of causes is for the log: it names hosts.
    fn from(error: StoreError) -> Self {
        tracing::debug!(error = &error as &dyn std::error::Error, "a request was left undecided");
        Self::new(Kind::StoreUnavailable, error.to_string())
    }
}

impl From<LimiterError> for Problem {
    fn from(error: LimiterError) -> Self {
        match error {
            LimiterError::Request(error) => error.into(),
            LimiterError::Store(error) => error.into(),
            other => Self::new(Kind::StoreUnavailable, other.to_string()),
        }
    }
}

impl Problem {
    /// A problem of `kind`; `detail` says what is wrong and what would be right.
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), field: None, allow: None }
    }

    /// The same problem, in this part of the body.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The door at `path` knows only the methods in `allow`, a list as `Allow` writes it.
    pub(crate) fn method_not_allowed(path: &str, allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(Kind::MethodNotAllowed, format!("{path} takes {allow}"))
        }
    }

    /// The status it is answered with.
    pub(crate) const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The members on the wire.
    pub(crate) fn body(&self) -> ProblemBody<'_> {
        ProblemBody {
            type_uri: self.kind.type_uri(),
            title: self.kind.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
        }
    }

    /// The members, as JSON.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body()).expect("a problem is strings and a number")
    }

    /// The answer.
    pub(crate) fn into_response(self) -> Response {
        let body = self.to_json();
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        *response.headers_mut() = headers;
        response
    }
}
