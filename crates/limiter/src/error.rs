//! Why a request was not decided.

use sluice_core::{CostError, RequestError};
use sluice_store::StoreError;

/// The reason why a request was not decided. A denial is a decision, not an error.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimiterError {
    /// The request cannot be checked, which its sender is to blame for.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The cost is above [`Cost::MAX`](sluice_core::Cost::MAX).
    #[error(transparent)]
    Cost(#[from] CostError),
    /// The store failed, and a limit leaves the decision to the caller then.
    #[error(transparent)]
    Store(#[from] StoreError),
}
