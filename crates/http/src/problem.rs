//! Errors as RFC 9457 describes them: `application/problem+json`.

use std::borrow::Cow;

use axum::{body::Body, response::Response};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
};
use sluice::{
    LimiterError, RequestError, StoreError,
    response::{PROBLEM_JSON, ProblemBody, ProblemKind},
};

/// One problem, ready to be sent as a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    /// The part of the body that is wrong: `checks[3].cost`.
    field: Option<String>,
    allow: Option<&'static str>,
    retry_after: Option<u32>,
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::new(ProblemKind::InvalidRequest, error.to_string())
    }
}

impl From<StoreError> for Problem {
    /// Logs the chain of causes, which names hosts, and leaves it out of the response.
    fn from(error: StoreError) -> Self {
        tracing::debug!(error = &error as &dyn std::error::Error, "the store did not decide");
        Self::new(ProblemKind::StoreUnavailable, error.to_string())
    }
}

impl From<LimiterError> for Problem {
    fn from(error: LimiterError) -> Self {
        match error {
            LimiterError::Request(error) => error.into(),
            LimiterError::Store(error) => error.into(),
            other => Self::new(ProblemKind::StoreUnavailable, other.to_string()),
        }
    }
}

impl Problem {
    /// Creates a problem of `kind`; `detail` says what is wrong and what would be right.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), field: None, allow: None, retry_after: None }
    }

    /// Names the part of the body that is wrong.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says that the client may ask again after this number of seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Creates the problem of a `path` that supports only the methods in `allow`, a list as the
    /// header field `Allow` has it.
    #[must_use]
    pub fn method_not_allowed(path: &str, allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(ProblemKind::MethodNotAllowed, format!("{path} supports {allow}"))
        }
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Returns what is wrong and what would be right.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the HTTP status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Returns the members of the JSON body.
    #[must_use]
    pub fn body(&self) -> ProblemBody<'_> {
        ProblemBody {
            type_uri: self.kind.type_uri(),
            title: self.kind.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
        }
    }

    /// Converts the problem into a response.
    #[must_use]
    pub fn into_response(self) -> Response {
        let body =
            serde_json::to_vec(&self.body()).expect("strings and a number are always valid JSON");
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status();
        *response.headers_mut() = headers;
        response
    }
}
