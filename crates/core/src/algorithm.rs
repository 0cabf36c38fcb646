//! How a limit counts.

use std::{fmt, time::Duration};

use crate::{
    at_most::{AtMost, AtMostError},
    concurrent::{Concurrent, ConcurrentError},
    quota::{Quota, QuotaError},
    rate::{Rate, RateError},
    time::Timestamp,
};

/// How a limit counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// A token bucket: tokens come back continuously, up to the burst.
    TokenBucket(Rate),
    /// Tokens for each calendar window, which starts anew at its end.
    Quota(Quota),
    /// Never more than a number of tokens in any period of time.
    AtMost(AtMost),
    /// Never more than a number of requests in flight.
    Concurrent(Concurrent),
}

/// The reason why the numbers of a limit are not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlgorithmError {
    /// Those of a token bucket.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// Those of a quota.
    #[error(transparent)]
    Quota(#[from] QuotaError),
    /// Those of a limit for any period.
    #[error(transparent)]
    AtMost(#[from] AtMostError),
    /// Those of a limit on requests in flight.
    #[error(transparent)]
    Concurrent(#[from] ConcurrentError),
}

impl Algorithm {
    /// Returns the name of the algorithm, as answers show it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TokenBucket(_) => "token_bucket",
            Self::Quota(_) => "quota",
            Self::AtMost(_) => "at_most",
            Self::Concurrent(_) => "concurrent",
        }
    }

    /// Returns the rate of a token bucket; `None` for other algorithms.
    #[must_use]
    pub const fn rate(&self) -> Option<&Rate> {
        match self {
            Self::TokenBucket(rate) => Some(rate),
            Self::Quota(_) | Self::AtMost(_) | Self::Concurrent(_) => None,
        }
    }

    /// Returns whether it is a quota that counts what is held apart from what is used, and
    /// [releases](Quota::releasing) what is not settled.
    #[must_use]
    pub fn counts_apart(&self) -> bool {
        matches!(self, Self::Quota(quota) if quota.releases_after().is_some())
    }

    /// Returns the most tokens that can be taken at once: the burst, the quota, the tokens of a
    /// period, or the slots. A greater cost is never admitted.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        match self {
            Self::TokenBucket(rate) => rate.burst(),
            Self::Quota(quota) => quota.tokens(),
            Self::AtMost(at_most) => at_most.tokens(),
            Self::Concurrent(concurrent) => concurrent.slots() as u64,
        }
    }

    /// Returns the time that the tokens of the limit are for, as of `now`: the period of a rate or
    /// of a limit for any period, or the length of the calendar window. `None` for slots.
    #[must_use]
    pub fn window(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::TokenBucket(rate) => Some(rate.refill_rate().period()),
            Self::Quota(quota) => {
                let window = quota.calendar().window_at(now);
                Some(window.end().since(window.start()))
            }
            Self::AtMost(at_most) => Some(at_most.period()),
            Self::Concurrent(_) => None,
        }
    }

    /// Returns one of `shares` equal parts: what one of that many replicas may admit alone. A share
    /// is at least one token.
    #[must_use]
    pub fn shared_among(&self, shares: u64) -> Self {
        match self {
            Self::TokenBucket(rate) => Self::TokenBucket(rate.shared_among(shares)),
            Self::Quota(quota) => Self::Quota(quota.shared_among(shares)),
            Self::AtMost(at_most) => Self::AtMost(at_most.shared_among(shares)),
            Self::Concurrent(concurrent) => Self::Concurrent(concurrent.shared_among(shares)),
        }
    }

    /// Multiplies the numbers of the limit by `factor`.
    ///
    /// # Errors
    /// When the product is not possible.
    pub fn times(&self, factor: u64) -> Result<Self, AlgorithmError> {
        match self {
            Self::TokenBucket(rate) => Ok(Self::TokenBucket(rate.times(factor)?)),
            Self::Quota(quota) => Ok(Self::Quota(quota.times(factor)?)),
            Self::AtMost(at_most) => Ok(Self::AtMost(at_most.times(factor)?)),
            Self::Concurrent(concurrent) => Ok(Self::Concurrent(concurrent.times(factor)?)),
        }
    }
}

impl From<Rate> for Algorithm {
    fn from(rate: Rate) -> Self {
        Self::TokenBucket(rate)
    }
}

impl fmt::Display for Algorithm {
    /// Writes `60/minute, burst 10`, `1000000/month`, `at most 100 per 60s`, or
    /// `20 concurrent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenBucket(rate) => rate.fmt(f),
            Self::Quota(quota) => quota.fmt(f),
            Self::AtMost(at_most) => write!(f, "at most {at_most}"),
            Self::Concurrent(concurrent) => write!(f, "{} concurrent", concurrent.slots()),
        }
    }
}
