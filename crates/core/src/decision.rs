//! What was decided about a check.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{cost::Cost, hold::Guarded, limit::Limit, time::Timestamp};

/// What was decided about a check: whether it is allowed, and the verdict of each limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    allowed: bool,
    verdicts: SmallVec<[Verdict; 1]>,
    at: Timestamp,
    source: Source,
    guarded: Option<Guarded>,
    /// Of a step of a hold.
    ends_at: Timestamp,
}

/// What one limit decided about its part of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The limit.
    pub limit: Arc<Limit>,
    /// The tokens that the part needed.
    pub cost: Cost,
    /// Whether the bucket had the tokens.
    pub admitted: bool,
    /// Whole tokens that are left after the decision.
    pub remaining: u64,
    /// How long it takes until everything is left again: until the bucket is full, or the window
    /// ends. `None` for slots, which come back when others end.
    pub reset_in: Option<Duration>,
    /// When the same cost will be admitted.
    pub retry: Retry,
}

/// When the same cost will be admitted, if no other request takes tokens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// It was admitted.
    Now,
    /// After this time, exact to the microsecond.
    After(Duration),
    /// Never, because the cost is above the burst, or what was held is lost.
    Never,
}

/// Where a decision was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// In the store.
    Store,
    /// In this process, with tokens that the store had lent for it.
    Lease,
    /// In this process: the store had denied the bucket a moment before.
    Cache,
    /// In this process: the store could not be reached, or no limit applied.
    Local,
}

impl Decision {
    /// Creates a decision that was made at `at`, by the store's clock.
    #[must_use]
    pub fn new(
        allowed: bool,
        verdicts: impl IntoIterator<Item = Verdict>,
        at: Timestamp,
        source: Source,
    ) -> Self {
        let verdicts = verdicts.into_iter().collect();
        Self { allowed, verdicts, at, source, guarded: None, ends_at: at }
    }

    /// Creates the decision of one limit, without the loop of [`Decision::new`].
    pub(crate) fn of_one(allowed: bool, verdict: Verdict, at: Timestamp, source: Source) -> Self {
        let verdicts = SmallVec::from_buf([verdict]);
        Self { allowed, verdicts, at, source, guarded: None, ends_at: at }
    }

    /// Creates the decision about a request to which no limit applies.
    #[must_use]
    pub fn unlimited(at: Timestamp) -> Self {
        Self::new(true, [], at, Source::Local)
    }

    /// Returns the decision with what the store knew of the step of a hold before, and when the
    /// lifetime of that hold ends.
    #[must_use]
    pub fn with_guarded(self, hold: Option<(Guarded, Timestamp)>) -> Self {
        match hold {
            Some((guarded, ends_at)) => Self { guarded: Some(guarded), ends_at, ..self },
            None => Self { guarded: None, ..self },
        }
    }

    /// Returns whether the request is allowed.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Returns whether the request is denied.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        !self.allowed
    }

    /// Returns the verdict of each limit, in the order of the check. Limits in shadow mode are
    /// included.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Returns when it was decided, by the store's clock.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns where it was decided.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// Returns what the store knew of the step of a hold before; `None` for other checks.
    #[must_use]
    pub const fn guarded(&self) -> Option<Guarded> {
        self.guarded
    }

    /// Returns when the lifetime of the hold ends whose step was decided, by the store's clock;
    /// `None` for other checks.
    #[must_use]
    pub fn hold_ends_at(&self) -> Option<Timestamp> {
        self.guarded.map(|_| self.ends_at)
    }

    /// Returns the verdict of the binding limit. For a denial that is the denying limit with the
    /// longest wait, otherwise the limit with the fewest tokens left. A limit in shadow mode never
    /// binds; `None` when no limit is enforced.
    #[must_use]
    pub fn binding(&self) -> Option<&Verdict> {
        let enforced = self.verdicts.iter().filter(|verdict| verdict.limit.denies());
        if self.allowed {
            enforced.min_by_key(|verdict| verdict.remaining)
        } else {
            // Reversed, because `max_by_key` returns the last of equals.
            enforced.filter(|verdict| !verdict.admitted).rev().max_by_key(|verdict| verdict.retry)
        }
    }

    /// Returns when the same check will be allowed.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self.binding() {
            Some(verdict) if !self.allowed => verdict.retry,
            _ => Retry::Now,
        }
    }
}

impl Verdict {
    /// Returns when everything will be left again, by the store's clock; `None` for slots.
    #[must_use]
    pub fn reset_at(&self, decided: Timestamp) -> Option<Timestamp> {
        self.reset_in.map(|reset_in| decided.after(reset_in))
    }
}

impl Retry {
    /// Returns the whole seconds to wait, rounded up so that a client that waits is never too
    /// early.
    /// `None` when no wait is needed, or none helps.
    #[must_use]
    pub fn after_seconds(self) -> Option<u64> {
        match self {
            Self::After(wait) => Some(whole_seconds(wait).max(1)),
            Self::Now | Self::Never => None,
        }
    }
}

/// Returns a span in whole seconds, rounded up.
#[must_use]
pub const fn whole_seconds(span: Duration) -> u64 {
    span.as_secs() + (span.subsec_nanos() > 0) as u64
}
