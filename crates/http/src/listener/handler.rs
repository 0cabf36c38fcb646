//! What handles the requests of a port.

use std::{future::Future, net::IpAddr, time::Duration};

use axum::body::HttpBody;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use sluice_telemetry::ConnectionKind;

use super::pending::RequestBody;

/// Handles the requests that arrive at a port.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of a response.
    type Body: HttpBody<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// The kind of connection, for metrics.
    const CONNECTION: ConnectionKind;
    /// The most requests in progress on one HTTP/2 connection.
    const MAX_STREAMS: u32;
    /// Whether clients speak HTTP/2 alone.
    const ONLY_HTTP2: bool;
    /// Whether the requests of one HTTP/2 connection are handled in one task, so that it writes
    /// together what is ready together. It is for short responses that take little computing.
    const SHARES_TASK: bool = false;
    /// Whether a connection that has had a request may be idle as long as its client likes. Pings
    /// find those whose client vanished.
    const KEEPS_IDLE: bool;
    /// How long requests may take to end on a connection that has reached its greatest age; `None`
    /// is as long as they need.
    const AGE_GRACE: Option<Duration>;

    /// Handles a request that came over a connection from `peer`.
    fn handle(
        &self,
        peer: IpAddr,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Returns whether the request is a probe, which gets its response beyond all limits.
    fn is_probe(request: &Request<Incoming>) -> bool;

    /// Returns whether the request is about the health of the process, and so needs no client
    /// certificate.
    fn needs_no_certificate(request: &Request<Incoming>) -> bool {
        Self::is_probe(request)
    }

    /// Returns the response to a request beyond the limits.
    fn overloaded() -> Response<Self::Body>;

    /// Returns the response to a request that needs a client certificate and has none.
    fn certificate_required() -> Response<Self::Body>;
}
