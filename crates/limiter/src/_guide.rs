//! The user guide: from a first limiter to a fleet.
//!
//! # A first limiter
//!
//! A [`Limiter`] gives each client a bucket of tokens. A request takes one; tokens come back at the
//! rate's pace, up to the burst.
//!
//! ```
//! use sluice::Limiter;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
//! let checked = limiter.check_key("alice").await?;
//! if checked.is_denied() {
//!     println!("come back in {:?} s", checked.decision.retry().after_seconds());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A denial is not an error: `Err` means that nothing could be decided.
//!
//! # Policies: limits by path, method and header
//!
//! A [`Policy`] says which limits apply to a [`Request`]. An endpoint's limit replaces the default
//! one for its path and everything below; general limits ([`Rule`]) apply beside these. A request
//! passes when all its limits have the tokens; otherwise it takes none.
//!
//! ```
//! use sluice::{Client, Limiter, Per, Policy, Rate, Request, Rule, When};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let org_writes = Rule::new("org-writes", "1000/minute, burst 200".parse::<Rate>()?)
//!     .when(When::default().method("POST"))
//!     .per(Per::Header("x-org".to_owned()));
//! let policy = Policy::builder()
//!     .default_limit("60/minute, burst 10".parse::<Rate>()?)
//!     .endpoint("/reports", "5/hour, burst 2".parse::<Rate>()?)
//!     .exempt("/health")
//!     .limit(org_writes)
//!     .build()?;
//! let limiter = Limiter::builder(policy).build();
//!
//! let attributes = [("x-org", "red")];
//! let request =
//!     Request::new(Client::Key(b"alice"), "POST", "/reports/7").with_attributes(&attributes);
//! let checked = limiter.check(&request).await?;
//! let limits: Vec<&str> =
//!     checked.decision.verdicts().iter().map(|verdict| verdict.limit.name()).collect();
//! assert_eq!(limits, ["/reports", "org-writes"]);
//! # Ok(())
//! # }
//! ```
//!
//! [`Limiter::replace_policy`] changes the policy of a running program; buckets keep what they
//! hold.
//!
//! # Tiers
//!
//! A [`Tier`] changes the limits of some clients: those it lists, or those whose request names it
//! ([`Request::with_tier`]).
//!
//! ```
//! use sluice::{Limiter, Policy, Rate, Tier};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::builder()
//!     .default_limit("60/minute, burst 1".parse::<Rate>()?)
//!     .tier(Tier::new("pro").multiply(5).client("alice"))
//!     .build()?;
//! let limiter = Limiter::builder(policy).build();
//! let checked = limiter.check_key("alice").await?;
//! assert_eq!(checked.decision.binding().map(|verdict| verdict.remaining), Some(4));
//! # Ok(())
//! # }
//! ```
//!
//! # Costs that are known only afterwards
//!
//! [`Checked`] owns what it needs to correct the cost of its request: [`Checked::charge`] takes
//! more, below zero if need be, and [`Checked::give_back`] returns what was not used.
//! `examples/charge.rs` limits the tokens of a language model in this way.
//!
//! ```
//! use sluice::Limiter;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limiter = Limiter::in_memory("1000/minute, burst 1000".parse()?);
//! let checked = limiter.check_key_with_cost("alice", 100).await?;
//! // The work took 40 tokens only.
//! checked.give_back(60).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Requests in flight
//!
//! A limit with [`Algorithm::Concurrent`] counts the requests that are there at the same time, of
//! which the program [sees the end](Request::followed). [`slots`](crate::slots) has an example, and
//! `examples/in_flight.rs` a program.
//!
//! # A fleet
//!
//! Processes that share a Redis, a prefix and the policy's secret share their buckets. While Redis
//! is away, a [`Failover`] decides in each process by its share of every limit, and charges Redis
//! afterwards. **[Join](Limiter::join) the fleet**, or each process takes the whole limit then.
//!
//! ```no_run
//! use sluice::{Limiter, Policy, RedisSettings, Telemetry};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let telemetry = Telemetry::builder().build()?;
//! let limiter = Limiter::builder(Policy::per_client("60/minute, burst 10".parse()?))
//!     .redis(RedisSettings::new("redis://127.0.0.1:6379").prefix("shop"))
//!     .recorders(telemetry.recorders())
//!     .build()?;
//! let membership = limiter.join("api-7");
//! // ... serve requests ...
//! membership.leave().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # In axum
//!
//! ```
//! use std::net::SocketAddr;
//! use axum::{Router, routing::get};
//! use sluice::{Limiter, RateLimitLayer};
//!
//! let limiter = Limiter::in_memory("60/minute, burst 10".parse()?);
//! let app: Router =
//!     Router::new().route("/", get(async || "hello")).layer(RateLimitLayer::new(limiter));
//! // The layer limits by API key, or by the address that this leaves among the extensions.
//! let service = app.into_make_service_with_connect_info::<SocketAddr>();
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! [`RateLimitLayer::key`] takes the client from elsewhere; [`layer`](crate::layer) has more, and
//! `examples/axum.rs` and `examples/tonic.rs` run.
//!
//! # Metrics of your own
//!
//! A program that embeds the limiter can put its own counters, gauges and histograms on the same
//! page as the limiter's, and send them to the same OTLP collector. A metric is declared once. Each
//! of its labels keeps 50 values, and further ones become `other`, so that no value that a client
//! invents can fill the memory.
//!
//! ```
//! use sluice::{
//!     Telemetry,
//!     telemetry::{CustomKind, CustomMetric},
//! };
//!
//! let telemetry = Telemetry::builder().build()?;
//! let custom = &telemetry.recorders().custom;
//! let refused = custom.declare(&[
//!     CustomMetric::new("my_feature_total", CustomKind::Counter, &["operation"])?
//!         .with_help("Counts uses of the feature, by operation."),
//!     CustomMetric::new("queue_depth", CustomKind::Gauge, &[])?,
//!     CustomMetric::new("job_seconds", CustomKind::Histogram(vec![0.5, 1.0, 5.0]), &["job"])?
//!         .with_unit("s"),
//! ]);
//! assert!(refused.is_empty(), "their names are not taken");
//!
//! custom.count("my_feature_total", &[("operation", "export")], 1.0)?;
//! custom.set("queue_depth", &[], 7.0)?;
//! custom.observe("job_seconds", &[("job", "backup")], 0.7)?;
//!
//! let text = telemetry.prometheus().render()?;
//! assert!(text.contains(r#"my_feature_total{operation="export"} 1"#));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/custom_metrics.rs` runs.
//!
//! # Tests that do not sleep
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use sluice::{Limiter, Policy, store::{ManualClock, Timestamp}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
//! let policy = Policy::per_client("1/hour, burst 1".parse()?);
//! let limiter = Limiter::builder(policy).clock(clock.clone()).build();
//! assert!(limiter.check_key("alice").await?.is_allowed());
//! assert!(limiter.check_key("alice").await?.is_denied());
//! clock.advance(Duration::from_secs(3600));
//! assert!(limiter.check_key("alice").await?.is_allowed());
//! # Ok(())
//! # }
//! ```
//!
//! # A store of your own
//!
//! A [`Store`] needs one method; [`store`](crate::store) has all the types that it meets. This one
//! counts the checks that pass through to another store:
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
//! use sluice::{Decision, Limiter, MemoryStore, Policy, Store, StoreError};
//! use sluice::store::{Check, StoreFuture};
//!
//! #[derive(Debug, Default)]
//! struct Counting {
//!     inner: MemoryStore,
//!     checks: AtomicUsize,
//! }
//!
//! impl Store for Counting {
//!     fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
//!         self.checks.fetch_add(1, Ordering::Relaxed);
//!         self.inner.decide(check)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(Counting::default());
//! let policy = Policy::per_client("60/minute, burst 10".parse()?);
//! let limiter = Limiter::builder(policy).store(store.clone()).build();
//! limiter.check_key("alice").await?;
//! assert_eq!(store.checks.load(Ordering::Relaxed), 1);
//! # Ok(())
//! # }
//! ```

#[allow(unused_imports, reason = "the documentation links to them")]
use crate::{
    Algorithm, Checked, Failover, Limiter, Policy, RateLimitLayer, Request, Rule, Store, Tier,
};
