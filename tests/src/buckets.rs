//! What crowds ask about: one bucket that everybody wants, and a hundred that few do.

use std::time::Duration;

use crate::{
    load::{BucketKey, LoadRecord},
    window_limit::{Instant, WindowLimit},
};

/// The limits, as sections of the configuration. It takes three seconds to fill the hot bucket: no
/// pause in the load is ever that long.
pub const LIMITS: &str = "\
endpoints: { /hot: { rate: 300/second, burst: 900 } }
defaults: { rate: 5/second, burst: 10 }
";

/// The index of the hot subject.
pub const HOT: usize = 0;
const COLD: usize = 100;

/// All of them.
#[must_use]
pub fn all() -> Vec<BucketKey> {
    let cold =
        (0..COLD).map(|number| BucketKey { client: format!("client-{number}"), path: "/cold" });
    std::iter::once(BucketKey { client: "everybody".to_owned(), path: "/hot" })
        .chain(cold)
        .collect()
}

/// What the hot bucket promises.
#[must_use]
pub fn hot() -> WindowLimit {
    WindowLimit::new(300, Duration::from_secs(1), 900)
}

/// What each cold bucket promises.
#[must_use]
pub fn cold() -> WindowLimit {
    WindowLimit::new(5, Duration::from_secs(1), 10)
}

/// Checks every window of every bucket.
///
/// # Panics
/// When one breaks its promise.
#[track_caller]
pub fn assert_every_window_keeps_its_promise(record: &LoadRecord) {
    assert_windows_keep(record, |promise| promise, |_, _| true);
}

/// Checks every window of every bucket against what `promised` makes of its promise; only what was
/// sent and received as `within` says counts.
///
/// # Panics
/// When one breaks it.
#[track_caller]
pub fn assert_windows_keep(
    record: &LoadRecord,
    promised: impl Fn(WindowLimit) -> WindowLimit,
    within: impl Fn(Instant, Instant) -> bool,
) {
    for (index, subject) in all().iter().enumerate() {
        let mut admitted = record.admitted(index);
        admitted.retain(|one| within(one.sent, one.received));
        let promise = promised(if index == HOT { hot() } else { cold() });
        promise.assert_kept(&subject.client, &admitted);
    }
}
