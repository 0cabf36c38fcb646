//! Why a call is not decided.

use sluice::StoreError;
use sluice_http::{Problem, ProblemKind};
use tonic::{Code, Status};

/// Why a call is not decided.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RlsError {
    /// The call itself is invalid.
    #[error("{0}")]
    Invalid(String),
    /// No rules are configured.
    #[error("no rules are configured: name their files in `rls.files`")]
    NoRules,
    /// The store cannot decide, and the limits leave the decision to the caller.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RlsError> for Problem {
    fn from(error: RlsError) -> Self {
        match error {
            RlsError::Invalid(message) => Self::new(ProblemKind::InvalidRequest, message),
            RlsError::NoRules => Self::new(ProblemKind::NoRules, error.to_string()),
            RlsError::Store(error) => error.into(),
        }
    }
}

impl From<RlsError> for Status {
    fn from(error: RlsError) -> Self {
        let problem = Problem::from(error);
        Self::new(Code::from(problem.kind().grpc_code()), problem.detail())
    }
}
