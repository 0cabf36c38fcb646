//! The service over gRPC.

use axum::body::HttpBody;
use http::{Request, Response};
use sluice_telemetry::{RequestSpan, join_trace};
use tonic::{Code, Status, body::Body, server::NamedService};
use tracing::Instrument;

use crate::{
    EnvoyRls,
    call::Call,
    deadline::CallDeadline,
    messages::{RateLimitRequest, RateLimitResponse},
    unary,
};

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
    pub async fn respond_grpc<B>(&self, request: &mut Request<B>) -> Response<Body>
    where
        B: HttpBody + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut call = self.begin_call();
        let span = RequestSpan::rpc(Self::NAME, METHOD);
        join_trace(span.span(), request.headers());
        let decided = self.decide_grpc(request, &mut call).instrument(span.span().clone()).await;
        let mut response = match decided {
            Ok(response) => {
                call.responded(&response);
                unary::respond(&response)
            }
            Err(status) => {
                call.failed(status.code().into(), status.message());
                status.into_http()
            }
        };
        unary::advertise_encodings(response.headers_mut());
        span.grpc_responded(|| status(&response));
        response
    }

    async fn decide_grpc<B>(
        &self,
        request: &mut Request<B>,
        call: &mut Call<'_>,
    ) -> Result<RateLimitResponse, Status>
    where
        B: HttpBody + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let deadline = CallDeadline::of(request.headers());
        let request: RateLimitRequest = unary::read(request, MAX_REQUEST_BYTES).await?;
        Ok(self.decide_call(&request, deadline, call, false).await?)
    }
}

/// Returns the gRPC status of a response. A failed unary call has it in the head, which is then the
/// whole response.
fn status<B>(response: &Response<B>) -> i32 {
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()).into()
}
