//! HTTP responses of rate-limited front ends: header fields for every response, and JSON bodies.
//!
//! All front ends that speak HTTP share them, so that a client reads the same everywhere:
//! [`headers`] say what the client has left, [`DecisionBody`] what every limit decided, and
//! [`ProblemBody`] why a request was not decided.
//!
//! ```
//! use sluice::{Limiter, response::headers};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
//! let checked = limiter.check_key(b"alice").await?;
//! let mut fields = http::HeaderMap::new();
//! headers::write(&checked.decision, &mut fields);
//! assert_eq!(fields["x-ratelimit-limit"], "60");
//! assert_eq!(fields["ratelimit"], "\"default\";r=9;t=1");
//! # Ok(())
//! # }
//! ```

pub mod headers;

mod decision;
mod problem;
mod problem_kind;
#[cfg(feature = "openapi")]
pub mod schema;

pub use decision::DecisionBody;
pub use problem::{PROBLEM_JSON, ProblemBody};
pub use problem_kind::ProblemKind;
