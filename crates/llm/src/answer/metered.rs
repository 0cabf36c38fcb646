//! What an answer used.

use sluice_core::TokenUsage;

/// What an answer used, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metered {
    /// The vendor reported it.
    Reported(TokenUsage),
    /// The answer was cut short. It used at least what was reported until then, and as much as was
    /// seen of it; never nothing.
    Estimated(TokenUsage),
    /// The answer is complete, and reports no usage: the estimate made before the request stands.
    Missing,
}

/// What a meter found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What the answer used.
    pub metered: Metered,
    /// How many reports of usage, or parts of one, were not believed: they went down, or were
    /// negative, no whole numbers, or above 10^12.
    pub ignored: u64,
    /// Whether the vendor reported an error in the middle of the answer.
    pub failed: bool,
    /// How many chunks were taken out of the stream.
    pub removed: u64,
}

impl Metered {
    /// Returns the tokens that were used, unless none are known.
    #[must_use]
    pub const fn usage(&self) -> Option<TokenUsage> {
        match self {
            Self::Reported(usage) | Self::Estimated(usage) => Some(*usage),
            Self::Missing => None,
        }
    }
}
