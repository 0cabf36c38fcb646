//! The buckets of the load: one that all clients use, and a hundred that are used rarely.

use std::time::Duration;

use crate::{
    load::{BucketKey, LoadRecord},
    window_limit::{Instant, WindowLimit},
};

/// The limits, as sections of the configuration. The hot bucket takes three seconds to fill, longer
/// than any pause in the load.
pub const LIMITS: &str = "\
endpoints: { /hot: { rate: 300/second, burst: 900 } }
defaults: { rate: 5/second, burst: 10 }
";

/// The index of the hot bucket.
pub const HOT: usize = 0;
const COLD: usize = 100;

/// Returns the keys of all buckets.
#[must_use]
pub fn all() -> Vec<BucketKey> {
    let cold =
        (0..COLD).map(|number| BucketKey { client: format!("client-{number}"), path: "/cold" });
    std::iter::once(BucketKey { client: "hot".to_owned(), path: "/hot" }).chain(cold).collect()
}

/// Returns the limit of the hot bucket.
#[must_use]
pub fn hot() -> WindowLimit {
    WindowLimit::new(300, Duration::from_secs(1), 900)
}

/// Returns the limit of each cold bucket.
#[must_use]
pub fn cold() -> WindowLimit {
    WindowLimit::new(5, Duration::from_secs(1), 10)
}

/// Checks every window of every bucket.
///
/// # Panics
/// When more was admitted than the limit allows.
#[track_caller]
pub fn assert_every_window_keeps_its_limit(record: &LoadRecord) {
    assert_windows_keep(record, |limit| limit, |_, _| true);
}

/// Checks every window of every bucket against its limit, changed by `adjusted`. Counts only checks
/// for whose sending and receiving `within` is true.
///
/// # Panics
/// When more was admitted than that limit allows.
#[track_caller]
pub fn assert_windows_keep(
    record: &LoadRecord,
    adjusted: impl Fn(WindowLimit) -> WindowLimit,
    within: impl Fn(Instant, Instant) -> bool,
) {
    for (index, key) in all().iter().enumerate() {
        let mut admitted = record.admitted(index);
        admitted.retain(|one| within(one.sent, one.received));
        let limit = adjusted(if index == HOT { hot() } else { cold() });
        limit.assert_kept(&key.client, &admitted);
    }
}
