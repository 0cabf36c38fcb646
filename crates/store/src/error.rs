//! The reasons why a store could not decide.

use std::{error::Error, sync::Arc, time::Duration};

/// A source of a [`StoreError`].
type Cause = Arc<dyn Error + Send + Sync>;

/// The reason why a store could not decide. A denial is not an error, but a decision.
///
/// Cheap to clone, since one failed round trip is the error of every check that it carried.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No reply arrived in time. The costs may have been taken all the same.
    #[error("the store did not respond within {within:?}")]
    Timeout {
        /// How long the caller waited.
        within: Duration,
    },
    /// The store cannot be reached, or the connection was lost.
    #[error("the store cannot be reached")]
    Unreachable(#[source] Cause),
    /// The store was unavailable lately, so the circuit breaker rejected the call.
    #[error("the store is unavailable: the circuit breaker is open")]
    BreakerOpen,
    /// The store responds with an error: it is read-only, out of memory, loading, or denies
    /// permission.
    #[error("the store rejected the call")]
    Refused(#[source] Cause),
    /// The store does not let this process in, or is of a kind that it cannot use. Unlike
    /// [`Refused`](Self::Refused), this does not pass: somebody has to correct the settings.
    #[error("the store cannot be used with these settings")]
    WrongSettings(#[source] Cause),
    /// The store's reply or stored state cannot be read. Another version of Sluice, or another
    /// program, wrote it.
    #[error("the store's data cannot be read: {what}")]
    Unreadable {
        /// What is wrong with the data.
        what: String,
    },
    /// One check names more buckets than fit into one call of the store. Nothing was sent.
    #[error(
        "one check uses {buckets} buckets, and the store decides at most {most} together: split it"
    )]
    TooLarge {
        /// The buckets of the check.
        buckets: usize,
        /// The most buckets of a check.
        most: usize,
    },
    /// The store cannot keep a record of the hold now. Nothing was taken.
    #[error("the store cannot hold tokens now: {why}")]
    NoHolds {
        /// What prevents it.
        why: &'static str,
    },
    /// The store is unavailable, so that a hold is not settled. The caller may settle it later.
    #[error("the store is unavailable, so the hold is not settled yet: settle it again later")]
    NotSettled(#[source] Box<Self>),
    /// The store is unavailable, and the limit says that the caller decides in this case.
    #[error("the store is unavailable, and limit `{limit}` has `on_store_failure: error`")]
    LeftToCaller {
        /// The limit's name.
        limit: String,
        /// Why the store could not decide.
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
    /// [`StoreError::Refused`], [`StoreError::WrongSettings`], [`StoreError::TooLarge`] or
    /// [`StoreError::NoHolds`]
    Refused,
    /// [`StoreError::Unreadable`]
    Unreadable,
}

impl StoreError {
    /// Makes a [`StoreError::Unreachable`].
    pub fn unreachable(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Unreachable(Arc::new(cause))
    }

    /// Makes a [`StoreError::Refused`].
    pub fn refused(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::Refused(Arc::new(cause))
    }

    /// Makes a [`StoreError::WrongSettings`].
    pub fn wrong_settings(cause: impl Error + Send + Sync + 'static) -> Self {
        Self::WrongSettings(Arc::new(cause))
    }

    /// Makes a [`StoreError::Unreadable`].
    pub fn unreadable(what: impl Into<String>) -> Self {
        Self::Unreadable { what: what.into() }
    }

    /// Returns the kind of the error. The kind of [`StoreError::LeftToCaller`] and of
    /// [`StoreError::NotSettled`] is that of its source.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Timeout { .. } => StoreErrorKind::Timeout,
            Self::Unreachable(_) => StoreErrorKind::Unreachable,
            Self::BreakerOpen => StoreErrorKind::BreakerOpen,
            Self::Refused(_)
            | Self::WrongSettings(_)
            | Self::TooLarge { .. }
            | Self::NoHolds { .. } => StoreErrorKind::Refused,
            Self::Unreadable { .. } => StoreErrorKind::Unreadable,
            Self::LeftToCaller { source, .. } | Self::NotSettled(source) => source.kind(),
        }
    }
}

impl StoreErrorKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [Self; 5] =
        [Self::Timeout, Self::Unreachable, Self::BreakerOpen, Self::Refused, Self::Unreadable];

    /// Returns the kind's label in metrics.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_their_declaration() {
        for (index, kind) in StoreErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?}");
        }
    }
}
