//! A rate limiter to embed in a Rust program: in the memory of one process, or shared by a fleet
//! through Redis.
//!
//! ```
//! use sluice::Limiter;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 60 requests a minute for each client, in bursts of up to 10.
//! let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
//! for _ in 0..10 {
//!     assert!(limiter.check_key(b"alice").await?.is_allowed());
//! }
//! let checked = limiter.check_key(b"alice").await?;
//! assert!(checked.is_denied());
//! assert_eq!(checked.decision.retry().after_seconds(), Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! The [user guide](_guide) leads from here to a fleet: policies, Redis, tiers, costs that are
//! known only afterwards, axum and tonic, metrics, tests without sleeping, and your own stores.
//!
//! # The parts
//!
//! - [`Limiter`] decides. It has a [`Policy`], which says which limits apply to a request, and a
//!   [`Store`], which keeps the buckets.
//! - [`RateLimitLayer`] and [`MetricsLayer`] put it in front of a tower service; [`layer`] has
//!   examples.
//! - [`identify`] finds out which client sends a request; [`response`] says in header fields and
//!   JSON what was decided.
//! - [`slots`] bounds how many requests are in flight; [`holds`] takes what is only estimated.
//! - [`policy`] and [`store`] hold the types of the two that are needed less often.
//!
//! # Features
//!
//! All but `openapi` are on by default. A limiter in memory needs none of them.
//!
//! | feature | adds |
//! |---|---|
//! | `redis` | [`Limiter::redis`] and [`RedisStore`]: buckets that a fleet shares |
//! | `tower` | [`layer`], [`identify`] and [`response`]: everything about HTTP |
//! | `axum` | the layers find axum's `ConnectInfo<SocketAddr>` |
//! | `telemetry` | [`Telemetry`] and [`Recorders`]: metrics and trace spans by OpenTelemetry |
//! | `stats` | [`stats`]: sums over a whole fleet, kept in its store |
//! | `openapi` | schemas of the JSON bodies for `utoipa` |

#[cfg(feature = "default")]
pub mod _guide;
#[cfg(feature = "telemetry")]
pub mod checks;
pub mod holds;
#[cfg(feature = "tower")]
pub mod identify;
#[cfg(feature = "tower")]
pub mod layer;
pub mod policy;
#[cfg(feature = "tower")]
pub mod response;
pub mod slots;
pub mod store;

mod active_policy;
mod builder;
mod checked;
mod decision_span;
mod error;
mod first_values;
mod limiter;
mod membership;
#[cfg(feature = "telemetry")]
mod metered;
mod observed;
mod standing;
#[cfg(not(feature = "stats"))]
mod stats;
#[cfg(not(feature = "telemetry"))]
mod telemetry;
mod timed;
mod unknown_tiers;
#[cfg(feature = "tower")]
mod untrusted_peers;
mod unverified;

pub use builder::{InMemory, LimiterBuilder};
pub use checked::Checked;
pub use error::LimiterError;
#[cfg(all(feature = "telemetry", feature = "tower"))]
pub use layer::MetricsLayer;
#[cfg(feature = "tower")]
pub use layer::RateLimitLayer;
pub use limiter::Limiter;
pub use membership::Membership;
#[cfg(feature = "telemetry")]
pub use metered::MeteredRoundTrips;
pub use observed::{Decided, ObserveDecisions};
pub use standing::{Conflict, Standing};
pub use unverified::UNVERIFIED;

#[doc(inline)]
pub use policy::{
    Algorithm, AtMost, Calendar, CalendarUnit, Concurrent, Endpoint, HeaderMatch, Limit, LimitSpec,
    Mode, OnStoreFailure, Per, Policy, PolicyBuilder, PolicyError, PolicyErrors, Precision, Quota,
    Rate, RefillRate, Rule, RuleCost, Tagger, Terms, Tier, When,
};
#[doc(inline)]
pub use sluice_core::{
    Action, Attributes, Client, Cost, CostError, Counts, Decision, Metering, MicroUnits,
    RepeatedField, Request, RequestError, Retry, TokenUsage, TokenWeights, Usage, Verdict,
    one_value,
};
#[cfg(feature = "stats")]
pub use sluice_stats as stats;
#[cfg(feature = "telemetry")]
pub use sluice_telemetry as telemetry;
#[doc(inline)]
#[cfg(feature = "telemetry")]
pub use sluice_telemetry::{Recorders, Telemetry};
#[doc(inline)]
pub use store::{Failover, MemoryStore, Store, StoreError};
#[cfg(feature = "redis")]
#[doc(inline)]
pub use store::{RedisSettings, RedisStore};
