//! What one request takes.

use std::fmt;

/// Tokens that one request takes: from 0, which looks and takes nothing, to `10^12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u64);

/// More tokens than any bucket's refill can be counted in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cost of {tokens} tokens is too large: at most {}", Cost::MAX)]
pub struct CostError {
    /// The tokens asked for.
    pub tokens: u64,
}

impl Cost {
    /// Looks and takes nothing.
    pub const NONE: Self = Self(0);
    /// One token: what a request costs unless said otherwise.
    pub const ONE: Self = Self(1);
    /// The largest cost.
    pub const MAX: Self = Self(1_000_000_000_000);

    /// A cost of `tokens` tokens.
    ///
    /// # Errors
    /// When `tokens` is above [`Cost::MAX`].
    pub const fn new(tokens: u64) -> Result<Self, CostError> {
        if tokens > Self::MAX.0 { Err(CostError { tokens }) } else { Ok(Self(tokens)) }
    }

    /// The cost in tokens.
    #[must_use]
    pub const fn tokens(self) -> u64 {
        self.0
    }

    /// Both costs together, at most [`Cost::MAX`].
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).min(Self::MAX.0))
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
