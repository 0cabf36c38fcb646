//! The limit of a token bucket, checked on recorded responses: in every window of length T it
//! admits at most burst + rate * T.
//!
//! Clients do not know the instant of a decision, only that it is between sending the request and
//! receiving the response. So a window is counted conservatively: it starts when some request was
//! sent and ends when some response was received, and contains the requests that were sent and
//! received within it. All of them were certainly decided within it. Instants are those of the
//! system's clock, which a Redis on the same machine reads too.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::fullest_window::Starts;

/// An instant by the system's clock, in microseconds.
pub type Instant = i128;

/// Returns the current instant.
///
/// # Panics
/// When the clock is set to a time before 1970.
#[must_use]
pub fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    since.as_micros().try_into().expect("microseconds since 1970 fit")
}

/// A bucket's rate and burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimit {
    pub(crate) tokens: u64,
    pub(crate) period_us: i128,
    pub(crate) burst: u64,
}

/// Tokens that were admitted at an unknown instant between two known ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Their number.
    pub tokens: u64,
    /// When the request was sent.
    pub sent: Instant,
    /// When the response was received.
    pub received: Instant,
}

/// A window in which more was admitted than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    start: Instant,
    end: Instant,
    admitted: u64,
    limit: WindowLimit,
}

impl WindowLimit {
    /// Makes the limit of a bucket that refills `tokens` every `period`, up to `burst`.
    #[must_use]
    pub fn new(tokens: u64, period: Duration, burst: u64) -> Self {
        Self { tokens, period_us: period.as_micros().try_into().expect("periods are short"), burst }
    }

    /// Returns the limit with another burst.
    #[must_use]
    pub fn with_burst(self, burst: u64) -> Self {
        Self { burst, ..self }
    }

    /// Returns the limit of two such buckets together.
    #[must_use]
    pub fn twice(self) -> Self {
        Self { tokens: 2 * self.tokens, burst: 2 * self.burst, ..self }
    }

    /// Returns the tokens of a full bucket.
    #[must_use]
    pub fn burst(self) -> u64 {
        self.burst
    }

    /// Returns the tokens that may be admitted in a window of this length, rounded down.
    #[must_use]
    pub fn in_window(self, length_us: i128) -> u64 {
        let refilled = length_us.max(0) * i128::from(self.tokens) / self.period_us;
        self.burst + u64::try_from(refilled).expect("tests are short")
    }

    /// Returns the window that exceeds the limit most, if any does.
    #[must_use]
    pub fn worst_excess(self, admitted: &[Admitted]) -> Option<Excess> {
        // The system's clock may be set back in between.
        let in_order = |one: &Admitted| Admitted { received: one.received.max(one.sent), ..*one };
        let mut by_start: Vec<_> = admitted.iter().map(in_order).collect();
        by_start.sort_unstable_by_key(|one| one.sent);
        let mut by_end: Vec<_> = (0..by_start.len()).collect();
        by_end.sort_unstable_by_key(|&index| by_start[index].received);
        let first = by_start.first()?.sent;
        // In fractions of a token: the period in microseconds is one token.
        let refilled = |at: Instant| (at - first) * i128::from(self.tokens);
        let fraction = |tokens: u64| i128::from(tokens) * self.period_us;
        let mut starts = Starts::new(by_start.len());
        let mut worst: Option<(i128, Instant)> = None;
        for index in by_end {
            let Admitted { tokens, sent, received } = by_start[index];
            starts.add(index, refilled(sent), fraction(tokens));
            let excess = starts.most() - refilled(received) - fraction(self.burst);
            if excess > worst.map_or(0, |(most, _)| most) {
                worst = Some((excess, received));
            }
        }
        let (excess, end) = worst?;
        // The start of that window is found again from its end.
        let mut sum = 0;
        let within = by_start.iter().rev().filter(|one| one.received <= end);
        let mut found = within.map(|one| {
            sum += one.tokens;
            Excess { start: one.sent, end, admitted: sum, limit: self }
        });
        found.find(|found| {
            fraction(found.admitted) + refilled(found.start) - refilled(end)
                == excess + fraction(self.burst)
        })
    }

