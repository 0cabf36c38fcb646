//! `/metrics`: all metrics in Prometheus' text format.

use axum::{Router, response::Response, routing::get};
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use sluice_telemetry::Prometheus;
use tokio::task::spawn_blocking;

use super::shared_text::SharedText;
use sluice_http::{Problem, ProblemKind};

/// The path that Prometheus scrapes.
pub(crate) const PATH: &str = "/metrics";

/// Returns the route `/metrics`.
pub(crate) fn routes(prometheus: Prometheus) -> Router {
    let text = SharedText::default();
    let scrape = async move || match text.get(|| render(prometheus.clone())).await {
        Ok(text) => {
            let mut response = Response::new(text);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(Prometheus::CONTENT_TYPE));
            response
        }
        Err(problem) => problem.into_response(),
    };
    Router::new().route(PATH, get(scrape))
}

/// Renders the metrics on a thread that does not decide.
async fn render(prometheus: Prometheus) -> Result<Bytes, Problem> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        tracing::error!(error, "cannot write the metrics");
        Problem::new(ProblemKind::Internal, "cannot write the metrics: see the log")
    };
    match spawn_blocking(move || prometheus.render()).await {
        Ok(Ok(text)) => Ok(text.into()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    }
}
