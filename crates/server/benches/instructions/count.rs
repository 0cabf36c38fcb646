//! What was counted.

use std::path::PathBuf;

/// The counts of one subject.
pub(crate) struct Count {
    pub(crate) decisions: usize,
    /// Script calls of Redis, where there is one.
    pub(crate) calls: Option<f64>,
    /// What callgrind has written.
    pub(crate) file: PathBuf,
}
