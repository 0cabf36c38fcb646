//! Layers of [tower](https://docs.rs/tower) that put the limiter and the metrics in front of a
//! service: axum, hyper, tonic, or any other from [`http::Request`] to [`http::Response`].
//!
//! [`rate_limit`] checks requests, and `metrics` counts and measures responses. Put the metrics
//! around the limiter, so that denials are counted too.

#[cfg(feature = "telemetry")]
pub mod metrics;
pub mod rate_limit;

mod matched_endpoint;

pub use matched_endpoint::MatchedEndpoint;
#[cfg(feature = "telemetry")]
pub use metrics::MetricsLayer;
pub use rate_limit::RateLimitLayer;
