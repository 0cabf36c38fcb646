//! The clocks of stores that run in the process.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sluice_core::Timestamp;

/// Gives a store the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// A clock that starts at the system's time and is never adjusted: it neither steps back nor jumps.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    started: Instant,
    started_at: Timestamp,
}

impl MonotonicClock {
    /// Starts a clock at the system's time.
    #[must_use]
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started: Instant::now(),
            started_at: Timestamp::from_unix_micros(0).after(since_epoch),
        }
    }
}

#[cfg(feature = "redis")]
impl MonotonicClock {
    /// Starts a clock that shows `now`.
    pub(crate) fn showing(now: Timestamp) -> Self {
        Self { started: Instant::now(), started_at: now }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Timestamp {
        self.started_at.after(self.started.elapsed())
    }
}

/// A clock that only a test moves.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use sluice_core::{Action, Algorithm, Check, Cost, Limit, Rate, Subject, Tagger, Timestamp};
/// use sluice_store::{ManualClock, MemoryStore, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
/// let store = MemoryStore::with_clock(Arc::clone(&clock));
///
/// let rate = Rate::new("60/minute".parse()?, 1)?;
/// let limit = Arc::new(Limit::new("default", Algorithm::TokenBucket(rate))?);
/// let alice = Tagger::new(b"").tag(Subject::Client(b"alice"));
/// let take = Check::new(Action::Take).with(&limit, alice, Cost::ONE);
///
/// assert!(store.decide(&take).await?.is_allowed());
/// assert!(store.decide(&take).await?.is_denied());
/// clock.advance(Duration::from_secs(1));
/// assert!(store.decide(&take).await?.is_allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Makes a clock that shows `now`.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.unix_micros()))
    }

    /// Moves the clock forward by `span`.
    pub fn advance(&self, span: Duration) {
        self.set(self.now().after(span));
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.unix_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Forwards to the shared clock.
impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}
