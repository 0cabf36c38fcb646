//! The answer to a check.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{cost::Cost, limit::Limit, time::Timestamp};

/// The answer to a check: allowed or denied, and what every limit said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    allowed: bool,
    verdicts: SmallVec<[Verdict; 1]>,
    at: Timestamp,
    source: Source,
}

/// What one limit said to its part of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The limit.
    pub limit: Arc<Limit>,
    /// The tokens asked of it.
    pub cost: Cost,
    /// Whether its bucket had the tokens.
    pub admitted: bool,
    /// Whole tokens in the bucket after the decision.
    pub remaining: u64,
    /// How long until the bucket is full.
    pub reset_in: Duration,
    /// When the same cost would be admitted.
    pub retry: Retry,
}

/// When the same cost would be admitted, if nobody else takes tokens meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// It was.
    Now,
    /// After this long, exact to the microsecond.
    After(Duration),
    /// Never: the cost is above the burst.
    Never,
}

/// Where a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// In the store.
    Store,
    /// In this process: the store could not be reached, or no limit applied.
    Local,
}

impl Decision {
    /// A decision made at `at`, by the store's clock.
    #[must_use]
    pub fn new(
        allowed: bool,
        verdicts: impl IntoIterator<Item = Verdict>,
        at: Timestamp,
        source: Source,
    ) -> Self {
        Self { allowed, verdicts: verdicts.into_iter().collect(), at, source }
    }

    /// The answer when no limit applies.
    #[must_use]
    pub fn unlimited(at: Timestamp) -> Self {
        Self { allowed: true, verdicts: SmallVec::new(), at, source: Source::Local }
    }

    /// Whether the request may pass.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Whether the request may not pass.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        !self.allowed
    }

    /// What each limit said, in the order of the check, shadows included.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// When it was decided, by the store's clock.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Where it was decided.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The limit that binds: of a denial, the one that takes longest to give way; else the one with
    /// the fewest tokens left. Shadows never bind; `None` when no limit applies.
    #[must_use]
    pub fn binding(&self) -> Option<&Verdict> {
        let enforced = self.verdicts.iter().filter(|verdict| verdict.limit.denies());
        if self.allowed {
            enforced.min_by_key(|verdict| verdict.remaining)
        } else {
            // The first of equals, as `max_by_key` would return the last.
            enforced.filter(|verdict| !verdict.admitted).rev().max_by_key(|verdict| verdict.retry)
        }
    }

    /// When the same check would be allowed.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.binding() {
            Some(verdict) if !self.allowed => verdict.retry,
            _ => Retry::Now,
        }
    }
}

impl Verdict {
    /// When the bucket is full again, by the store's clock.
    #[must_use]
    pub fn reset_at(&self, decided: Timestamp) -> Timestamp {
        decided.after(self.reset_in)
    }
}

impl Retry {
    /// Whole seconds to wait, rounded up so that a client that obeys never returns too early;
    /// `None` when waiting is needless or of no use.
    #[must_use]
    pub fn after_seconds(self) -> Option<u64> {
        match self {
            Self::After(wait) => Some(whole_seconds(wait).max(1)),
            Self::Now | Self::Never => None,
        }
    }
}

/// Whole seconds for the wire, rounded up.
#[must_use]
pub const fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + (span.subsec_nanos() > 0) as u64
}
