//! A limit of so many tokens in any span of time of one length.

use std::{fmt, str::FromStr, time::Duration};

use crate::{
    cost::Cost,
    refill_rate::{MAX_PERIOD, parse_count, parse_period, shown_count, shown_period},
};

/// How many slices a period has.
const SLICES: u64 = 10;
/// The shortest period: 100 milliseconds.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// A number of tokens, of which no more are admitted in any span of time as long as the period,
/// wherever it begins.
///
/// A token bucket with a burst of `b` and `n - b` tokens per period promises the same, and admits
/// more evenly. This is for those who must say "at most `n` in any minute" and want all of them.
///
/// ```
/// use std::time::Duration;
///
/// use sluice_core::AtMost;
///
/// let at_most = AtMost::new(100, Duration::from_secs(60))?;
/// assert_eq!(at_most, "100 per 60s".parse()?);
/// # Ok::<_, sluice_core::AtMostError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AtMost {
    tokens: u64,
    slice_us: u64,
}

/// The reason why no [`AtMost`] is possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AtMostError {
    /// There are no tokens, so nothing would ever be admitted.
    #[error("at most 0 tokens would admit nothing: use at least 1, or take the endpoint down")]
    Zero,
    /// There are more tokens than [`Cost::MAX`].
    #[error("{} tokens per period are too many: at most {}", shown_count(*.tokens), Cost::MAX)]
    TooMany {
        /// The tokens that were given.
        tokens: u64,
    },
    /// The period is too short, too long, or not a multiple of 10 microseconds.
    #[error(
        "a period of {} is not possible: use a multiple of 10 microseconds, from 100 milliseconds \
         to 366 days",
        shown_period(*.period)
    )]
    Period {
        /// The period that was given.
        period: Duration,
    },
    /// The text is not in the form that [`AtMost::from_str`] reads.
    #[error("`{text}` is not a number of tokens per period: write `100 per 60s`")]
    Syntax {
        /// The text.
        text: String,
    },
}

impl AtMost {
    /// Creates a limit of `tokens` in any span of time as long as `period`.
    ///
    /// # Errors
    /// When `tokens` is zero or above [`Cost::MAX`], or `period` is not a multiple of 10
    /// microseconds from 100 milliseconds to [`MAX_PERIOD`].
    pub fn new(tokens: u64, period: Duration) -> Result<Self, AtMostError> {
        if tokens == 0 {
            return Err(AtMostError::Zero);
        }
        if tokens > Cost::MAX.tokens() {
            return Err(AtMostError::TooMany { tokens });
        }
        let whole = period.as_nanos().is_multiple_of(u128::from(SLICES) * 1_000);
        if period < MIN_PERIOD || period > MAX_PERIOD || !whole {
            return Err(AtMostError::Period { period });
        }
        let period_us =
            u64::try_from(period.as_micros()).map_err(|_| AtMostError::Period { period })?;
        Ok(Self { tokens, slice_us: period_us / SLICES })
    }

    /// Returns the tokens per [`period`](Self::period).
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Returns the length of time in which no more than [`tokens`](Self::tokens) are admitted.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_micros(self.slice_us * SLICES)
    }

    /// Returns the length of a slice in microseconds: a tenth of the period.
    #[must_use]
    pub const fn slice_us(&self) -> u64 {
        self.slice_us
    }

    /// Multiplies the tokens by `factor`.
    ///
    /// # Errors
    /// When the product is not possible.
    pub fn times(&self, factor: u64) -> Result<Self, AtMostError> {
        Self::new(self.tokens.saturating_mul(factor), self.period())
    }

    /// Returns one of `shares` equal parts of this limit: what one of that many replicas may admit
    /// alone. It is at least one token; 0 `shares` count as 1.
    #[must_use]
    pub fn shared_among(&self, shares: u64) -> Self {
        Self { tokens: (self.tokens / shares.max(1)).max(1), ..*self }
    }
}

impl FromStr for AtMost {
    type Err = AtMostError;

    /// Reads `100 per 60s`, with a period in `us`, `ms`, `s`, `m`, `h` or `d`, or `100 per minute`.
    fn from_str(text: &str) -> Result<Self, AtMostError> {
        let syntax = || AtMostError::Syntax { text: text.to_owned() };
        let (tokens, period) = text.split_once(" per ").ok_or_else(syntax)?;
        let tokens = parse_count(tokens.trim()).ok_or_else(syntax)?;
        Self::new(tokens, parse_period(period.trim()).ok_or_else(syntax)?)
    }
}

impl fmt::Display for AtMost {
    /// Writes what [`AtMost::from_str`] reads: `100 per 60s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, slice_us } = self;
        match slice_us * SLICES {
            us if us.is_multiple_of(1_000_000) => write!(f, "{tokens} per {}s", us / 1_000_000),
            us if us.is_multiple_of(1_000) => write!(f, "{tokens} per {}ms", us / 1_000),
            us => write!(f, "{tokens} per {us}us"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(text: &str) -> AtMost {
        text.parse().unwrap()
    }

    #[test]
    fn text_that_was_written_can_be_read() {
        for text in ["100 per 60s", "1 per 100ms", "7 per 123450us", "9 per 31622400s"] {
            assert_eq!(at_most(text).to_string(), text);
        }
        assert_eq!(at_most("1_000 per minute"), at_most("1000 per 60s"));
        assert_eq!(at_most("100 per 60s").slice_us(), 6_000_000);
        assert_eq!(at_most("100 per 60s").period(), Duration::from_secs(60));
    }

    #[test]
    fn text_that_is_not_a_number_per_period_is_refused_with_an_example() {
        for text in ["", "100", "100 per", "100/minute", "per 60s", "100 per 60", "-1 per 60s"] {
            let error = text.parse::<AtMost>().unwrap_err();
            assert!(error.to_string().ends_with("write `100 per 60s`"), "{text}: {error}");
        }
        assert_eq!("0 per 60s".parse::<AtMost>(), Err(AtMostError::Zero));
        assert_eq!(
            "1_000_000_000_001 per 60s".parse::<AtMost>(),
            Err(AtMostError::TooMany { tokens: 1_000_000_000_001 })
        );
    }

    #[test]
    fn a_period_is_ten_slices_of_whole_microseconds() {
        for text in ["1 per 99ms", "1 per 99990us", "1 per 100001us", "1 per 367d", "1 per 0s"] {
            assert!(matches!(text.parse::<AtMost>(), Err(AtMostError::Period { .. })), "{text}");
        }
        let period = Duration::from_nanos(100_000_001);
        assert_eq!(AtMost::new(1, period), Err(AtMostError::Period { period }));
        assert_eq!(at_most("1 per 100010us").slice_us(), 10_001);
        assert_eq!(at_most("1 per 366d").period(), MAX_PERIOD);
    }

    #[test]
    fn a_share_is_at_least_one_token() {
        let whole = at_most("10 per 60s");
        assert_eq!(whole.shared_among(3), at_most("3 per 60s"));
        assert_eq!(whole.shared_among(40), at_most("1 per 60s"));
        assert_eq!(whole.shared_among(0), whole);
    }
}
