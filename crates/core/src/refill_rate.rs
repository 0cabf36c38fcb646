//! How fast tokens come back.

use std::{fmt, str::FromStr, time::Duration};

/// The most tokens that may come back in one period: `10^12`.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;
/// The longest period: 366 days.
pub const MAX_PERIOD: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Tokens that come back per period: 60 per minute, one per day. Refill is continuous.
///
/// Two refill rates are equal when they are equally fast and written with the same period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RefillRate {
    tokens: u64,
    period_us: u64,
    refill: Refill,
}

/// A refill rate in lowest terms: `tokens` come back every `micros` microseconds.
///
/// These are the units of a bucket's state. Instants are counted in `1 / tokens` of a microsecond,
/// in which every cost is a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refill {
    pub(crate) tokens: u64,
    pub(crate) micros: u64,
}

/// The reason why a refill rate is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefillRateError {
    /// The rate is zero, so no token would ever come back.
    #[error("a rate is at least 1 token per period: to admit nothing, take the endpoint down")]
    Zero,
    /// The rate is more than [`MAX_TOKENS`].
    #[error("{} tokens per period are too many: at most {MAX_TOKENS}", shown_count(*.tokens))]
    TooFast {
        /// The tokens that were given.
        tokens: u64,
    },
    /// The period is zero, not a whole number of microseconds, or longer than [`MAX_PERIOD`].
    #[error(
        "a period of {} is not possible: use whole microseconds, from 1 microsecond to 366 days",
        shown_period(*.period)
    )]
    Period {
        /// The period that was given.
        period: Duration,
    },
    /// The text is not in the form that [`RefillRate::from_str`] reads.
    #[error(
        "`{text}` is not a rate: write `60/minute` (second, minute, hour or day) or `100 per 90s`"
    )]
    Syntax {
        /// The text.
        text: String,
    },
}

impl RefillRate {
    /// Creates a rate of `tokens` per `period`.
    ///
    /// # Errors
    /// When `tokens` is zero or above [`MAX_TOKENS`], or `period` is not a whole number of
    /// microseconds from 1 to [`MAX_PERIOD`].
    pub fn new(tokens: u64, period: Duration) -> Result<Self, RefillRateError> {
        if tokens == 0 {
            return Err(RefillRateError::Zero);
        }
        if tokens > MAX_TOKENS {
            return Err(RefillRateError::TooFast { tokens });
        }
        let whole = period.subsec_nanos().is_multiple_of(1_000);
        if period.is_zero() || period > MAX_PERIOD || !whole {
            return Err(RefillRateError::Period { period });
        }
        let period_us =
            u64::try_from(period.as_micros()).map_err(|_| RefillRateError::Period { period })?;
        Ok(Self { tokens, period_us, refill: Refill::reduced(tokens, period_us) })
    }

    /// Creates a rate of `tokens` per minute.
    ///
    /// # Errors
    /// As [`RefillRate::new`].
    pub fn per_minute(tokens: u64) -> Result<Self, RefillRateError> {
        Self::new(tokens, Duration::from_secs(60))
    }

    /// Returns the tokens per [`period`](Self::period), as written.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Returns the period, as written.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_micros(self.period_us)
    }

    /// Returns the rate in lowest terms.
    #[must_use]
    pub const fn refill(&self) -> Refill {
        self.refill
    }

    /// Returns the tokens per minute, rounded down but at least one.
    #[must_use]
    pub fn tokens_per_minute(&self) -> u64 {
        let per_minute = u128::from(self.tokens) * 60_000_000 / u128::from(self.period_us);
        u64::try_from(per_minute).unwrap_or(u64::MAX).max(1)
    }

    /// Multiplies the rate by `factor`.
    ///
    /// # Errors
    /// As [`RefillRate::new`].
    pub fn times(&self, factor: u64) -> Result<Self, RefillRateError> {
        Self::new(self.tokens.saturating_mul(factor), self.period())
    }

    /// Returns one of `shares` equal parts of this rate: what one of that many replicas may admit
    /// alone. The period of a share is at most [`MAX_PERIOD`]; 0 `shares` count as 1.
    #[must_use]
    pub fn shared_among(&self, shares: u64) -> Self {
        let longest = u64::try_from(MAX_PERIOD.as_micros()).unwrap_or(u64::MAX);
        let period_us = self.refill.micros.saturating_mul(shares.max(1)).min(longest);
        Self {
            tokens: self.refill.tokens,
            period_us,
            refill: Refill::reduced(self.refill.tokens, period_us),
        }
    }
}

