//! The service over gRPC.

use axum::body::HttpBody;
use http::{Request, Response};
use sluice_telemetry::{RequestSpan, join_trace};
use tonic::{Code, Status, body::Body, server::NamedService};
use tracing::Instrument;

use crate::{EnvoyRls, deadline::CallDeadline, messages::RateLimitRequest, unary};

/// The path of the service's only method.
pub const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The name of the method within the service.
const METHOD: &str = "ShouldRateLimit";

/// The longest request that is accepted: several times what a proxy produces from the longest
/// header fields that it accepts.
const MAX_REQUEST_BYTES: usize = 256 << 10;

impl NamedService for EnvoyRls {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl EnvoyRls {
    /// Responds to a call of [`SHOULD_RATE_LIMIT`].
    pub async fn respond_grpc<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let span = RequestSpan::rpc(Self::NAME, METHOD);
        join_trace(span.span(), request.headers());
        let response = self
            .call(request)
            .instrument(span.span().clone())
            .await
            .unwrap_or_else(Status::into_http);
        span.grpc_responded(|| status(&response));
        response
    }

    async fn call<B>(&self, request: Request<B>) -> Result<Response<Body>, Status>
    where
        B: HttpBody,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let deadline = CallDeadline::of(request.headers());
        let request: RateLimitRequest = unary::read(request, MAX_REQUEST_BYTES).await?;
        Ok(unary::respond(&self.decide(&request, deadline).await?))
    }
}

/// Returns the gRPC status of a response. A failed unary call has it in the head, which is then the
/// whole response.
fn status<B>(response: &Response<B>) -> i32 {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()).into()
}
