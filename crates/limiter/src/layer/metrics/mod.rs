//! Counts and measures the responses of a service: `http_requests_total`,
//! `http_request_duration_seconds`, `http_request_size_bytes` and `http_response_size_bytes`.
//!
//! A response is counted when the last byte of its body has been read, or the body is dropped, and
//! its duration lasts until then. Sizes are the bytes that were read. A request without a response,
//! because its client went away or the service failed, is not counted.
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
//!     .service(service_fn(async |_| {
//!         Ok::<_, Infallible>(Response::new(Body::from(&b"hello"[..])))
//!     }));
//! let response = service.oneshot(Request::get("/orders/7").body(Body::default())?).await?;
//! assert_eq!(response.into_body().collect().await?.to_bytes(), "hello");
//!
//! let text = telemetry.prometheus().render()?;
//! let count = r#"http_requests_total{endpoint="/orders/:id",method="GET",status="200"} 1"#;
//! assert!(text.contains(count), "{text}");
//! # Ok(())
//! # }
//! ```
//!
//! [`MetricsLayer::stats`] also counts for the [statistics](crate::stats) that a fleet keeps in its
//! store. A server that is not a tower service records its responses with a [`ResponseRecorder`].
//!
//! # The endpoint
//!
//! The label `endpoint` is the pattern that the program finds; otherwise the policy's, if a
//! [`RateLimitLayer`](super::RateLimitLayer) is further in; otherwise the path with `:id` in place
//! of [identifiers](sluice_core::fold_ids), for the first hundred such paths; otherwise `other`. A
//! response that does not [confirm the path](crate::telemetry::HttpRecorder::confirms_path), such
//! as 404, gives it no place. So the number of time series is bounded. Names are no identifiers:
//! where paths hold the names of users, let the program find the pattern. With axum:
//!
//! ```
//! use axum::{Router, extract::MatchedPath, routing::get};
//! use sluice::MetricsLayer;
//! # let telemetry = sluice::Telemetry::builder().build()?;
//!
//! let metrics = MetricsLayer::new(&telemetry.recorders().http)
//!     .endpoint(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str));
//! let app: Router = Router::new().route("/orders/{id}", get(async || "an order")).layer(metrics);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod body;
mod exchange;
mod future;
mod layer;
mod response_recorder;
mod service;

pub use body::{RequestBody, ResponseBody};
pub use future::MetricsFuture;
pub use layer::MetricsLayer;
pub use response_recorder::ResponseRecorder;
pub use service::Metrics;

pub use crate::telemetry::CompletedResponse;
