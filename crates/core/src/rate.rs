//! The numbers of a token bucket: how fast it fills and how much it holds.

use crate::{
    refill_rate::{Refill, RefillRate},
    time::Span,
};

/// The longest time a bucket may need to fill: 50 years of 365 days, in microseconds.
///
/// Inside it every instant that the arithmetic meets lies between the Unix epoch and 2^53
/// microseconds after it, so that Redis' Lua, whose numbers are doubles, is exact too.
pub const MAX_FILL_US: i64 = 50 * 365 * 24 * 60 * 60 * 1_000_000;

/// A token bucket's numbers: a [`RefillRate`] and a burst, the most tokens it can hold. They fit together
/// once built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    refill_rate: RefillRate,
    burst: u64,
    fill: Span,
}

/// Why a rate and a burst do not make a bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// A bucket that holds nothing admits nothing.
    #[error("a burst is at least 1 token")]
    NoBurst,
    /// The bucket could not be kept exactly in 53 bits.
    #[error(
        "a burst of {burst} tokens takes {years} years to come back at {rate}; at most 50 years can be counted exactly: lower the burst or raise the rate"
    )]
    TooSlowToFill {
        /// The burst asked for.
        burst: u64,
        /// The rate asked for.
        rate: RefillRate,
        /// Whole years that the bucket needs to fill.
        years: u128,
    },
}

impl Rate {
    /// A bucket of `burst` tokens that fills at `rate`.
    ///
    /// # Errors
    /// When `burst` is zero, or the empty bucket needs more than 50 years ([`MAX_FILL_US`]) to
    /// fill.
    pub fn new(rate: RefillRate, burst: u64) -> Result<Self, RateError> {
        if burst == 0 {
            return Err(RateError::NoBurst);
        }
        let refill = rate.refill();
        let fill_us = u128::from(burst) * u128::from(refill.micros()) / u128::from(refill.tokens());
        if fill_us >= MAX_FILL_US.unsigned_abs().into() {
            let years = fill_us / (365 * 24 * 60 * 60 * 1_000_000);
            return Err(RateError::TooSlowToFill { burst, rate, years });
        }
        Ok(Self { refill_rate: rate, burst, fill: span_of(refill, burst) })
    }

    /// How fast tokens come back.
    #[must_use]
    pub const fn refill_rate(&self) -> RefillRate {
        self.refill_rate
    }

    /// The most tokens the bucket can hold.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// The rate in lowest terms: the units of the bucket's state.
    #[must_use]
    pub const fn refill(&self) -> Refill {
        self.refill_rate.refill()
    }

    /// How long the empty bucket needs to fill.
    #[must_use]
    pub const fn fill(&self) -> Span {
        self.fill
    }

    /// How long the refill needs for `tokens` tokens, exactly; cut at [`MAX_FILL_US`] times two,
    /// beyond which nothing is admitted or owed.
    #[must_use]
    pub fn span_of(&self, tokens: u64) -> Span {
        span_of(self.refill(), tokens)
    }

    /// RefillRate and burst times `factor`: a tier's multiple.
    ///
    /// # Errors
    /// When the products are out of range.
    pub fn times(&self, factor: u64) -> Result<Self, MultiplyError> {
        Ok(Self::new(self.refill_rate.times(factor)?, self.burst.saturating_mul(factor))?)
    }

    /// One of `shares` equal parts, and at least one token: what one of that many replicas may
    /// admit alone.
    #[must_use]
    pub fn shared_among(&self, shares: u64) -> Self {
        let (rate, burst) =
            (self.refill_rate.shared_among(shares), (self.burst / shares.max(1)).max(1));
        // A share of one token at a rate that was slowed down may no longer fill in time: then the
        // rate stays whole.
        Self::new(rate, burst).or_else(|_| Self::new(self.refill_rate, burst)).unwrap_or(*self)
    }
}

/// Why a multiple of a bucket's numbers is impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MultiplyError {
    /// The product is no rate.
    #[error(transparent)]
    RefillRate(#[from] crate::refill_rate::RefillRateError),
    /// The products do not fit together.
    #[error(transparent)]
    Rate(#[from] RateError),
}

const LONGEST_SPAN: Span = Span { micros: 2 * MAX_FILL_US, fraction: 0 };

fn span_of(refill: Refill, tokens: u64) -> Span {
    // Nearly every rate and cost fit the first branch, which is several times faster than dividing
    // 128 bits.
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

    #[test]
    fn spans_are_exact_to_the_fraction() {
        let bucket = Rate::new("90/minute".parse().unwrap(), 10).unwrap();
        assert_eq!(bucket.span_of(1), Span { micros: 666_666, fraction: 2 });
        assert_eq!(bucket.span_of(3), Span { micros: 2_000_000, fraction: 0 });
        assert_eq!(bucket.fill(), Span { micros: 6_666_666, fraction: 2 });
    }

    #[test]
    fn the_widest_products_do_not_overflow() {
        let fastest = Rate::new(
            RefillRate::new(crate::refill_rate::MAX_TOKENS, std::time::Duration::from_micros(1))
                .unwrap(),
            u64::MAX,
        )
        .unwrap();
        assert_eq!(fastest.span_of(u64::MAX).micros, 18_446_744);
        let slowest = Rate::new("1 per 366d".parse().unwrap(), 49).unwrap();
        assert_eq!(slowest.span_of(u64::MAX), LONGEST_SPAN);
    }

    #[test]
    fn a_bucket_that_fifty_years_do_not_fill_is_refused_with_the_reason() {
        let error = Rate::new("1/day".parse().unwrap(), 10_000_000).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a burst of 10000000 tokens takes 27397 years to come back at 1/day; at most 50 years can be counted exactly: \
             lower the burst or raise the rate"
        );
        assert_eq!(Rate::new("1/day".parse().unwrap(), 0), Err(RateError::NoBurst));
    }

    #[test]
    fn a_share_keeps_at_least_one_token() {
        let bucket = Rate::new("60/minute".parse().unwrap(), 10).unwrap();
        assert_eq!(bucket.shared_among(3).burst(), 3);
        assert_eq!(bucket.shared_among(40).burst(), 1);
        assert_eq!(
            bucket.shared_among(3).refill(),
            "20/minute".parse::<RefillRate>().unwrap().refill()
        );
    }
}
