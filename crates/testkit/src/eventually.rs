//! Waiting for what is bound to happen, and for no longer than that takes.

use std::time::{Duration, Instant};

/// How long [`eventually`] waits: far more than anything here takes, so that only a fault, never a
/// busy machine, runs into it.
const PATIENCE: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What one attempt came to: `bool`, `Option` and `Result` are outcomes.
pub trait Outcome {
    /// What a successful attempt yields.
    type Value;

    /// The value, or what to tell the reader if this was the last attempt.
    ///
    /// # Errors
    /// When it is worth trying again.
    fn settle(self) -> Result<Self::Value, String>;
}

impl Outcome for bool {
    type Value = ();

    fn settle(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "it never was true".to_owned())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "there never was one".to_owned())
    }
}

impl<T, E: std::fmt::Display> Outcome for Result<T, E> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Tries until an attempt succeeds, and returns what it yielded.
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
    eventually_within(PATIENCE, what, attempt)
}

/// As [`eventually`], with a patience of one's own.
///
/// # Panics
/// When no attempt has succeeded within `patience`; one is made in any case.
#[track_caller]
pub fn eventually_within<O: Outcome>(
    patience: Duration,
    what: &str,
    mut attempt: impl FnMut() -> O,
) -> O::Value {
    let mut tries = Tries::new(patience);
    loop {
        match attempt().settle() {
            Ok(value) => return value,
            Err(last) => std::thread::sleep(tries.pause_or_panic(what, &last)),
        }
    }
}

/// As [`eventually`], for attempts that await; runs on any tokio runtime with its timer enabled.
///
/// # Panics
/// When no attempt has succeeded for twenty seconds. An attempt that never ends is not cut short:
/// give it its own timeout.
pub async fn eventually_async<O: Outcome>(what: &str, attempt: impl AsyncFnMut() -> O) -> O::Value {
    eventually_async_within(PATIENCE, what, attempt).await
}

/// As [`eventually_async`], with a patience of one's own.
///
/// # Panics
/// When no attempt has succeeded within `patience`; one is made in any case.
pub async fn eventually_async_within<O: Outcome>(
    patience: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> O,
) -> O::Value {
    let mut tries = Tries::new(patience);
    loop {
        match attempt().await.settle() {
            Ok(value) => return value,
            Err(last) => tokio::time::sleep(tries.pause_or_panic(what, &last)).await,
        }
    }
}

/// The rhythm of the attempts: quick at first, then easy on the machine.
struct Tries {
    start: Instant,
    patience: Duration,
    pause: Duration,
}

impl Tries {
    fn new(patience: Duration) -> Self {
        Self { start: Instant::now(), patience, pause: FIRST_PAUSE }
    }

    #[track_caller]
    fn pause_or_panic(&mut self, what: &str, last: &str) -> Duration {
        assert!(
            self.start.elapsed() < self.patience,
            "waited {:?} in vain until {what}: {last}",
            self.patience
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
    fn a_vain_wait_tells_what_for_and_how_the_last_attempt_ended() {
        eventually_within(Duration::ZERO, "the moon is blue", || Err::<(), _>("it is yellow"));
    }

    #[test]
    fn pauses_grow_and_are_bounded() {
        let mut tries = Tries::new(Duration::MAX);
        let pauses: Vec<_> = (0..20).map(|_| tries.pause_or_panic("", "")).collect();
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
