//! Counts and measures what a service answers: `http_requests_total`,
//! `http_request_duration_seconds`, `http_request_size_bytes` and `http_response_size_bytes`.
//!
//! An answer is counted when its last byte was read, and the duration lasts until then; a body that
//! is dropped ends there. Sizes are those of the bodies as they were read. A request that gets no
//! answer, since its client went away or the service failed, is not counted.
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use sluice::{MetricsLayer, Telemetry};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # type Body = Full<&'static [u8]>;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let telemetry = Telemetry::builder().build()?;
//! let service = ServiceBuilder::new()
//!     .layer(MetricsLayer::new(&telemetry.recorders().http))
//!     .service(service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from(&b"hello"[..])))));
//! let answer = service.oneshot(Request::get("/orders/7").body(Body::default())?).await?;
//! assert_eq!(answer.into_body().collect().await?.to_bytes(), "hello");
//!
//! let text = telemetry.prometheus().render()?;
//! assert!(text.contains(r#"http_requests_total{endpoint="other",method="GET",status="200"} 1"#), "{text}");
//! # Ok(())
//! # }
//! ```
//!
//! [`MetricsLayer::with_stats`] also counts for the [stats](crate::stats) that a fleet keeps in
//! its store. A server that is no tower service records what it answers with a [`Traffic`].
//!
//! # The endpoint
//!
//! The label `endpoint` is a pattern, never a path: paths are without end, and time series should
//! not be. It is what the program says of the request; else the policy's pattern, where a
//! [`RateLimitLayer`](super::RateLimitLayer) lies within; else `other`. With axum:
//!
//! ```
//! use axum::{Router, extract::MatchedPath, routing::get};
//! use sluice::MetricsLayer;
//! # let telemetry = sluice::Telemetry::builder().build()?;
//!
//! let metrics = MetricsLayer::new(&telemetry.recorders().http)
//!     .with_endpoint(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str));
//! let app: Router = Router::new().route("/orders/{id}", get(async || "an order")).layer(metrics);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod body;
mod exchange;
mod future;
mod label;
mod layer;
mod service;
mod traffic;

pub use body::{RequestBody, ResponseBody};
pub use future::MetricsFuture;
pub use label::Label;
pub use layer::MetricsLayer;
pub use service::Metrics;
pub use traffic::{Answered, Traffic};
