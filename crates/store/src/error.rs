//! Why a store could not decide.

use std::{error::Error, sync::Arc, time::Duration};

/// Why a store could not decide. A denial is not among the reasons: it is a decision.
///
/// Cheap to clone, since one lost round trip answers every check that was in it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No answer in time; the costs may have been taken all the same.
    #[error("the store did not answer within {within:?}")]
    Timeout {
        /// How long was waited.
        within: Duration,
    },
    /// The store cannot be reached, or the connection was lost.
    #[error("the store cannot be reached")]
    Unreachable(#[source] Arc<dyn Error + Send + Sync>),
    /// It is known to be away, so it was not asked.
    #[error("the store is away, and is not asked until it answers a probe")]
    BreakerOpen,
    /// It answers, but refuses: read-only, out of memory, loading, no permission.
    #[error("the store refuses")]
    Refused(#[source] Arc<dyn Error + Send + Sync>),
    /// Its answer, or the state in it, cannot be read: another version of Sluice wrote it, or
    /// another program.
    #[error("the store's answer cannot be read: {what}")]
    Unreadable {
        /// What is wrong with it.
        what: String,
    },
    /// The limit says that the caller decides while the store is away.
    #[error("the store is away, and limit `{limit}` leaves the answer to the caller")]
    LeftToCaller {
        /// The limit's name.
        limit: String,
        /// Why the store could not answer.
        #[source]
        source: Box<Self>,
    },
}

/// A kind of [`StoreError`], for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// [`StoreError::Timeout`]
    Timeout,
    /// [`StoreError::Unreachable`]
    Unreachable,
    /// [`StoreError::BreakerOpen`]
    BreakerOpen,
    /// [`StoreError::Refused`]
    Refused,
    /// [`StoreError::Unreadable`]
    Unreadable,
}

impl StoreError {
    /// The kind of the failure; of what a limit left to the caller, the kind of its cause.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Timeout { .. } => StoreErrorKind::Timeout,
            Self::Unreachable(_) => StoreErrorKind::Unreachable,
            Self::BreakerOpen => StoreErrorKind::BreakerOpen,
            Self::Refused(_) => StoreErrorKind::Refused,
            Self::Unreadable { .. } => StoreErrorKind::Unreadable,
            Self::LeftToCaller { source, .. } => source.kind(),
        }
    }
}

impl StoreErrorKind {
    /// The kind's name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::BreakerOpen => "breaker_open",
            Self::Refused => "refused",
            Self::Unreadable => "unreadable",
        }
    }
}
