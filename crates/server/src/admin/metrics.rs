//! `/metrics`: all metrics in Prometheus' text format.

use axum::{Router, body::Body, response::Response, routing::get};
use http::{HeaderValue, header::CONTENT_TYPE};
use sluice_telemetry::Prometheus;

use sluice_http::{Problem, ProblemKind};

/// The path that Prometheus scrapes.
pub(crate) const PATH: &str = "/metrics";

/// Returns the route `/metrics`.
pub(crate) fn routes(prometheus: Prometheus) -> Router {
    let scrape = async move || match prometheus.render() {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(Prometheus::CONTENT_TYPE));
            response
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot write the metrics");
            Problem::new(ProblemKind::Internal, "cannot write the metrics: see the log")
                .into_response()
        }
    };
    Router::new().route(PATH, get(scrape))
}
