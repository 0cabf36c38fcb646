//! A rate limiter for a fleet, to be embedded in a Rust program.
//!
//! A [`Limiter`] is made of a [`Policy`], which says what limits apply to a request; a [`Store`],
//! where the buckets live; and the recorders of what is decided. Any number of replicas that share
//! a Redis, a prefix and a secret share their limits.
//!
//! ```
//! use std::sync::Arc;
//! use sluice::{Client, Limiter, MemoryStore, Policy, Recorders, Request};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 60 requests a minute for each client, in bursts of up to 10.
//! let policy = Policy::per_client("60/minute, burst 10".parse()?);
//! let limiter = Limiter::new(policy, Arc::new(MemoryStore::new()), &Recorders::disabled());
//! let request = Request::new(Client::Key(b"alice"), "GET", "/api/v1/orders");
//! for _ in 0..10 {
//!     assert!(limiter.check(&request).await?.decision.is_allowed());
//! }
//! let decision = limiter.check(&request).await?.decision;
//! assert!(decision.is_denied());
//! assert_eq!(decision.retry().after_seconds(), Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//!
//! A policy is written down as a [`PolicyBuilder`]: a default per client, endpoints that replace it
//! for their paths, and general limits that apply beside these. What is wrong with it is said all
//! at once.
//!
//! ```
//! use std::sync::Arc;
//! use sluice::{Client, Limiter, MemoryStore, Per, Policy, Rate, Recorders, Request, Rule, When};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let org_writes = Rule::new("org-writes", "1000/minute, burst 200".parse::<Rate>()?)
//!     .when(When::default().method("POST"))
//!     .per(Per::Header("x-org".to_owned()));
//! let policy = Policy::builder()
//!     .default_limit(Rate::per_minute(60)?.with_burst(10)?)
//!     .endpoint("/reports", Rate::per_hour(5)?.with_burst(2)?)
//!     .limit(org_writes)
//!     .build()?;
//! let limiter = Limiter::new(policy, Arc::new(MemoryStore::new()), &Recorders::disabled());
//!
//! let attributes = [("x-org", "red")];
//! let request = Request::new(Client::Key(b"alice"), "POST", "/reports/7").with_attributes(&attributes);
//! let decision = limiter.check(&request).await?.decision;
//! let limits: Vec<&str> = decision.verdicts().iter().map(|verdict| verdict.limit.name()).collect();
//! assert_eq!(limits, ["/reports", "org-writes"]);
//! assert_eq!(decision.binding().map(|verdict| verdict.remaining), Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! # A shared store
//!
//! [`RedisStore`] keeps buckets in Redis, [`Failover`] answers while that is away, and
//! [`MeteredRoundTrips`] records its round trips.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use sluice::{Failover, Limiter, MeteredRoundTrips, Policy, RedisSettings, RedisStore, Telemetry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let telemetry = Telemetry::builder().build()?;
//! let recorders = telemetry.recorders();
//! let redis = RedisStore::new(&RedisSettings::new("redis://127.0.0.1"), MeteredRoundTrips::new(recorders.store.clone()))?;
//! let policy = Policy::per_client("60/minute, burst 10".parse()?);
//! let limiter = Limiter::new(policy, Arc::new(Failover::over(redis, Duration::from_millis(25))), recorders);
//! # Ok(())
//! # }
//! ```
//!
//! # Who asks
//!
//! [`identify`] finds the client in a request's headers: by key, by token, or by its address behind
//! trusted proxies.
//!
//! # In front of a service
//!
//! [`RateLimitLayer`] and [`MetricsLayer`] put all this in front of an axum, hyper or tonic
//! service; [`layer`] has examples.

pub mod identify;
pub mod layer;
pub mod response;

mod active_policy;
mod checked;
mod error;
mod limiter;
mod metered;
mod traced;

pub use checked::Checked;
pub use error::LimiterError;
pub use layer::{MetricsLayer, RateLimitLayer};
pub use limiter::{Counters, Limiter};
pub use metered::MeteredRoundTrips;

pub use sluice_core::{
    Action, Algorithm, Attributes, Client, Cost, Decision, Endpoint, HeaderMatch, Limit, LimitSpec,
    Mode, OnStoreFailure, Per, Policy, PolicyBuilder, PolicyError, PolicyErrors, Precision, Rate,
    RateError, RefillRate, Request, RequestError, Retry, Rule, RuleCost, Tagger, Terms, Tier,
    Verdict, When,
};
pub use sluice_stats::{self as stats, events};
pub use sluice_store::{Failover, MemoryStore, RedisSettings, RedisStore, Store, StoreError};
pub use sluice_telemetry::{Recorders, Telemetry};
