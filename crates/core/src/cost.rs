//! What one request costs.

use std::fmt;

/// The tokens that one request takes, from 0 to `10^12`.
///
/// A cost of 0 takes nothing, and is denied only while the bucket is in debt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u64);

/// A cost that is larger than [`Cost::MAX`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cost of {tokens} tokens is too large: at most {}", Cost::MAX)]
pub struct CostError {
    /// The tokens that were given.
    pub tokens: u64,
}

impl Cost {
    /// No tokens.
    pub const NONE: Self = Self(0);
    /// One token, the cost of a request by default.
    pub const ONE: Self = Self(1);
    /// The largest cost.
    pub const MAX: Self = Self(1_000_000_000_000);

    /// Creates a cost of `tokens` tokens.
    ///
    /// # Errors
    /// When `tokens` is above [`Cost::MAX`].
    pub const fn new(tokens: u64) -> Result<Self, CostError> {
        if tokens > Self::MAX.0 { Err(CostError { tokens }) } else { Ok(Self(tokens)) }
    }

    /// Returns the cost in tokens.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        self.0
    }

    /// Adds both costs; the result is at most [`Cost::MAX`].
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(Self::MAX.0))
    }

    /// Subtracts the other cost; the result is at least [`Cost::NONE`].
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Default for Cost {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
