//! The rate of a token bucket: how fast it refills and how many tokens it holds.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    refill_rate::{Refill, RefillRate, RefillRateError, parse_count},
    time::Span,
};

/// The longest time a bucket may need to fill: 50 years of 365 days, in microseconds.
///
/// Within it, every instant in the arithmetic is between the Unix epoch and 2^53 microseconds after
/// it. So Redis' Lua, whose numbers are doubles, is exact too.
pub const MAX_FILL_US: i64 = 50 * 365 * 24 * 60 * 60 * 1_000_000;

/// The rate of a limit: how fast tokens come back ([`RefillRate`]), and the burst, which is the
/// most tokens that a bucket holds.
///
/// In every window of time `t`, a limit admits at most `burst + refill rate * t` tokens.
///
/// ```
/// use sluice_core::Rate;
///
/// // 60 requests per minute, all of which may come at once.
/// let rate = Rate::per_minute(60)?;
/// assert_eq!(rate.burst(), 60);
/// // 60 requests per minute, of which 10 may come at once.
/// let rate = Rate::per_minute(60)?.with_burst(10)?;
/// // The same as text.
/// assert_eq!(rate, "60/minute, burst 10".parse()?);
/// # Ok::<_, sluice_core::RateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    refill_rate: RefillRate,
    burst: u64,
    fill: Span,
}

/// The reason why a rate is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// The refill rate is not possible.
    #[error(transparent)]
    RefillRate(#[from] RefillRateError),
    /// The burst is zero, so nothing would ever be admitted.
    #[error("a burst is at least 1 token")]
    NoBurst,
    /// The bucket could not be counted exactly in 53 bits.
    #[error(
        "a burst of {burst} tokens takes {years} years to come back at {refill_rate}; at most 50 \
         years can be counted exactly: lower the burst or raise the rate"
    )]
    TooSlowToFill {
        /// The burst that was given.
        burst: u64,
        /// The refill rate that was given.
        refill_rate: RefillRate,
        /// The whole years that the bucket needs to fill.
        years: u128,
    },
    /// The text is not in the form that [`Rate::from_str`] reads.
    #[error("`{text}` is not a rate: write `60/minute` or `60/minute, burst 10`")]
    Syntax {
        /// The text.
        text: String,
    },
}

impl Rate {
    /// Creates a rate with a burst of its own.
    ///
    /// # Errors
    /// When `burst` is zero, or an empty bucket needs more than 50 years ([`MAX_FILL_US`]) to fill.
    pub fn new(refill_rate: RefillRate, burst: u64) -> Result<Self, RateError> {
        if burst == 0 {
            return Err(RateError::NoBurst);
        }
        let refill = refill_rate.refill();
        let fill_us = u128::from(burst) * u128::from(refill.micros()) / u128::from(refill.tokens());
        if fill_us >= MAX_FILL_US.unsigned_abs().into() {
            let years = fill_us / (365 * 24 * 60 * 60 * 1_000_000);
            return Err(RateError::TooSlowToFill { burst, refill_rate, years });
        }
        Ok(Self { refill_rate, burst, fill: span_of(refill, burst) })
    }

    /// Creates a rate of `tokens` per second, with a burst of `tokens`.
    ///
    /// # Errors
    /// When `tokens` is zero or above [`MAX_TOKENS`](crate::MAX_TOKENS).
    pub fn per_second(tokens: u64) -> Result<Self, RateError> {
        Self::per(tokens, 1)
    }

    /// Creates a rate of `tokens` per minute, with a burst of `tokens`.
    ///
    /// # Errors
    /// When `tokens` is zero or above [`MAX_TOKENS`](crate::MAX_TOKENS).
    pub fn per_minute(tokens: u64) -> Result<Self, RateError> {
        Self::per(tokens, 60)
    }

