//! The result of a check.

use std::sync::Arc;

use sluice_core::Decision;

/// A request that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The answer.
    pub decision: Decision,
    /// The pattern that covers the request's path, or `other`: what a metric's label may say.
    pub endpoint: Arc<str>,
}
