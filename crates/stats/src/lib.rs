//! The statistics of a fleet: what `/monitoring` shows, and what applications report at
//! `POST /v1/events`.
//!
//! # From an event to a fleet-wide sum
//!
//! 1. **Something happens.** An application reports an [`Event`](events::Event) to
//!    [`Events`](events::Events) (`events/`), which rejects it if it is invalid (`events/error.rs`)
//!    and records it in this replica's own metrics (`endpoint_labels.rs` labels requests). The
//!    limiter reports each decision, and the HTTP layers report each response.
//! 2. **This process counts.** [`StatsCounters`] (`counters.rs`) adds to sums (`sharded.rs`), notes
//!    each client once per time slice (`reported_clients.rs`), and keeps the latest gauge reports.
//!    No request waits for the store.
//! 3. **The replica flushes.** About once a second, [`Reporter`] (`reporter.rs`) takes what was
//!    counted as [`Deltas`] and sends them in a numbered [`Flush`] (`flush.rs`) to a [`StatsStore`]
//!    (`stats_store.rs`). A flush without a response is sent again; the number makes sure that it
//!    is added once.
//! 4. **The store adds.** [`MemoryStats`] (`memory_stats/`) serves one process. [`RedisStats`]
//!    (`redis_stats/`, `lua/stats.lua`) serves all replicas that share a Redis and a prefix.
//!    `bounds.rs` limits what both keep.
//! 5. **Gauges come back.** The response to a flush contains the [`Gauges`] of the fleet
//!    (`gauges.rs`). `last_values.rs` records them, so that every replica's `/metrics` shows the
//!    same values.
//! 6. **Hours are summed.** Amounts that matter by the hour (`history/`) travel in the same flush;
//!    [`Reporter::read_history`] returns the sums of the last 35 days.
//! 7. **A page is read.** [`Reporter::read`] returns [`FleetStats`] (`fleet.rs`): [`Totals`]
//!    (`totals.rs`), statistics by endpoint, distinct clients, gauges and live replicas.
//!
//! Totals outlive every replica. Open connections belong to a replica and expire with it. Distinct
//! clients are estimated with a `HyperLogLog` for each time slice (`slice.rs`). [`SLICES`] slices
//! of [`SLICE`] cover the last 55 to 60 minutes, so a client whose last request was an hour ago is
//! no longer counted.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use sluice_stats::{
//!     MemoryStats, Reporter, StatsCounters, Total,
//!     events::{Events, ToolExecution},
//! };
//! use sluice_telemetry::Telemetry;
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let telemetry = Telemetry::builder().build()?;
//! let counters = StatsCounters::new(telemetry.recorders());
//! let events = Events::new(telemetry.recorders(), &counters);
//! let reporter = Reporter::new(counters, Arc::new(MemoryStats::new()), "replica-1");
//!
//! let scaled = ToolExecution::new("scale", "success").with_duration(Duration::from_millis(200));
//! events.tool_execution(&scaled)?;
//! let fleet = reporter.read().await?;
//! assert_eq!(fleet.totals.get(Total::ToolExecutions), 1);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

pub mod costs;
pub mod events;
pub mod history;

mod bounds;
mod convert;
mod counters;
mod endpoint_labels;
mod fleet;
mod flush;
mod gauges;
mod last_values;
mod memory_stats;
mod redis_stats;
mod reported_clients;
mod reporter;
mod running;
mod sharded;
mod slice;
pub mod slos;
mod stats_store;
mod totals;

pub use counters::{EndpointCounters, StatsCounters};
pub use endpoint_labels::{EndpointLabels, LabelledEndpoint};
pub use fleet::{EndpointStats, FleetStats, OpenConnections, ReplicaStats};
pub use flush::{Deltas, DeploymentChange, DeploymentPhase, EndpointDeltas, Flush, GaugeReport};
pub use gauges::{GaugeKey, Gauges};
pub use memory_stats::MemoryStats;
pub use redis_stats::RedisStats;
pub use reporter::{FlushTask, Reporter, ReporterStatus};
pub use running::{Charged, HourlyPrice, RunningChange};
pub use slice::{SLICE, SLICES};
pub use stats_store::StatsStore;
pub use totals::{Total, Totals};
