//! Layers of [tower](https://docs.rs/tower) that put the limiter and the metrics in front of a
//! service: axum, hyper, tonic, or any other that answers [`http::Request`] with
//! [`http::Response`].
//!
//! [`rate_limit`] checks requests, [`metrics`] counts and measures answers. Metrics go around the
//! limiter, so that refusals are counted too.

pub mod metrics;
pub mod rate_limit;

mod endpoint;

pub use endpoint::Endpoint;
pub use metrics::MetricsLayer;
pub use rate_limit::RateLimitLayer;