    /// Creates a rate of `tokens` per hour, with a burst of `tokens`.
    ///
    /// # Errors
    /// When `tokens` is zero or above [`MAX_TOKENS`](crate::MAX_TOKENS).
    pub fn per_hour(tokens: u64) -> Result<Self, RateError> {
        Self::per(tokens, 60 * 60)
    }

    /// Creates a rate of `tokens` per day, with a burst of `tokens`.
    ///
    /// # Errors
    /// When `tokens` is zero or above [`MAX_TOKENS`](crate::MAX_TOKENS).
    pub fn per_day(tokens: u64) -> Result<Self, RateError> {
        Self::per(tokens, 24 * 60 * 60)
    }

    fn per(tokens: u64, seconds: u64) -> Result<Self, RateError> {
        Ok(RefillRate::new(tokens, Duration::from_secs(seconds))?.into())
    }

    /// Returns this rate with another burst.
    ///
    /// # Errors
    /// As [`Rate::new`].
    pub fn with_burst(self, burst: u64) -> Result<Self, RateError> {
        Self::new(self.refill_rate, burst)
    }

    /// Returns how fast tokens come back.
    #[must_use]
    pub const fn refill_rate(&self) -> RefillRate {
        self.refill_rate
    }

    /// Returns the most tokens that a bucket holds.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Returns the refill rate in lowest terms: the units of a bucket's state.
    #[must_use]
    pub const fn refill(&self) -> Refill {
        self.refill_rate.refill()
    }

    /// Returns how long an empty bucket needs to fill.
    #[must_use]
    pub const fn fill(&self) -> Span {
        self.fill
    }

    /// Returns how long `tokens` tokens need to come back, exactly. The result is at most
    /// [`MAX_FILL_US`] times two, beyond which nothing is admitted or owed.
    #[must_use]
    pub fn span_of(&self, tokens: u64) -> Span {
        span_of(self.refill(), tokens)
    }

    /// Multiplies the refill rate and the burst by `factor`.
    ///
    /// # Errors
    /// When the product is not possible.
    pub fn times(&self, factor: u64) -> Result<Self, RateError> {
        Self::new(self.refill_rate.times(factor)?, self.burst.saturating_mul(factor))
    }

    /// Returns one of `shares` equal parts: what one of that many replicas may admit alone. The
    /// burst of a share is at least one token.
    #[must_use]
    pub fn shared_among(&self, shares: u64) -> Self {
        let refill_rate = self.refill_rate.shared_among(shares);
        let burst = (self.burst / shares.max(1)).max(1);
        // A burst of one token at the slower rate may need too long to fill. Then the refill rate
        // stays whole.
        Self::new(refill_rate, burst)
            .or_else(|_| Self::new(self.refill_rate, burst))
            .unwrap_or(*self)
    }
}

impl From<RefillRate> for Rate {
    /// Gives the rate a burst of one period's tokens.
    fn from(refill_rate: RefillRate) -> Self {
        Self::new(refill_rate, refill_rate.tokens())
            .expect("the tokens of one period come back within one period, which is short enough")
    }
}

impl FromStr for Rate {
    type Err = RateError;

    /// Reads a [`RefillRate`], with or without a burst after a comma: `60/minute` or
    /// `60/minute, burst 10`. Without it, the burst is one period's tokens.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let Some((refill_rate, burst)) = text.split_once(',') else {
            return Ok(text.parse::<RefillRate>()?.into());
        };
        let burst = burst.trim().strip_prefix("burst ").and_then(|burst| parse_count(burst.trim()));
        let burst = burst.ok_or_else(|| RateError::Syntax { text: text.to_owned() })?;
        Self::new(refill_rate.parse()?, burst)
    }
}

impl fmt::Display for Rate {
    /// Writes what [`Rate::from_str`] reads: `60/minute, burst 10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, burst {}", self.refill_rate, self.burst)
    }
}

const LONGEST_SPAN: Span = Span { micros: 2 * MAX_FILL_US, fraction: 0 };

