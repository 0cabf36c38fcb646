//! The admin port, for `admin.listen`: the admin routes and nothing else.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use sluice::layer::metrics::ResponseRecorder;
use sluice_http::{
    Handler,
    traffic::{EndpointLabel, StartedRequest},
};
use sluice_telemetry::ConnectionKind;

use super::AdminRoutes;
use crate::protocol;

/// Handles the admin port. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AdminPort {
    routes: AdminRoutes,
    traffic: Arc<ResponseRecorder>,
}

impl AdminPort {
    /// Serves `routes`; `traffic` counts the requests.
    #[must_use]
    pub const fn new(routes: AdminRoutes, traffic: Arc<ResponseRecorder>) -> Self {
        Self { routes, traffic }
    }

    /// Responds to a request.
    pub async fn respond(&self, request: Request<Body>) -> Response {
        let started = StartedRequest::new(&request);
        let path = self.routes.covering(request.uri().path());
        let label = path.map_or(EndpointLabel::OTHER, EndpointLabel::Own);
        let response = self.routes.respond(request).await;
        started.record(&self.traffic, &label, &response);
        response
    }
}

impl Handler for AdminPort {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const IDLE_TIMEOUT: Option<Duration> = Some(protocol::IDLE_TIMEOUT);

    fn protocol() -> auto::Builder<TokioExecutor> {
        protocol::http()
    }

    async fn handle(&self, _: IpAddr, request: Request<Incoming>) -> Response {
        self.respond(request.map(Body::new)).await
    }
}
