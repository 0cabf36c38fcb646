//! Batches checks by group commit: while a round trip is in flight, new checks queue up, and the
//! next round trip carries all of them.
//!
//! A lane is a task with a connection of its own and one round trip in flight. A free lane takes
//! everything in the queue, behind the tasks that are ready to run. There are no timers: a single
//! check is sent at once, and under load a batch grows to the number of checks that arrive during
//! one round trip.

use std::{future::poll_fn, mem, sync::Arc, task::Poll};

use sluice_core::Check;
use smallvec::smallvec;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    batch::Batch,
    job::{Answer, Answers, Checks, Job, JobReply, MAX_BUCKETS, MAX_CHECKS, Manner, Miss},
    round_trip_span::RoundTripSpan,
    trip::{Lane, Route},
};
use crate::StoreError;

/// The most jobs that a lane takes from the queue at once.
const MAX_JOBS: usize = 512;

/// The queue before the lanes to one server. The lanes end when it is dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    queue: mpsc::UnboundedSender<Job>,
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
    ) -> impl Future<Output = Answers> + Send + 'static {
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
                return smallvec![Err(Miss::Failed(error)); count];
            }
            match received.await {
                Ok(JobReply { answers, sent, checks_in_trip }) => {
                    span.end(sent, checks_in_trip, &answers);
                    answers
                }
                Err(_) => {
                    smallvec![Err(Miss::Failed(StoreError::unreachable(RuntimeStopped))); count]
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
                answers.extend(job.await);
            }
            answers
        }
    }
}

async fn run(mut lane: Lane, queue: Arc<Mutex<mpsc::UnboundedReceiver<Job>>>) {
    let mut jobs = Vec::with_capacity(MAX_JOBS);
    loop {
        if gather(&mut *queue.lock().await, &mut jobs).await.is_none() {
            return;
        }
        // A caller that no longer waits is not charged.
        jobs.retain(|job| !job.reply.is_closed());
        if !jobs.is_empty() {
            lane.send(Batch::of(jobs.drain(..), lane.one_partition_a_call())).await;
        }
    }
}

/// Takes what is in the queue, once there is something. Returns `None` when there never will be.
///
/// A free lane is woken by the first of the requests that have arrived together, and would send
/// that one alone.
async fn gather(queue: &mut mpsc::UnboundedReceiver<Job>, jobs: &mut Vec<Job>) -> Option<()> {
    jobs.push(queue.recv().await?);
    let_others_run().await;
    while jobs.len() < MAX_JOBS
        && let Ok(job) = queue.try_recv()
    {
        jobs.push(job);
    }
    Some(())
}

/// Lets the tasks run that are ready now. Tokio's `yield_now` would also look for new events, which
/// is a system call.
async fn let_others_run() {
    let mut have_run = false;
    poll_fn(|context| {
        if mem::replace(&mut have_run, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