fn span_of(refill: Refill, tokens: u64) -> Span {
    // Nearly every rate and cost take the first branches, which are several times faster than a
    // division of 128 bits.
    let (micros, fraction) = match tokens.checked_mul(refill.micros()) {
        Some(parts) if refill.tokens() == 1 => (parts, 0),
        Some(parts) => (parts / refill.tokens(), parts % refill.tokens()),
        None => {
            let parts = u128::from(tokens) * u128::from(refill.micros());
            let per_micro = u128::from(refill.tokens());
            let (Ok(micros), Ok(fraction)) =
                (u64::try_from(parts / per_micro), u64::try_from(parts % per_micro))
            else {
                return LONGEST_SPAN;
            };
            (micros, fraction)
        }
    };
    match i64::try_from(micros) {
        Ok(micros) if micros < LONGEST_SPAN.micros => Span { micros, fraction },
        _ => LONGEST_SPAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refill_rate::MAX_TOKENS;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn spans_are_exact_to_the_fraction() {
        let rate = rate("90/minute, burst 10");
        assert_eq!(rate.span_of(1), Span { micros: 666_666, fraction: 2 });
        assert_eq!(rate.span_of(3), Span { micros: 2_000_000, fraction: 0 });
        assert_eq!(rate.fill(), Span { micros: 6_666_666, fraction: 2 });
    }

    #[test]
    fn the_largest_products_do_not_overflow() {
        let refill_rate = RefillRate::new(MAX_TOKENS, Duration::from_micros(1)).unwrap();
        let fastest = Rate::new(refill_rate, u64::MAX).unwrap();
        assert_eq!(fastest.span_of(u64::MAX).micros, 18_446_744);
        assert_eq!(rate("1 per 366d, burst 49").span_of(u64::MAX), LONGEST_SPAN);
    }

    #[test]
    fn the_burst_is_one_periods_tokens_unless_it_is_given() {
        for rate in [Rate::per_second(5), Rate::per_minute(5), Rate::per_hour(5), Rate::per_day(5)]
        {
            assert_eq!(rate.unwrap().burst(), 5);
        }
        assert_eq!(rate("100 per 90s").burst(), 100);
        assert_eq!(rate("1 per 366d").burst(), 1);
        assert_eq!(Rate::per_day(MAX_TOKENS).unwrap().burst(), MAX_TOKENS);
        assert_eq!(Rate::per_minute(60).unwrap().with_burst(10), Ok(rate("60/minute, burst 10")));
    }

    #[test]
    fn text_that_was_written_can_be_read() {
        for text in ["60/minute, burst 10", "1 per 90s, burst 1"] {
            assert_eq!(rate(text).to_string(), text);
        }
        for text in ["60/minute,", "60/minute, 10", "60/minute, burst", "60/minute, burst -1"] {
            assert_eq!(
                text.parse::<Rate>(),
                Err(RateError::Syntax { text: text.to_owned() }),
                "{text}"
            );
        }
    }

    #[test]
    fn zero_is_refused() {
        assert_eq!(Rate::per_minute(0), Err(RefillRateError::Zero.into()));
        assert_eq!(Rate::per_minute(1).unwrap().with_burst(0), Err(RateError::NoBurst));
    }

    #[test]
    fn a_bucket_that_needs_more_than_fifty_years_to_fill_is_refused() {
        let error = "1/day, burst 10000000".parse::<Rate>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a burst of 10000000 tokens takes 27397 years to come back at 1/day; at most 50 years \
             can be counted exactly: lower the burst or raise the rate"
        );
    }

    #[test]
    fn a_share_has_a_burst_of_at_least_one_token() {
        let whole = rate("60/minute, burst 10");
        assert_eq!(whole.shared_among(3).burst(), 3);
        assert_eq!(whole.shared_among(40).burst(), 1);
        assert_eq!(whole.shared_among(3).refill(), rate("20/minute").refill());
    }
}
