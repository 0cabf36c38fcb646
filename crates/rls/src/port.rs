//! The gRPC port: Envoy's rate limit service, health, and reflection.
//!
//! | service | |
//! |---|---|
//! | `envoy.service.ratelimit.v3.RateLimitService` | [`EnvoyRls`] |
//! | `grpc.health.v1.Health` | `SERVING` until the process begins to stop |
//! | `grpc.reflection.v1`, and `v1alpha` | describes the other services to tools such as grpcurl |
//!
//! Health has three names for the service: the empty one, the service's own, and `ratelimit`.

use std::{convert::Infallible, net::IpAddr, time::Duration};

use axum::Router;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use sluice_telemetry::ConnectionKind;
use tonic::{Status, body::Body, server::NamedService};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::{Service, ServiceExt};

use sluice_http::Handler;

use crate::{EnvoyRls, grpc::SHOULD_RATE_LIMIT, reflection};

/// The name under which envoyproxy/ratelimit reports its health.
const OTHER_NAME: &str = "ratelimit";

/// The most concurrent calls on one connection. A proxy sends one call for each of its requests,
/// over few connections.
const MAX_CONCURRENT_CALLS: u32 = 1_000;

/// How often an idle connection is pinged, and how long the response may take. It closes the
/// connections of proxies that vanished.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// The services of the gRPC port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GrpcFrontEnds {
    pub(crate) rls: EnvoyRls,
    other_services: Router,
    reporter: HealthReporter,
}

impl GrpcFrontEnds {
    /// Creates the services around `rls`.
    #[must_use]
    pub fn new(rls: EnvoyRls) -> Self {
        let reporter = HealthReporter::new();
        let other_services = route(
            Router::new(),
            HealthServer::new(HealthService::from_health_reporter(reporter.clone())),
        );
        let other_services = route(other_services, reflection::v1());
        let other_services = route(other_services, reflection::v1alpha());
        Self { rls, other_services, reporter }
    }

    /// Reports `SERVING` from now on.
    pub async fn start(&self) {
        self.report(ServingStatus::Serving).await;
    }

    /// Reports `NOT_SERVING` from now on. Calls still get responses.
    pub async fn stop(&self) {
        self.report(ServingStatus::NotServing).await;
    }

    /// Ends the health watches, which would last as long as their clients.
    pub async fn end_watches(&self) {
        let mut reporter = self.reporter.clone();
        for name in NAMES {
            reporter.clear_service_status(name).await;
        }
    }

    async fn report(&self, status: ServingStatus) {
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() == SHOULD_RATE_LIMIT {
            return self.rls.respond_grpc(request).await;
        }
        match self.other_services.clone().oneshot(request).await {
            Ok(response) if response.status() == http::StatusCode::NOT_FOUND => {
                Status::unimplemented("there is no such method: reflection lists the methods")
                    .into_http()
            }
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }
}

/// The names under which health is reported.
pub(crate) const NAMES: [&str; 3] = ["", EnvoyRls::NAME, OTHER_NAME];

fn route<S>(router: Router, service: S) -> Router
where
    S: Service<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}

impl Handler for GrpcFrontEnds {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Grpc;
    /// Proxies keep their connections open, and pings find the dead ones.
    const IDLE_TIMEOUT: Option<Duration> = None;

    fn protocol() -> auto::Builder<TokioExecutor> {
        let mut protocol = auto::Builder::new(TokioExecutor::new()).http2_only();
        let (interval, timeout) = KEEP_ALIVE;
        protocol
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .max_concurrent_streams(MAX_CONCURRENT_CALLS);
        protocol
    }

    async fn handle(&self, _peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        self.answer(request).await
    }
}