    /// Checks every window.
    ///
    /// # Panics
    /// When a window exceeds the limit; the message describes the worst one.
    #[track_caller]
    pub fn assert_kept(self, bucket: &str, admitted: &[Admitted]) {
        if let Some(excess) = self.worst_excess(admitted) {
            panic!("bucket {bucket}: {excess}");
        }
    }
}

// === impl Excess ===

impl Excess {
    /// Returns the tokens beyond the limit.
    #[must_use]
    pub fn tokens(self) -> u64 {
        self.admitted - self.limit.in_window(self.end - self.start)
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, end, admitted, limit } = self;
        let WindowLimit { tokens, period_us, burst } = limit;
        write!(
            f,
            "{admitted} tokens were admitted within {} us, where burst {burst} and {tokens} per \
             {period_us} us allow {} at most",
            end - start,
            limit.in_window(end - start)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 token a second, burst 3.
    fn limit() -> WindowLimit {
        WindowLimit::new(1, Duration::from_secs(1), 3)
    }

    fn at_once(tokens: u64, seconds: i128) -> Admitted {
        Admitted { tokens, sent: seconds * 1_000_000, received: seconds * 1_000_000 }
    }

    #[test]
    fn what_the_bucket_grants_keeps_the_promise() {
        assert_eq!(limit().worst_excess(&[]), None);
        assert_eq!(limit().worst_excess(&[at_once(3, 0), at_once(1, 1), at_once(2, 3)]), None);
    }

    #[test]
    fn a_window_in_the_middle_is_found() {
        let history = [at_once(1, 0), at_once(3, 100), at_once(1, 100), at_once(1, 200)];
        let excess = limit().worst_excess(&history).unwrap();
        assert_eq!((excess.start, excess.end, excess.admitted), (100_000_000, 100_000_000, 4));
        assert_eq!(excess.tokens(), 1);
        assert_eq!(
            excess.to_string(),
            "4 tokens were admitted within 0 us, where burst 3 and 1 per 1000000 us allow 3 at most"
        );
    }

    #[test]
    fn the_worst_window_is_told() {
        let history = [at_once(3, 0), at_once(2, 1), at_once(2, 2), at_once(1, 50)];
        assert_eq!(limit().worst_excess(&history).unwrap().admitted, 7);
    }

    #[test]
    fn what_may_have_been_decided_outside_of_a_window_is_not_held_against_it() {
        let slow = Admitted { tokens: 3, sent: 0, received: 3_000_000 };
        assert_eq!(
            limit().worst_excess(&[slow, at_once(3, 2)]),
            None,
            "the slow one may have been admitted at 0 already"
        );
        assert!(limit().worst_excess(&[slow, at_once(4, 2)]).is_some());
    }

    #[test]
    fn the_worst_window_is_that_of_a_comparison_of_all() {
        // Numbers that look random, and are the same in every run.
        let mut state = 1_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % bound
        };
        for _ in 0..200 {
            let history: Vec<_> = (0..below(40))
                .map(|_| {
                    let sent = below(20_000_000).into();
                    let received = sent + i128::from(below(1_500_000));
                    Admitted { tokens: below(3), sent, received }
                })
                .collect();
            let in_window = |start, end| {
                let within = history.iter().filter(|one| one.sent >= start && one.received <= end);
                within.map(|one| one.tokens).sum::<u64>()
            };
            let windows = history.iter().flat_map(|from| history.iter().map(move |to| (from, to)));
            let windows = windows.filter(|(from, to)| from.sent <= to.received);
            let excess = windows.map(|(from, to)| {
                let allowed = limit().in_window(to.received - from.sent);
                in_window(from.sent, to.received).saturating_sub(allowed)
            });
            let found = limit().worst_excess(&history);
            assert_eq!(found.map_or(0, Excess::tokens), excess.max().unwrap_or(0), "{history:?}");
            if let Some(found) = found {
                assert_eq!(found.admitted, in_window(found.start, found.end), "{history:?}");
            }
        }
    }

    #[test]
    fn the_order_of_the_history_does_not_matter() {
        let history = [at_once(1, 1), at_once(3, 1), at_once(3, 0)];
        assert_eq!(limit().worst_excess(&history).unwrap().admitted, 7);
    }
}
