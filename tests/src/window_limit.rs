//! The promise of a token bucket, checked on what clients were told: in every window of length T it
//! admits at most burst + rate * T.
//!
//! Clients do not know the instant at which Redis decided, only that it lies between their sending
//! and their receiving. So a window is counted on the safe side: it starts when some request was
//! sent and ends when some answer was received, and holds what was both sent and answered within.
//! All of that was certainly decided within. Instants are the system clock's, which Redis reads too
//! when it is on the same machine.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An instant by the system's clock, in microseconds.
pub type Instant = i128;

/// Now.
///
/// # Panics
/// When the clock is set to a time before 1970.
#[must_use]
pub fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    since.as_micros().try_into().expect("microseconds since 1970 fit")
}

/// What a bucket promises: its rate and its burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimit {
    tokens: u64,
    period_us: i128,
    burst: u64,
}

/// Tokens that were admitted at some instant between two others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// How many.
    pub tokens: u64,
    /// When they were asked for.
    pub sent: Instant,
    /// When the answer was there.
    pub received: Instant,
}

/// What the only client of a bucket can know of its level: the bounds that the answers leave. Each
/// answer has to fit them, and narrows them.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    promise: WindowLimit,
    /// In parts of a token: as many make one as the period has microseconds.
    low: i128,
    high: i128,
    /// When the last decision was asked for and known.
    last: Option<(Instant, Instant)>,
}

/// A window in which more was admitted than promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    start: Instant,
    end: Instant,
    admitted: u64,
    promise: WindowLimit,
}

impl WindowLimit {
    /// `tokens` come back every `period`, and a full bucket holds `burst`.
    #[must_use]
    pub fn new(tokens: u64, period: Duration, burst: u64) -> Self {
        Self { tokens, period_us: period.as_micros().try_into().expect("periods are short"), burst }
    }

    /// The same with another burst.
    #[must_use]
    pub fn with_burst(self, burst: u64) -> Self {
        Self { burst, ..self }
    }

    /// What two such buckets promise together.
    #[must_use]
    pub fn twice(self) -> Self {
        Self { tokens: 2 * self.tokens, burst: 2 * self.burst, ..self }
    }

    /// What a full bucket holds.
    #[must_use]
    pub fn burst(self) -> u64 {
        self.burst
    }

    /// Tokens that may be admitted in a window of this length, rounded down.
    #[must_use]
    pub fn in_window(self, length_us: i128) -> u64 {
        let refilled = length_us.max(0) * i128::from(self.tokens) / self.period_us;
        self.burst + u64::try_from(refilled).expect("tests are short")
    }

    /// The window that breaks the promise most, if any does.
    #[must_use]
    pub fn broken_by(self, admitted: &[Admitted]) -> Option<Broken> {
        let mut by_end = admitted.to_vec();
        by_end.sort_by_key(|one| one.received);
        let mut worst: Option<(u64, Broken)> = None;
        for &Admitted { sent: start, .. } in admitted {
            let mut sum = 0;
            for one in by_end.iter().filter(|one| one.sent >= start) {
                sum += one.tokens;
                let excess = sum.saturating_sub(self.in_window(one.received - start));
                if excess > worst.map_or(0, |(excess, _)| excess) {
                    worst = Some((
                        excess,
                        Broken { start, end: one.received, admitted: sum, promise: self },
                    ));
                }
            }
        }
        worst.map(|(_, broken)| broken)
    }

    /// Checks every window.
    ///
    /// # Panics
    /// When one breaks the promise; the message tells the worst.
    #[track_caller]
    pub fn assert_kept(self, bucket: &str, admitted: &[Admitted]) {
        if let Some(broken) = self.broken_by(admitted) {
            panic!("bucket {bucket}: {broken}");
        }
    }
}

// === impl Level ===

impl Level {
    /// A bucket that was never seen.
    #[must_use]
    pub fn full(promise: WindowLimit) -> Self {
        let full = i128::from(promise.burst) * promise.period_us;
        Self { promise, low: full, high: full, last: None }
    }

