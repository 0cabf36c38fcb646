//! The level of a bucket with one client, as far as the responses to it tell.

use crate::window_limit::{Instant, WindowLimit};

/// The bounds of a bucket's level that follow from the responses to its only client. Each response
/// has to be within the bounds, and narrows them.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    limit: WindowLimit,
    /// In fractions of a token: the period in microseconds is one token.
    low: i128,
    high: i128,
    /// When the last request was sent and its response received.
    last: Option<(Instant, Instant)>,
}

impl Level {
    /// The level of a bucket that was never used.
    #[must_use]
    pub fn full(limit: WindowLimit) -> Self {
        let full = i128::from(limit.burst) * limit.period_us;
        Self { limit, low: full, high: full, last: None }
    }

    /// Narrows the bounds by a response: between `sent` and `received` it was decided whether there
    /// were `cost` tokens, and `remaining` were left.
    ///
    /// # Panics
    /// When the response does not fit the bounds.
    #[track_caller]
    pub fn narrow(
        &mut self,
        (sent, received): (Instant, Instant),
        cost: u64,
        allowed: bool,
        remaining: u64,
    ) {
        let WindowLimit { tokens, period_us, burst } = self.limit;
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
                "allowed, though the bucket cannot have had enough: {self:?}"
            );
            self.low = self.low.max(cost) - cost;
            self.high -= cost;
        } else {
            assert!(self.low < cost, "denied, though the bucket must have had enough: {self:?}");
            self.high = self.high.min(cost - 1);
        }
        let reported = i128::from(remaining) * period_us;
        assert!(
            self.low < reported + period_us && self.high >= reported,
            "{remaining} cannot be what remained: {self:?}"
        );
        self.low = self.low.max(reported);
        self.high = self.high.min(reported + period_us - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// 1 token a second, burst 3.
    fn limit() -> WindowLimit {
        WindowLimit::new(1, Duration::from_secs(1), 3)
    }

    const SECOND: i128 = 1_000_000;

    #[test]
    fn answers_that_fit_the_bucket_are_learned() {
        let mut level = Level::full(limit());
        level.narrow((0, 1), 2, true, 1);
        level.narrow((2, 3), 2, false, 1);
        level.narrow((SECOND - 10, SECOND + 10), 2, true, 0);
        level.narrow((10 * SECOND, 11 * SECOND), 3, true, 0);
    }

    #[test]
    #[should_panic(expected = "allowed, though")]
    fn a_token_too_many_is_noticed() {
        let mut level = Level::full(limit());
        level.narrow((0, 1), 3, true, 0);
        level.narrow((SECOND / 2, SECOND - 1), 1, true, 0);
    }

    #[test]
    #[should_panic(expected = "denied, though")]
    fn a_token_too_few_is_noticed() {
        let mut level = Level::full(limit());
        level.narrow((0, 1), 3, true, 0);
        level.narrow((SECOND + 1, SECOND + 2), 1, false, 1);
    }

    #[test]
    #[should_panic(expected = "1 cannot be what remained")]
    fn a_wrong_remainder_is_noticed() {
        Level::full(limit()).narrow((0, 1), 1, true, 1);
    }
}
