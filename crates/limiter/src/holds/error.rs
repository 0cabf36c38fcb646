//! Why a step of a hold was not made.

use std::time::Duration;

use sluice_core::{Counts, RequestError};
use sluice_store::StoreError;

/// The reason why a step of a hold was not made. A denial is a decision, not an error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// The request cannot be checked, which its sender is to blame for.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The tokens would be held longer than the limits allow.
    #[error(
        "tokens cannot be held for {asked:?}: a limit holds them for at most {most:?}. Ask for \
         less, and extend the hold of a request that takes longer"
    )]
    TooLong {
        /// The time that was asked for.
        asked: Duration,
        /// The longest time.
        most: Duration,
    },
    /// A limit counts what the estimate does not say: money, for tokens without a price.
    #[error(
        "limit `{limit}` counts {counts}, which the estimate does not say: send what the request \
         costs, or give the model a price"
    )]
    NotEstimated {
        /// The limit's name.
        limit: String,
        /// What it counts.
        counts: Counts,
    },
    /// The step was made before with other costs, or the hold is settled.
    #[error("this hold has other costs, or is settled already: nothing was changed")]
    Conflict,
    /// The store failed. A step may be made again: it happens once.
    #[error(transparent)]
    Store(#[from] StoreError),
}
