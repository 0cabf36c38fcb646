//! The keys of a fleet's statistics.

use sluice_store::RedisHandle;

use crate::slice::Slice;

/// The keys of one deployment of Sluice.
#[derive(Debug)]
pub(super) struct StatsKeys {
    pub(super) replicas: String,
    pub(super) totals: String,
    pub(super) endpoints: String,
    pub(super) gauges: String,
    pub(super) running: String,
    pub(super) finished: String,
    pub(super) priced: String,
    pub(super) deleted: String,
    /// What the keys of time slices begin with.
    base: String,
}

impl StatsKeys {
    pub(super) fn new(redis: &RedisHandle) -> Self {
        let key = |name: &str| redis.key(&format!("stats:{name}"));
        Self {
            replicas: key("replicas"),
            totals: key("totals"),
            endpoints: key("endpoints"),
            gauges: key("gauges"),
            running: key("running"),
            finished: key("finished"),
            priced: key("priced"),
            deleted: key("deleted"),
            base: key(""),
        }
    }

    /// The clients of a time slice.
    pub(super) fn clients(&self, slice: Slice) -> String {
        format!("{}clients:{}", self.base, slice.number())
    }

    /// The clients of a time slice that were denied.
    pub(super) fn limited(&self, slice: Slice) -> String {
        format!("{}limited:{}", self.base, slice.number())
    }

    /// The clients of an endpoint in a time slice.
    pub(super) fn active(&self, slice: Slice, endpoint: &str) -> String {
        format!("{}active:{}:{endpoint}", self.base, slice.number())
    }

    /// The hourly sums of a day.
    pub(super) fn day(&self, day: u64) -> String {
        format!("{}day:{day}", self.base)
    }

    /// The clients of a time slice that were denied most often.
    pub(super) fn top(&self, slice: Slice) -> String {
        format!("{}top:{}", self.base, slice.number())
    }
}
