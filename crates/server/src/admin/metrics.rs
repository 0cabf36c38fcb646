//! `/metrics`: the catalogue as Prometheus reads it.

use axum::{Router, body::Body, response::Response, routing::get};
use http::{HeaderValue, header::CONTENT_TYPE};
use sluice_telemetry::Prometheus;

use sluice_http::{Problem, ProblemKind};

/// Where Prometheus looks.
pub(crate) const PATH: &str = "/metrics";

/// `/metrics`.
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
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the metrics cannot be written"
            );
            Problem::new(ProblemKind::Internal, "the metrics cannot be written: the log says why")
                .into_response()
        }
    };
    Router::new().route(PATH, get(scrape))
}
