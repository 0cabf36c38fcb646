use std::{borrow::Cow, error::Error};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sluice_core::{Decision, RequestError};

use crate::{
    error::LimiterError,
    response::{DecisionBody, PROBLEM_JSON, ProblemBody, ProblemKind, headers},
};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// ASCII that a `grpc-message` cannot hold unescaped.
const GRPC_ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// The reason why a request does not reach the inner service, other than a denial.
#[derive(Debug)]
pub(super) struct Rejection {
    kind: ProblemKind,
    detail: Cow<'static, str>,
}

impl From<RequestError> for Rejection {
    fn from(error: RequestError) -> Self {
        Self { kind: ProblemKind::InvalidRequest, detail: error.to_string().into() }
    }
}

impl From<LimiterError> for Rejection {
    /// The causes go to the log only, since they name hosts.
    fn from(error: LimiterError) -> Self {
        tracing::debug!(error = &error as &dyn Error, "a request was not decided");
        Self { kind: ProblemKind::from(&error), detail: error.to_string().into() }
    }
}

impl Rejection {
    pub(super) fn client_unknown() -> Self {
        let detail = "no client address: serve with \
                      `into_make_service_with_connect_info::<SocketAddr>()`, or set \
                      `RateLimitLayer::key(..)` or `RateLimitLayer::peer(..)`";
        tracing::error!("{detail}");
        Self { kind: ProblemKind::ClientUnknown, detail: Cow::Borrowed(detail) }
    }

    /// Returns the response to a request whose head had these fields.
    pub(super) fn respond(&self, request: &HeaderMap) -> Response<Bytes> {
        match grpc_content_type(request) {
            Some(content_type) => grpc(self.kind, &self.detail, content_type),
            None => json(self.kind.status(), &ProblemBody::new(self.kind, &self.detail)),
        }
    }
}

/// Returns the response to a denied request whose head had these fields; `None` for an allowed one.
pub(super) fn deny(decision: &Decision, request: &HeaderMap) -> Option<Response<Bytes>> {
    let kind = ProblemKind::of(decision)?;
    let body = DecisionBody::of(decision);
    let mut response = match grpc_content_type(request) {
        Some(content_type) => {
            grpc(kind, body.detail().as_deref().unwrap_or(kind.title()), content_type)
        }
        None => json(kind.status(), &body),
    };
    headers::write(decision, response.headers_mut());
    Some(response)
}

fn json(status: StatusCode, body: &impl serde::Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(body).expect("a problem is strings and numbers");
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let length = HeaderValue::from(response.body().len());
    response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
}

/// Returns a gRPC response that ends with its head, which holds the status in place of trailers.
fn grpc(kind: ProblemKind, message: &str, content_type: &HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, content_type.clone());
    fields.insert(GRPC_STATUS, HeaderValue::from(kind.grpc_code()));
    let message = utf8_percent_encode(message, GRPC_ENCODED).to_string();
    fields.insert(
        GRPC_MESSAGE,
        HeaderValue::try_from(message).expect("everything but printable ASCII is encoded"),
    );
    response
}

/// Returns the content type of a request that is gRPC: `application/grpc`, with or without the
/// encoding of its messages, or that of gRPC-Web.
fn grpc_content_type(request: &HeaderMap) -> Option<&HeaderValue> {
    const GRPC: &[u8] = b"application/grpc";
    let content_type = request.get(CONTENT_TYPE)?;
    let (start, rest) = content_type.as_bytes().split_at_checked(GRPC.len())?;
    let ends = matches!(rest.first(), None | Some(b'+' | b';' | b'-' | b' '));
    (start.eq_ignore_ascii_case(GRPC) && ends).then_some(content_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_recognised_by_its_content_type() {
        let is_grpc = |value: &'static str| {
            grpc_content_type(&HeaderMap::from_iter([(
                CONTENT_TYPE,
                HeaderValue::from_static(value),
            )]))
            .is_some()
        };
        for grpc in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web+proto",
            "Application/GRPC; x=y",
        ] {
            assert!(is_grpc(grpc), "{grpc}");
        }
        for other in ["application/json", "application/grpcx", "application/grp", ""] {
            assert!(!is_grpc(other), "{other}");
        }
        assert!(grpc_content_type(&HeaderMap::new()).is_none());
    }

    #[test]
    fn a_message_that_is_not_ascii_is_encoded() {
        let response = grpc(
            ProblemKind::InvalidRequest,
            "100 % \u{e9}\n",
            &HeaderValue::from_static("application/grpc"),
        );
        assert_eq!(response.headers()[GRPC_MESSAGE], "100 %25 %C3%A9%0A");
    }
}
