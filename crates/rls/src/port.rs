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
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_TYPE, UPGRADE},
};
use hyper::body::Incoming;
use sluice_telemetry::{ConnectionKind, ReplicaRecorder};
use tonic::{Status, body::Body, codec::CompressionEncoding, server::NamedService};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower::{Service, ServiceExt};

use sluice_http::{
    Handler, RequestBody,
    access::{CallerAccess, TokenFields},
};

use crate::{EnvoyRls, grpc::SHOULD_RATE_LIMIT, reflection};

/// The name under which envoyproxy/ratelimit reports its health.
const OTHER_NAME: &str = "ratelimit";

/// What the paths of the health service begin with.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// The most concurrent calls on one connection. A proxy sends one call for each of its requests,
/// over few connections.
const MAX_CONCURRENT_CALLS: u32 = 1_000;

/// How long calls may take to end on a connection that has reached its greatest age: longer than
/// any call but a watch.
const AGE_GRACE: Duration = Duration::from_secs(30);

/// The method that probes call.
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// What a program receives that does not speak gRPC.
const OTHER_PROTOCOL: &str = "This port speaks gRPC over HTTP/2. HTTP is on the port of \
                              `listen.http`.\n";

/// The services of the gRPC port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GrpcFrontEnds {
    pub(crate) rls: EnvoyRls,
    access: CallerAccess,
    replica: ReplicaRecorder,
    other_services: Router,
    reporter: HealthReporter,
}

impl GrpcFrontEnds {
    /// Creates the services around `rls`. All but health are for callers that `access` admits;
    /// `replica` counts the others.
    #[must_use]
    pub fn new(rls: EnvoyRls, access: CallerAccess, replica: ReplicaRecorder) -> Self {
        let reporter = HealthReporter::new();
        let other_services = route(
            Router::new(),
            HealthServer::new(HealthService::from_health_reporter(reporter.clone()))
                .accept_compressed(CompressionEncoding::Gzip),
        );
        let v1 = reflection::v1().accept_compressed(CompressionEncoding::Gzip);
        let v1alpha = reflection::v1alpha().accept_compressed(CompressionEncoding::Gzip);
        let other_services = route(route(other_services, v1), v1alpha);
        Self { rls, access, replica, other_services, reporter }
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

    /// Returns the response to a caller without a valid token. Kubelets and load balancers have
    /// none.
    fn refuse_caller(&self, request: &mut Request<RequestBody>) -> Option<Response<Body>> {
        if request.uri().path().starts_with(HEALTH) {
            return None;
        }
        let rejected = self.access.admit(request.headers_mut(), TokenFields::Both).err()?;
        self.replica.caller_rejected(ConnectionKind::Grpc);
        Some(Status::unauthenticated(rejected.detail()).into_http())
    }

    async fn respond_other(&self, request: Request<RequestBody>) -> Response<Body> {
        match self.other_services.clone().oneshot(request).await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => {
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
    const MAX_STREAMS: u32 = MAX_CONCURRENT_CALLS;
    const ONLY_HTTP2: bool = true;
    /// Proxies send many calls over few connections.
    const SHARES_TASK: bool = true;
    /// Proxies keep their connections open.
    const KEEPS_IDLE: bool = true;
    const AGE_GRACE: Option<Duration> = Some(AGE_GRACE);

    async fn handle(&self, _peer: IpAddr, mut request: Request<RequestBody>) -> Response<Body> {
        let refused = refuse_other_protocols(&request).or_else(|| self.refuse_caller(&mut request));
        if let Some(response) = refused {
            return response;
        }
        if request.uri().path() == SHOULD_RATE_LIMIT {
            return self.rls.respond_grpc(&mut request).await;
        }
        // The other services are called rarely, and their future is large.
        Box::pin(self.respond_other(request)).await
    }

    fn is_probe(request: &Request<Incoming>) -> bool {
        request.uri().path() == HEALTH_CHECK
    }

    fn needs_no_certificate(request: &Request<Incoming>) -> bool {
        request.uri().path().starts_with(HEALTH)
    }

    fn certificate_required() -> Response<Body> {
        Status::unauthenticated("this port requires a client certificate").into_http()
    }

    fn overloaded() -> Response<Body> {
        Status::unavailable("too many connections or calls at a time").into_http()
    }
}

/// Returns the response to a request that is not a gRPC call.
fn refuse_other_protocols<B>(request: &Request<B>) -> Option<Response<Body>> {
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"application/grpc"));
    let status = match (request.version(), is_grpc) {
        (Version::HTTP_2, true) => return None,
        (Version::HTTP_2, false) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        _ => StatusCode::UPGRADE_REQUIRED,
    };
    let mut response = Response::new(Body::new(String::from(OTHER_PROTOCOL)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(UPGRADE, HeaderValue::from_static("h2c"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade, close"));
    }
    Some(response)
}
