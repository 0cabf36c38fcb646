//! What a client is told over HTTP: header fields with every answer, and a body with a refusal.
//!
//! Doors that speak HTTP share it, so that a client reads the same wherever it asks: [`headers`]
//! says where it stands, [`DecisionBody`] what every limit said, and [`ProblemBody`] why a request
//! was not decided.
//!
//! ```
//! use std::sync::Arc;
//! use sluice::{Client, Limiter, MemoryStore, Policy, Recorders, Request, response::headers};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::new(Policy::per_client("60/minute, burst 10".parse()?), Arc::new(MemoryStore::new()), &Recorders::disabled());
//! let decision = limiter.check(&Request::new(Client::Key(b"alice"), "GET", "/orders")).await?.decision;
//! let mut fields = http::HeaderMap::new();
//! headers::write(&decision, &mut fields);
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
