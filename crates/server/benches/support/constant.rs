//! Servers of the same stack with a constant response, as the program of a benchmark itself runs
//! them in a process of their own.

use std::{env, net::SocketAddr};

use axum::{Router, body::Bytes, routing::post};
use envoy_types::pb::{
    envoy::{
        config::core::v3::HeaderValue,
        service::ratelimit::v3::{
            RateLimitRequest, RateLimitResponse,
            rate_limit_response::{Code, DescriptorStatus, RateLimit},
            rate_limit_service_server::{RateLimitService, RateLimitServiceServer},
        },
    },
    google::protobuf::Duration,
};
use http::header::CONTENT_TYPE;
use tonic::transport::server::TcpIncoming;

use crate::support::Server;

/// The environment variable that makes this program run a constant server: where it listens.
const ADDRESS: &str = "CONSTANT_ANSWER_ON";
/// Which one it is.
const ANSWER: &str = "CONSTANT_ANSWER";

/// A server with a constant response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each benchmark has the whole module, and not all start each server")]
pub(crate) enum Constant {
    /// An axum handler that responds as `POST /v1/check` does.
    Http,
    /// A tonic service that responds with a code alone.
    Code,
    /// One that adds the status of the descriptor.
    Status,
    /// One that adds header fields too: everything that Sluice sends.
    Fields,
}

impl Constant {
    const ALL: [(&str, Self); 4] = [
        ("http", Self::Http),
        ("code", Self::Code),
        ("status", Self::Status),
        ("fields", Self::Fields),
    ];

    /// Starts the server.
    pub(crate) fn start(self) -> Server {
        let (name, _) = Self::ALL.into_iter().find(|(_, one)| *one == self).unwrap();
        Server::start(&env::current_exe().unwrap(), |command, address| {
            command.env(ANSWER, name).env(ADDRESS, address)
        })
    }

    /// Runs the server that this process was started for; returns if it was not.
    pub(crate) fn run_if_asked() -> Option<()> {
        let address: SocketAddr = env::var(ADDRESS).ok()?.parse().unwrap();
        let name = env::var(ANSWER).unwrap();
        let (_, constant) = Self::ALL.into_iter().find(|(known, _)| *known == name).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            match constant {
                Self::Http => respond_over_http(address).await,
                Self::Code | Self::Status | Self::Fields => {
                    constant.respond_over_grpc(address).await;
                }
            }
        });
        Some(())
    }

    async fn respond_over_grpc(self, address: SocketAddr) {
        let incoming = TcpIncoming::bind(address).unwrap().with_nodelay(Some(true));
        tonic::transport::Server::builder()
            .add_service(RateLimitServiceServer::new(Service(self.response())))
            .serve_with_incoming(incoming)
            .await
            .unwrap();
    }

    fn response(self) -> RateLimitResponse {
        let code = Code::Ok.into();
        let mut response = RateLimitResponse { overall_code: code, ..RateLimitResponse::default() };
        if self == Self::Code {
            return response;
        }
        let current_limit = Some(RateLimit { name: String::new(), requests_per_unit: 60, unit: 2 });
        let duration_until_reset = Some(Duration { seconds: 1, nanos: 0 });
        response.statuses = vec![DescriptorStatus {
            code,
            current_limit,
            limit_remaining: 59,
            duration_until_reset,
            quota: None,
        }];
        if self == Self::Fields {
            let fields = [
                ("x-ratelimit-limit", "60"),
                ("x-ratelimit-remaining", "59"),
                ("x-ratelimit-reset", "1800000001"),
                ("ratelimit-policy", "\"edge.api_key\";q=60;w=60"),
                ("ratelimit", "\"edge.api_key\";r=59;t=1"),
            ];
            let field = |(key, value): (&str, &str)| HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                raw_value: Vec::new(),
            };
            response.response_headers_to_add = fields.map(field).into();
        }
        response
    }
}

/// Responds to every call with the same message.
struct Service(RateLimitResponse);

#[tonic::async_trait]
impl RateLimitService for Service {
    async fn should_rate_limit(
        &self,
        _: tonic::Request<RateLimitRequest>,
    ) -> Result<tonic::Response<RateLimitResponse>, tonic::Status> {
        Ok(tonic::Response::new(self.0.clone()))
    }
}

async fn respond_over_http(address: SocketAddr) {
    let body = concat!(
        r#"{"status":200,"allowed":true,"limit":60,"window":60,"remaining":9,"reset":1795305070,"#,
        r#""limits":[{"name":"default","admitted":true}]}"#
    );
    let respond = async move |_: Bytes| ([(CONTENT_TYPE, "application/json")], body);
    let app = Router::new()
        .route("/v1/check", post(respond))
        .route("/health", axum::routing::get(async || "ok"));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let listener =
        axum::serve::ListenerExt::tap_io(listener, |stream| stream.set_nodelay(true).unwrap());
    axum::serve(listener, app).await.unwrap();
}
