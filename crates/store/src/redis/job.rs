//! Checks on their way to a server, and what comes of them.

use std::time::Instant;

use sluice_core::{Check, Decision};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::error_meaning::Redirect;
use crate::StoreError;

/// The most checks in one call, unless a single job has more. A larger batch gains nothing, and
/// makes other clients of the server wait.
pub(super) const MAX_CHECKS: usize = 1_000;
/// The most arguments of one call. Managed services refuse scripts with more than 3,999.
const MAX_ARGUMENTS: usize = 3_900;
/// The most buckets and records in one call. Each is an argument; the others are the command, the
/// script, the number of keys, and the plan.
pub(super) const MAX_BUCKETS: usize = MAX_ARGUMENTS - 4;

/// Returns how many keys a check has: its buckets, and the record of its hold.
pub(super) fn keys_of(check: &Check) -> usize {
    check.parts().len() + usize::from(check.hold().is_some())
}

/// What comes of one check: a decision, or why there is none.
pub(super) type Answer = Result<Decision, Miss>;

/// Why a server did not decide.
#[derive(Clone, Debug)]
pub(super) enum Miss {
    /// The call failed.
    Failed(StoreError),
    /// The server did not run the script: the keys are elsewhere, or on their way.
    Redirected(Redirect),
}

impl Miss {
    /// Returns the error of a check that is not sent anywhere else.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Failed(error) => error,
            Self::Redirected(_) => StoreError::wrong_settings(RedirectedAlone),
        }
    }
}

/// The error of a server that redirects although it is not addressed as a node of a cluster.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server redirects to another one, as a node of a cluster does: write the URL with \
     `redis+cluster://`, or `rediss+cluster://` for TLS"
)]
pub(super) struct RedirectedAlone;

/// What comes of the checks of one job. Nearly every job is one check.
pub(super) type Answers = SmallVec<[Answer; 1]>;

/// How the checks of a job are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// In one call with those of other jobs.
    Gathered,
    /// In a call of their own, since their slot is being moved.
    Alone,
    /// The same, to the server that the slot is being moved to.
    Asking,
}

/// Who waits for checks that are sent in one call; in a cluster, in one for each partition.
#[derive(Debug)]
pub(super) struct Job {
    /// How many checks these are.
    pub(super) checks: usize,
    pub(super) manner: Manner,
    pub(super) reply: oneshot::Sender<JobReply>,
}

/// What has come of a job's checks, and the round trip that brought it.
#[derive(Debug)]
pub(super) struct JobReply {
    pub(super) answers: Answers,
    /// When the round trip began.
    pub(super) sent: Instant,
    /// The number of checks in it, including those of other jobs.
    pub(super) checks_in_trip: usize,
}
