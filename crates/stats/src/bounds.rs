//! How much a stats store keeps, and for how long: the same in memory and in Redis.

use std::time::Duration;

/// How long a gauge report that names an instance stays valid. An instance that has not repeated
/// its report by then is taken to have stopped.
pub(crate) const REPORT_LIFETIME: Duration = Duration::from_secs(300);
/// A deployment that has not finished after this long is no longer counted as active.
pub(crate) const MAX_DEPLOYMENT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the end of a deployment is remembered, so that a late report of its start does not
/// make it active again. The number of a silent replica's last flush is remembered for as long.
pub(crate) const MEMORY_OF_ENDS: Duration = Duration::from_secs(60 * 60);
/// How much later than its end a deployment may seem to have started. Start and end may be reported
/// through different replicas, which know the store's time to some milliseconds only, and more
/// coarsely on a busy machine.
pub(crate) const START_TOLERANCE: Duration = Duration::from_secs(2);
/// Deployments that are remembered by their ids.
pub(crate) const MAX_DEPLOYMENTS: usize = 10_000;
/// Deployments that cost by the hour: running, or deleted and not charged since. Further ones cost
/// nothing.
pub(crate) const MAX_RUNNING: usize = 1_000;
/// Gauges that are kept.
pub(crate) const MAX_GAUGES: usize = 2_000;
/// Endpoints that are kept, including those that no configuration names any more.
pub(crate) const MAX_ENDPOINTS: usize = 2_000;
/// Sums that are kept for one day: of a thousand series in each hour. The amounts of further series
/// are added to folded ones.
pub(crate) const MAX_SUMS_PER_DAY: usize = 24_000;
/// The same, folded ones included. Amounts beyond it are dropped.
pub(crate) const MAX_FOLDED_SUMS_PER_DAY: usize = MAX_SUMS_PER_DAY + 2_400;
/// Rate-limited clients whose denials are counted in each time slice.
pub(crate) const MAX_TOP_PER_SLICE: usize = 1_000;
