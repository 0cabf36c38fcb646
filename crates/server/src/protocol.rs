//! What the HTTP port and the admin port share.

use axum::response::Response;
use http::{HeaderValue, Request, header::RETRY_AFTER};
use sluice_http::{Problem, ProblemKind};

use crate::admin::is_probe_path;

/// The longest head that is accepted: as long as Envoy, the most generous proxy, accepts.
pub(crate) const MAX_HEAD_BYTES: usize = 60 << 10;

/// The most requests in progress on one HTTP/2 connection: as many as browsers and proxies send.
pub(crate) const MAX_STREAMS: u32 = 200;

/// Returns whether the request is a probe.
pub(crate) fn is_probe<B>(request: &Request<B>) -> bool {
    is_probe_path(request.uri().path())
}

/// Returns the response to a request beyond the limits of `listen`.
pub(crate) fn overloaded() -> Response {
    let detail = "too many connections or requests at a time: retry later, or raise the limits \
                  of `listen`";
    let mut response = Problem::new(ProblemKind::Overloaded, detail).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Returns the response to a request without the client certificate that `tls` requires.
pub(crate) fn certificate_required() -> Response {
    let detail = "this port requires a client certificate that `client_ca` has signed";
    Problem::new(ProblemKind::CertificateRequired, detail).into_response()
}
