//! A rate limiter for a fleet, to be embedded in a Rust program.
//!
//! A [`Limiter`] is made of a [`Policy`], which says what limits apply to a request, a [`Store`], where the buckets live, and the recorders of what is
//! decided.
//!
//! ```
//! use std::sync::Arc;
//! use sluice::{Client, Limiter, MemoryStore, Policy, Recorders, Request};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! // 60 requests a minute for each client, in bursts of up to 10.
//! let limiter = Limiter::new(Policy::default(), Arc::new(MemoryStore::new()), &Recorders::disabled());
//! let request = Request::new(Client::Key(b"alice"), "GET", "/api/v1/orders");
//! for _ in 0..10 {
//!     assert!(limiter.check(&request).await?.decision.is_allowed());
//! }
//! let decision = limiter.check(&request).await?.decision;
//! assert!(decision.is_denied());
//! assert_eq!(decision.retry().after_seconds(), Some(1));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

pub mod identify;

mod error;
mod in_force;
mod limiter;
mod metered;

pub use error::LimiterError;
pub use limiter::{Checked, Limiter};
pub use metered::MeteredTrips;

pub use sluice_core::{
    Action, Algorithm, Attributes, Client, Cost, Decision, Limit, Mode, Policy, PolicyBuilder, Rate, Request, RequestError, Retry,
    TokenBucket,
};
pub use sluice_store::{MemoryStore, RedisSettings, RedisStore, Store, StoreError};
pub use sluice_telemetry::{Recorders, Telemetry};
