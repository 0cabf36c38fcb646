//! Batches checks by group commit: while a round trip is in flight, new checks queue up, and the
//! next round trip carries all of them.
//!
//! A lane is a task with a connection of its own and one round trip in flight. A free lane takes
//! everything in the queue. There are no timers: a single check is sent at once, and under load a
//! batch grows to the number of checks that arrive during one round trip.

use std::{
    sync::{Arc, atomic::AtomicU8},
    time::Instant,
};

use sluice_core::{Check, Decision};
use smallvec::SmallVec;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    batch::Batch, connections::Connections, epochs::Epochs, error_meaning::Redirect, keys::Keys,
    round_trip_span::RoundTripSpan, trip::Lane,
};
use crate::{Formats, ObserveRoundTrips, StoreError};

/// The most jobs that a lane takes from the queue at once.
const MAX_JOBS: usize = 512;
/// The most checks in one call, unless a single job has more. A larger batch gains nothing, and
/// makes other clients of the server wait.
pub(super) const MAX_CHECKS: usize = 1_000;
/// The most arguments of one call. Managed services refuse scripts with more than 3,999.
const MAX_ARGUMENTS: usize = 3_900;
/// The most buckets in one call. Each is an argument; the others are the command, the script, the
/// number of keys, and the plan.
pub(super) const MAX_BUCKETS: usize = MAX_ARGUMENTS - 4;

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

/// The error of a server that redirects although it is no node of a cluster.
#[derive(Debug, thiserror::Error)]
#[error("the server redirects to another one, but is not addressed as a cluster")]
struct RedirectedAlone;

/// The checks of one job. Nearly every job is one check.
pub(super) type Checks = SmallVec<[Check; 1]>;

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

/// Checks that are sent in one call, except in a cluster, where they are sent in one for each
/// partition.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) checks: Checks,
    pub(super) manner: Manner,
    pub(super) reply: oneshot::Sender<JobReply>,
}

/// What has come of a job's checks, and the round trip that brought it.
#[derive(Debug)]
pub(super) struct JobReply {
    pub(super) answers: Vec<Answer>,
    /// When the round trip began.
    pub(super) sent: Instant,
    /// The number of checks in it, including those of other jobs.
    pub(super) checks_in_trip: usize,
}

/// The queue before the lanes to one server. The lanes end when it is dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    queue: mpsc::UnboundedSender<Job>,
}

/// What all lanes to one server share.
pub(super) struct Route {
    pub(super) connections: Arc<Connections>,
    pub(super) keys: Keys,
    pub(super) observer: Arc<dyn ObserveRoundTrips>,
    pub(super) formats: Formats,
    /// The newest layout that every live replica reads.
    pub(super) newest_layout: Arc<AtomicU8>,
    pub(super) epochs: Arc<Epochs>,
    /// Whether a call may have keys of one partition only.
    pub(super) one_partition_a_call: bool,
    /// Called when the server does not serve as it should.
    pub(super) on_trouble: Box<dyn Fn() + Send + Sync>,
}

/// The error of checks whose lanes have ended.
#[derive(Debug, thiserror::Error)]
#[error("the runtime on which the store was made has stopped")]
struct RuntimeStopped;

impl Lanes {
    /// Starts `count` lanes on the current runtime.
    pub(super) fn start(count: usize, route: Route) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let route = Arc::new(route);
        for _ in 0..count {
            tokio::spawn(run(Lane::new(Arc::clone(&route)), Arc::clone(&jobs)));
        }
        Self { queue }
    }

    /// Queues `checks` at once. Their answers come in the same order.
    pub(super) fn decide(
        &self,
        checks: Checks,
        manner: Manner,
    ) -> impl Future<Output = Vec<Answer>> + Send + 'static {
        let count = checks.len();
        let buckets = checks.iter().map(|check| check.parts().len()).max().unwrap_or(0);
        let too_large =
            (buckets > MAX_BUCKETS).then_some(StoreError::TooLarge { buckets, most: MAX_BUCKETS });
        let span = RoundTripSpan::start();
        let (reply, received) = oneshot::channel();
        if too_large.is_none() {
            // Without lanes, the job is dropped together with its sender, which `received` notices.
            let _ = self.queue.send(Job { checks, manner, reply });
        }
        async move {
            if let Some(error) = too_large {
                return vec![Err(Miss::Failed(error)); count];
            }
            match received.await {
                Ok(JobReply { answers, sent, checks_in_trip }) => {
                    span.end(sent, checks_in_trip, &answers);
                    answers
                }
                Err(_) => {
                    vec![Err(Miss::Failed(StoreError::unreachable(RuntimeStopped))); count]
                }
            }
        }
    }

    /// Queues any number of checks, in as few jobs as can hold them.
    pub(super) fn decide_all(
        &self,
        checks: &[Check],
    ) -> impl Future<Output = Vec<Answer>> + Send + 'static {
        let mut jobs = Vec::new();
        let mut rest = checks;
        while !rest.is_empty() {
            let mut parts = 0;
            let fits = |check: &&Check| {
                parts += check.parts().len();
                parts <= MAX_BUCKETS
            };
            let length = rest.iter().take(MAX_CHECKS).take_while(fits).count().max(1);
            let (together, later) = rest.split_at(length);
            jobs.push(self.decide(together.into(), Manner::Gathered));
            rest = later;
        }
        async move {
            let mut answers = Vec::new();
            for job in jobs {
                answers.append(&mut job.await);
            }
            answers
        }
    }
}

async fn run(mut lane: Lane, queue: Arc<Mutex<mpsc::UnboundedReceiver<Job>>>) {
    let mut jobs = Vec::with_capacity(MAX_JOBS);
    loop {
        if queue.lock().await.recv_many(&mut jobs, MAX_JOBS).await == 0 {
            return;
        }
        // A caller that no longer waits is not charged.
        jobs.retain(|job| !job.reply.is_closed());
        if !jobs.is_empty() {
            lane.send(Batch::of(jobs.drain(..), lane.one_partition_a_call())).await;
        }
    }
}
