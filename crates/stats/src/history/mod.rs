//! Sums by the hour: how much was added to a series in each hour of the last 35 days.
//!
//! A [`Series`] has a short name, which only its constructors make. [`SeriesCounter::add`] adds an
//! amount in this process; the next flush adds it to the fleet's sum, exactly once, in the hour in
//! which it was counted. Hours are Unix hours of the store's clock, so that clocks of replicas that
//! differ do not matter.
//!
//! - An amount is counted to the second of a flush. While the store is away, it is kept, and placed
//!   to about five minutes.
//! - An amount that arrives later than the next day (UTC) is added to the first hour of yesterday:
//!   older days do not change any more. That is why a process keeps them once it has read them, and
//!   a read costs the store two hashes, or three in the first hour of a day.
//! - A process has up to 500 series. Further ones, and names that are too long, are added to the
//!   series of the same kind whose name is `other`, and counted in `sluice_history_folded_total`.
//!
//! ```
//! use sluice_stats::{
//!     MemoryStats, StatsCounters, Reporter,
//!     history::{CostSource, Hour, Series},
//! };
//! use sluice_telemetry::Recorders;
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let counters = StatsCounters::new(&Recorders::disabled());
//! let reporter = Reporter::new(counters.clone(), MemoryStats::shared(), "replica-1");
//! let series = Series::cost(CostSource::Llm, "qwen", "USD");
//! counters.series(&series).add(1_500);
//!
//! let history = reporter.read_history().await?;
//! let this_hour = Hour::at(history.now());
//! assert_eq!(history.sum(&series, this_hour..this_hour.next()), 1_500);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod counters;
mod hour;
mod series;
mod sums;

pub(crate) use self::counters::HistoryCounters;
pub use self::{
    counters::{HistoryPeriod, SeriesCounter},
    hour::{HISTORY_DAYS, Hour},
    series::{CostSource, Series},
    sums::{DaySums, History},
};