impl Refill {
    /// Restores the units of a bucket's stored state: `tokens` every `micros` microseconds. Returns
    /// `None` when no rate has these units: one of them is zero, or they have a common factor.
    #[must_use]
    pub fn from_parts(tokens: u64, micros: u64) -> Option<Self> {
        (tokens > 0 && micros > 0 && gcd(tokens, micros) == 1).then_some(Self { tokens, micros })
    }

    /// Returns the tokens that come back every [`micros`](Self::micros) microseconds. A microsecond
    /// is counted in as many parts.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        self.tokens
    }

    /// Returns the microseconds in which [`tokens`](Self::tokens) tokens come back.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.micros
    }

    fn reduced(tokens: u64, micros: u64) -> Self {
        let divisor = gcd(tokens, micros);
        Self { tokens: tokens / divisor, micros: micros / divisor }
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl FromStr for RefillRate {
    type Err = RefillRateError;

    /// Reads `N/second`, `N/minute`, `N/hour`, `N/day` (also `s`, `sec`, `m`, `min`, `h`, `d`), or
    /// `N per 90s` with a period in `us`, `ms`, `s`, `m`, `h` or `d`. `N` may contain underscores,
    /// as in `1_000/minute`.
    fn from_str(text: &str) -> Result<Self, RefillRateError> {
        let syntax = || RefillRateError::Syntax { text: text.to_owned() };
        let (tokens, period) = match text.split_once('/') {
            Some((tokens, unit)) => (tokens, unit_period(unit.trim()).ok_or_else(syntax)?),
            None => {
                let (tokens, period) = text.split_once(" per ").ok_or_else(syntax)?;
                (tokens, parse_period(period.trim()).ok_or_else(syntax)?)
            }
        };
        Self::new(parse_count(tokens.trim()).ok_or_else(syntax)?, period)
    }
}

/// Reads a number; one that is too large for any is [`u64::MAX`], which nothing admits.
pub(crate) fn parse_count(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    let is_number =
        text.starts_with(|first: char| first.is_ascii_digit()) && is_all_digits(&digits);
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn is_all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Writes a number of tokens that is too large, which may be what [`parse_count`] returns for any
/// larger one.
pub(crate) fn shown_count(tokens: u64) -> String {
    if tokens == u64::MAX { format!("{tokens} or more") } else { tokens.to_string() }
}

/// Writes a period that is not possible, in days if it is as long.
pub(crate) fn shown_period(period: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = period.as_secs();
    if seconds > 0 && seconds.is_multiple_of(DAY) && period.subsec_nanos() == 0 {
        format!("{}d", seconds / DAY)
    } else {
        format!("{period:?}")
    }
}

/// Reads a span such as `90s`, or a unit.
pub(crate) fn parse_period(text: &str) -> Option<Duration> {
    span_period(text).or_else(|| unit_period(text))
}

fn unit_period(unit: &str) -> Option<Duration> {
    let seconds = match unit {
        "second" | "sec" | "s" => 1,
        "minute" | "min" | "m" => 60,
        "hour" | "h" => 60 * 60,
        "day" | "d" => 24 * 60 * 60,
        _ => return None,
    };
    Some(Duration::from_secs(seconds))
}

fn span_period(span: &str) -> Option<Duration> {
    let digits = span.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let count = parse_count(&span[..digits])?;
    let micros: u64 = match span[digits..].trim_start() {
        "us" => 1,
        "ms" => 1_000,
        unit => u64::try_from(unit_period(unit)?.as_micros()).ok()?,
    };
    count.checked_mul(micros).map(Duration::from_micros)
}

impl fmt::Display for RefillRate {
    /// Writes what [`RefillRate::from_str`] reads: `60/minute`, `100 per 90s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, period_us, .. } = self;
        match period_us {
            1_000_000 => write!(f, "{tokens}/second"),
            60_000_000 => write!(f, "{tokens}/minute"),
            3_600_000_000 => write!(f, "{tokens}/hour"),
            86_400_000_000 => write!(f, "{tokens}/day"),
            us if us.is_multiple_of(1_000_000) => write!(f, "{tokens} per {}s", us / 1_000_000),
            us if us.is_multiple_of(1_000) => write!(f, "{tokens} per {}ms", us / 1_000),
            us => write!(f, "{tokens} per {us}us"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> RefillRate {
        text.parse().unwrap()
    }

    #[test]
    fn units_and_periods_are_read() {
        assert_eq!(rate("60/minute"), RefillRate::per_minute(60).unwrap());
        assert_eq!(rate("1_000 / h"), RefillRate::new(1_000, Duration::from_secs(3_600)).unwrap());
        assert_eq!(rate("100 per 90s"), RefillRate::new(100, Duration::from_secs(90)).unwrap());
        assert_eq!(rate("5 per 250ms"), RefillRate::new(5, Duration::from_millis(250)).unwrap());
        assert_eq!(rate("5 per minute"), rate("5/min"));
    }

    #[test]
    fn text_that_was_written_can_be_read() {
        for text in [
            "60/minute",
            "1/day",
            "7 per 90s",
            "3 per 1ms",
            "3 per 7us",
            "100000000/minute",
            "9/second",
            "2/hour",
        ] {
            assert_eq!(rate(text).to_string(), text);
        }
    }

    #[test]
    fn text_that_is_not_a_rate_is_refused_with_an_example() {
        for text in [
            "",
            "60",
            "60/",
            "/minute",
            "-1/minute",
            "60/fortnight",
            "1.5/minute",
            "six/minute",
            "5 per",
            "5 per s9",
            "_1/s",
            "+1/s",
        ] {
            let error = text.parse::<RefillRate>().unwrap_err();
            assert!(error.to_string().contains("60/minute"), "{text}: {error}");
        }
        assert_eq!("0/minute".parse::<RefillRate>(), Err(RefillRateError::Zero));
        assert_eq!(
            "1000000000001/day".parse::<RefillRate>(),
            Err(RefillRateError::TooFast { tokens: 1_000_000_000_001 })
        );
        assert!(matches!("1 per 367d".parse::<RefillRate>(), Err(RefillRateError::Period { .. })));
        assert!(matches!("1 per 0s".parse::<RefillRate>(), Err(RefillRateError::Period { .. })));
    }

    #[test]
    fn a_rate_is_kept_in_lowest_terms() {
        assert_eq!(rate("60/minute").refill(), Refill { tokens: 1, micros: 1_000_000 });
        assert_eq!(rate("90/minute").refill(), Refill { tokens: 3, micros: 2_000_000 });
        assert_eq!(rate("100000000/minute").refill(), Refill { tokens: 5, micros: 3 });
    }

    #[test]
    fn a_share_is_exactly_one_nth() {
        assert_eq!(rate("60/minute").shared_among(3).refill(), rate("20/minute").refill());
        assert_eq!(rate("1/second").shared_among(7).refill(), rate("1 per 7s").refill());
        assert_eq!(rate("1/second").shared_among(0), rate("1/second").shared_among(1));
    }

    #[test]
    fn tokens_per_minute_are_at_least_one() {
        assert_eq!(rate("60/minute").tokens_per_minute(), 60);
        assert_eq!(rate("2/second").tokens_per_minute(), 120);
        assert_eq!(rate("1/day").tokens_per_minute(), 1);
    }
}
