//! The service over gRPC.

use axum::body::HttpBody;
use http::{Request, Response};
use sluice_telemetry::{RequestSpan, join_trace};
use tonic::{Code, Status, body::Body, server::NamedService};
use tracing::Instrument;

use crate::{EnvoyRls, messages::RateLimitRequest, unary};

/// Where the one method of the service is.
pub const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// What it is called within the service.
const METHOD: &str = "ShouldRateLimit";

/// The longest request that is read: several times what a proxy makes of the longest header fields
/// that it lets through.
const MAX_REQUEST_BYTES: usize = 256 << 10;

impl NamedService for EnvoyRls {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl EnvoyRls {
    /// Answers a call of [`SHOULD_RATE_LIMIT`].
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
        let request: RateLimitRequest = unary::read(request, MAX_REQUEST_BYTES).await?;
        Ok(unary::respond(&self.decide(&request).await?))
    }
}

/// The status of an answer to a unary call: one that failed has it in its head, which is then all
/// there is.
fn status<B>(response: &Response<B>) -> i32 {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()).into()
}
