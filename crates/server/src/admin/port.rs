//! The admin port, for `admin.listen`: the admin routes and nothing else.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::Request;
use hyper::body::Incoming;
use sluice_core::NormalPath;
use sluice_http::{
    Handler, Problem, RequestBody,
    traffic::{EndpointLabel, StartedRequest, Traffic},
};
use sluice_telemetry::ConnectionKind;

use super::AdminRoutes;
use crate::protocol;

/// Handles the admin port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminPort {
    routes: AdminRoutes,
    traffic: Arc<Traffic>,
}

impl AdminPort {
    /// Serves `routes`; `traffic` counts the requests.
    #[must_use]
    pub const fn new(routes: AdminRoutes, traffic: Arc<Traffic>) -> Self {
        Self { routes, traffic }
    }

    /// Responds to a request.
    pub async fn respond(&self, request: Request<Body>) -> Response {
        let started = StartedRequest::new(&request);
        let uri = request.uri().clone();
        let (label, response) = match NormalPath::parse(uri.path()) {
            Ok(path) => {
                let covering = self.routes.covering(&path);
                let label = covering.map_or(EndpointLabel::OTHER, EndpointLabel::Own);
                (label, self.routes.respond(&path, request).await)
            }
            Err(error) => (EndpointLabel::OTHER, Problem::from(error).into_response()),
        };
        started.record(&self.traffic, &label, &response);
        response
    }
}

impl Handler for AdminPort {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const MAX_STREAMS: u32 = protocol::MAX_STREAMS;
    const ONLY_HTTP2: bool = false;
    const KEEPS_IDLE: bool = false;
    const AGE_GRACE: Option<Duration> = None;

    fn is_probe(request: &Request<Incoming>) -> bool {
        protocol::is_probe(request)
    }

    fn overloaded() -> Response {
        protocol::overloaded()
    }

    fn certificate_required() -> Response {
        protocol::certificate_required()
    }

    async fn handle(&self, _: IpAddr, request: Request<RequestBody>) -> Response {
        self.respond(request.map(Body::new)).await
    }
}
