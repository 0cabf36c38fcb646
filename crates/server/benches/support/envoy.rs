//! The client side of Envoy's rate limit service.

use std::net::SocketAddr;

use envoy_types::pb::envoy::{
    extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
    service::ratelimit::v3::{RateLimitRequest, RateLimitResponse, rate_limit_response::Code},
};

use crate::{
    grpc::{Connection, Response},
    support::Answer,
};

const URL: &str = "http://sluice/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A caller over a connection; clones share it.
#[derive(Clone)]
pub(crate) struct Caller(Connection);

impl Caller {
    /// Connects to `server`.
    #[allow(dead_code, reason = "each benchmark has the whole module, and connects in its own way")]
    pub(crate) async fn connect(server: SocketAddr) -> Self {
        Self(Connection::connect(server).await)
    }

    /// Connects as many callers as calls will be in flight.
    #[allow(dead_code, reason = "each benchmark has the whole module, and connects in its own way")]
    pub(crate) async fn connect_many(server: SocketAddr, callers: usize) -> Vec<Self> {
        Connection::connect_many(server, callers).await.into_iter().map(Self).collect()
    }

    /// Sends a call for this client.
    pub(crate) async fn ask(&mut self, client: usize) -> Answer {
        let Response::<RateLimitResponse> { message, took_us } =
            self.0.call(URL, &request(client)).await;
        Answer { is_allowed: message.overall_code() == Code::Ok, took_us }
    }
}

fn request(client: usize) -> RateLimitRequest {
    let entries = vec![Entry { key: "api_key".to_owned(), value: format!("client-{client:06}") }];
    let descriptors = vec![RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }];
    RateLimitRequest { domain: "edge".to_owned(), descriptors, hits_addend: 0 }
}
