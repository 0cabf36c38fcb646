//! Service level objectives: what this process counts for them, and how a fleet meets them.

mod counters;
mod report;

pub(crate) use self::counters::SloCounters;
pub use self::report::{SloReport, SloStatus};