    /// Takes in an answer: between `sent` and `received` it was decided whether there were `cost`
    /// tokens, and `remaining` were left.
    ///
    /// # Panics
    /// When no bucket that keeps its promise, and gives what it has, could have answered so.
    #[track_caller]
    pub fn learn(
        &mut self,
        (sent, received): (Instant, Instant),
        cost: u64,
        allowed: bool,
        remaining: u64,
    ) {
        let WindowLimit { tokens, period_us, burst } = self.promise;
        if let Some((last_sent, last_received)) = self.last.replace((sent, received)) {
            let level_after = |level: i128, us: i128| {
                (level + us.max(0) * i128::from(tokens)).min(i128::from(burst) * period_us)
            };
            self.low = level_after(self.low, sent - last_received);
            self.high = level_after(self.high, received - last_sent);
        }
        let cost = i128::from(cost) * period_us;
        if allowed {
            assert!(
                self.high >= cost,
                "allowed, though the bucket cannot have held enough: {self:?}"
            );
            self.low = self.low.max(cost) - cost;
            self.high -= cost;
        } else {
            assert!(self.low < cost, "denied, though the bucket must have held enough: {self:?}");
            self.high = self.high.min(cost - 1);
        }
        let told = i128::from(remaining) * period_us;
        assert!(
            self.low < told + period_us && self.high >= told,
            "{remaining} cannot be what remained: {self:?}"
        );
        self.low = self.low.max(told);
        self.high = self.high.min(told + period_us - 1);
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, admitted, promise } = self;
        let WindowLimit { tokens, period_us, burst } = promise;
        write!(
            f,
            "{admitted} tokens were admitted within {} us, where burst {burst} and {tokens} per {period_us} us promise {} at most",
            end - start,
            promise.in_window(end - start)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 token a second, burst 3.
    fn promise() -> WindowLimit {
        WindowLimit::new(1, Duration::from_secs(1), 3)
    }

    fn at_once(tokens: u64, seconds: i128) -> Admitted {
        Admitted { tokens, sent: seconds * 1_000_000, received: seconds * 1_000_000 }
    }

    #[test]
    fn what_the_bucket_grants_keeps_the_promise() {
        assert_eq!(promise().broken_by(&[]), None);
        assert_eq!(promise().broken_by(&[at_once(3, 0), at_once(1, 1), at_once(2, 3)]), None);
    }

    #[test]
    fn a_window_in_the_middle_is_found() {
        let history = [at_once(1, 0), at_once(3, 100), at_once(1, 100), at_once(1, 200)];
        let broken = promise().broken_by(&history).unwrap();
        assert_eq!((broken.start, broken.end, broken.admitted), (100_000_000, 100_000_000, 4));
        assert_eq!(
            broken.to_string(),
            "4 tokens were admitted within 0 us, where burst 3 and 1 per 1000000 us promise 3 at most"
        );
    }

    #[test]
    fn the_worst_window_is_told() {
        let history = [at_once(3, 0), at_once(2, 1), at_once(2, 2), at_once(1, 50)];
        assert_eq!(promise().broken_by(&history).unwrap().admitted, 7);
    }

    #[test]
    fn what_may_have_been_decided_outside_of_a_window_is_not_held_against_it() {
        let slow = Admitted { tokens: 3, sent: 0, received: 3_000_000 };
        assert_eq!(
            promise().broken_by(&[slow, at_once(3, 2)]),
            None,
            "the slow one may have been admitted at 0 already"
        );
        assert!(promise().broken_by(&[slow, at_once(4, 2)]).is_some());
    }

    const SECOND: i128 = 1_000_000;

    #[test]
    fn answers_that_fit_the_bucket_are_learned() {
        let mut level = Level::full(promise());
        level.learn((0, 1), 2, true, 1);
        level.learn((2, 3), 2, false, 1);
        level.learn((SECOND - 10, SECOND + 10), 2, true, 0);
        level.learn((10 * SECOND, 11 * SECOND), 3, true, 0);
    }

    #[test]
    #[should_panic(expected = "allowed, though")]
    fn a_token_too_many_is_noticed() {
        let mut level = Level::full(promise());
        level.learn((0, 1), 3, true, 0);
        level.learn((SECOND / 2, SECOND - 1), 1, true, 0);
    }

    #[test]
    #[should_panic(expected = "denied, though")]
    fn a_token_too_few_is_noticed() {
        let mut level = Level::full(promise());
        level.learn((0, 1), 3, true, 0);
        level.learn((SECOND + 1, SECOND + 2), 1, false, 1);
    }

    #[test]
    #[should_panic(expected = "1 cannot be what remained")]
    fn a_wrong_remainder_is_noticed() {
        Level::full(promise()).learn((0, 1), 1, true, 1);
    }

    #[test]
    fn the_order_of_the_history_does_not_matter() {
        let history = [at_once(1, 1), at_once(3, 1), at_once(3, 0)];
        assert_eq!(promise().broken_by(&history).unwrap().admitted, 7);
    }
}
