//! Why a request was not decided.

use sluice_core::RequestError;
use sluice_store::StoreError;

/// Why a request was not decided. A denial is not among the reasons: it is a decision.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LimiterError {
    /// The request is not one that could be checked: its sender's mistake.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store could not decide, and its limits leave the answer to the caller.
    #[error(transparent)]
    Store(#[from] StoreError),
}
