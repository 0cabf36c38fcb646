//! Waits until a condition is true, and no longer.

use std::time::{Duration, Instant};

/// How long [`eventually`] waits: far more than anything takes here even on a busy machine, so that
/// only a fault exceeds it.
const TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The outcome of one attempt: `bool`, `Option` and `Result`.
pub trait Outcome {
    /// The value of a successful attempt.
    type Value;

    /// Returns the value, or the reason that is printed if this was the last attempt.
    ///
    /// # Errors
    /// When another attempt is needed.
    fn into_result(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn into_result(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "it was never true".to_owned())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn into_result(self) -> Result<T, String> {
        self.ok_or_else(|| "there was never a value".to_owned())
    }
}

impl<T, E: std::fmt::Display> Outcome for Result<T, E> {
    type Value = T;

    fn into_result(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Attempts until an attempt succeeds, and returns its value.
///
/// `what` completes the sentence "waited in vain until ...".
///
/// ```
/// use sluice_testkit::eventually;
///
/// let mut attempts = 0;
/// let found = eventually("the third attempt is made", || {
///     attempts += 1;
///     (attempts == 3).then_some(attempts)
/// });
/// assert_eq!(found, 3);
/// ```
///
/// # Panics
/// When no attempt has succeeded for twenty seconds.
#[track_caller]
pub fn eventually<O: Outcome>(what: &str, attempt: impl FnMut() -> O) -> O::Value {
    eventually_within(TIMEOUT, what, attempt)
}

/// As [`eventually`], with another timeout.
///
/// # Panics
/// When no attempt has succeeded within `timeout`; at least one is made.
#[track_caller]
pub fn eventually_within<O: Outcome>(
    timeout: Duration,
    what: &str,
    mut attempt: impl FnMut() -> O,
) -> O::Value {
    let mut pauses = Attempts::new(timeout);
    loop {
        match attempt().into_result() {
            Ok(value) => return value,
            Err(last) => std::thread::sleep(pauses.pause_or_panic(what, &last)),
        }
    }
}

/// As [`eventually`], for async attempts; needs a tokio runtime with its timer enabled.
///
/// # Panics
/// When no attempt has succeeded for twenty seconds. An attempt that never ends is not
/// interrupted: give it a timeout of its own.
pub async fn eventually_async<O: Outcome>(what: &str, attempt: impl AsyncFnMut() -> O) -> O::Value {
    eventually_async_within(TIMEOUT, what, attempt).await
}

/// As [`eventually_async`], with another timeout.
///
/// # Panics
/// When no attempt has succeeded within `timeout`; at least one is made.
pub async fn eventually_async_within<O: Outcome>(
    timeout: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> O,
) -> O::Value {
    let mut pauses = Attempts::new(timeout);
    loop {
        match attempt().await.into_result() {
            Ok(value) => return value,
            Err(last) => tokio::time::sleep(pauses.pause_or_panic(what, &last)).await,
        }
    }
}

/// The pauses between attempts: short at first, then longer.
struct Attempts {
    start: Instant,
    timeout: Duration,
    pause: Duration,
}

impl Attempts {
    fn new(timeout: Duration) -> Self {
        Self { start: Instant::now(), timeout, pause: FIRST_PAUSE }
    }

    #[track_caller]
    fn pause_or_panic(&mut self, what: &str, last: &str) -> Duration {
        assert!(
            self.start.elapsed() < self.timeout,
            "waited {:?} in vain until {what}: {last}",
            self.timeout
        );
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_success_ends_the_wait() {
        let mut attempts = 0;
        eventually("the fourth attempt is made", || {
            attempts += 1;
            attempts == 4
        });
        assert_eq!(attempts, 4);
    }

    #[test]
    #[should_panic(expected = "waited 0ns in vain until the moon is blue: it is yellow")]
    fn a_timeout_reports_the_condition_and_the_last_attempt() {
        eventually_within(Duration::ZERO, "the moon is blue", || Err::<(), _>("it is yellow"));
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut attempts = Attempts::new(Duration::MAX);
        let pauses: Vec<_> = (0..20).map(|_| attempts.pause_or_panic("", "")).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[19]), (FIRST_PAUSE, LONGEST_PAUSE));
    }

    #[tokio::test]
    async fn attempts_may_await() {
        let mut attempts = 0;
        let value = eventually_async("the second attempt is made", async || {
            tokio::task::yield_now().await;
            attempts += 1;
            (attempts == 2).then_some("done")
        })
        .await;
        assert_eq!((value, attempts), ("done", 2));
    }
}
