//! What a fleet knows of itself, counted here and kept in the store.
//!
//! A [`Tally`] counts for one process: decisions ([`Limiter::tallied`](crate::Limiter::tallied)),
//! HTTP answers ([`MetricsLayer::tallied`](crate::MetricsLayer::tallied)), and what applications
//! report ([`Events`](crate::events::Events)). A [`Reporter`] hands it to [`Figures`] once a
//! second, and reads what the whole fleet has counted.
//!
//! ```
//! use std::sync::Arc;
//! use sluice::{
//!     Client, Limiter, MemoryStore, Policy, Recorders, Request,
//!     figures::{MemoryFigures, Reporter, Tally},
//! };
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let recorders = Recorders::disabled();
//! let tally = Tally::new(&recorders);
//! let reporter = Reporter::new(tally.clone(), Arc::new(MemoryFigures::new()), "replica-1");
//! let limiter = Limiter::tallied(Policy::default(), Arc::new(MemoryStore::new()), &recorders, &tally);
//!
//! limiter.check(&Request::new(Client::Key(b"alice"), "GET", "/api/v1/tools/execute")).await?;
//! let fleet = reporter.read().await?;
//! assert_eq!(fleet.endpoints["/api/v1/tools/execute"].requests, 1);
//! assert_eq!(fleet.clients, 1);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod board;
mod reporter;
mod seen;
mod sharded;
mod tally;

pub(crate) use self::{
    board::{BLUEPRINT_RESOURCES, CACHE_HIT_RATE, CONNECTIONS, DATABASE_CONNECTIONS},
    tally::{EndpointTally, micros},
};
pub use self::{
    reporter::{Flushing, Reporter, ReporterStatus},
    tally::Tally,
};

pub use sluice_store::{
    EndpointFigures, Figures, FleetFigures, GaugeKey, Gauges, Held, MemoryFigures, RedisFigures,
    ReplicaFigures, Total, Totals,
};
