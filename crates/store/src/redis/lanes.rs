//! Batches checks by group commit: while a round trip is in flight, new checks gather in the queue,
//! and the next round trip carries all of them.
//!
//! A lane is a task with a connection of its own and one round trip in flight. A free lane takes
//! everything in the queue, behind the tasks that are ready to run. There are no timers: a single
//! check is sent at once, and under load a batch grows to the number of checks that arrive during
//! one round trip.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Instant,
};

use sluice_core::Check;
use smallvec::smallvec;
use tokio::sync::oneshot;

use super::{
    batch::Batch,
    job::{Answer, Answers, Job, JobReply, MAX_BUCKETS, MAX_CHECKS, Manner, Miss, keys_of},
    queue::Queue,
    round_trip_span::RoundTripSpan,
    trip::{Lane, Route},
};
use crate::StoreError;

/// The lanes to one server, which end when this is dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    /// The lanes have it: it is gone when they are, since the runtime has stopped.
    queue: Weak<Queue>,
}

/// What will come of a job.
#[derive(Debug)]
pub(super) struct Reply {
    received: oneshot::Receiver<JobReply>,
    checks: usize,
    span: RoundTripSpan,
}

/// The error of checks whose lanes have ended.
#[derive(Debug, thiserror::Error)]
#[error("the runtime on which the store was made has stopped")]
struct RuntimeStopped;

impl Lanes {
    /// Starts `count` lanes on the current runtime.
    pub(super) fn start(count: usize, route: Route) -> Self {
        let (queue, route) = (Arc::new(Queue::default()), Arc::new(route));
        let lanes = Self { queue: Arc::downgrade(&queue) };
        for _ in 0..count {
            tokio::spawn(run(Lane::new(Arc::clone(&route)), Arc::clone(&queue)));
        }
        lanes
    }

    /// Queues `checks` at once. Their answers come in the same order.
    pub(super) fn decide(&self, checks: &[Check], manner: Manner) -> Reply {
        let span = RoundTripSpan::start();
        let (reply, received) = oneshot::channel();
        let buckets = checks.iter().map(keys_of).max().unwrap_or(0);
        if buckets > MAX_BUCKETS {
            let error = Miss::Failed(StoreError::TooLarge { buckets, most: MAX_BUCKETS });
            let answers = smallvec![Err(error); checks.len()];
            let _ = reply.send(JobReply { answers, sent: Instant::now(), checks_in_trip: 0 });
        } else if let Some(queue) = self.queue.upgrade() {
            queue.push(checks, Job { checks: checks.len(), manner, reply });
        }
        Reply { received, checks: checks.len(), span }
    }

    /// Queues any number of checks, in as few jobs as can hold them.
    pub(super) fn decide_all(
        &self,
        checks: &[Check],
    ) -> impl Future<Output = Vec<Answer>> + Send + 'static {
        let mut jobs = Vec::new();
        let mut rest = checks;
        while !rest.is_empty() {
            let mut keys = 0;
            let fits = |check: &&Check| {
                keys += keys_of(check);
                keys <= MAX_BUCKETS
            };
            let length = rest.iter().take(MAX_CHECKS).take_while(fits).count().max(1);
            let (together, later) = rest.split_at(length);
            jobs.push(self.decide(together, Manner::Gathered));
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

impl Drop for Lanes {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            queue.close();
        }
    }
}

impl Future for Reply {
    type Output = Answers;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answers> {
        let reply = ready!(Pin::new(&mut self.received).poll(context));
        Poll::Ready(match reply {
            Ok(JobReply { answers, sent, checks_in_trip }) => {
                self.span.end(sent, checks_in_trip, &answers);
                answers
            }
            // The job was dropped together with its sender.
            Err(_) => {
                let error = Miss::Failed(StoreError::unreachable(RuntimeStopped));
                smallvec![Err(error); self.checks]
            }
        })
    }
}

/// A free lane is woken by the first of the requests that have arrived together, and would send
/// that one alone: so it lets the others run first.
async fn run(mut lane: Lane, queue: Arc<Queue>) {
    while queue.filled().await.is_some() {
        let_others_run().await;
        let gathered = queue.take();
        // The callers may all have given up.
        if !gathered.jobs.is_empty() {
            lane.send(Batch::of(gathered, lane.one_partition_a_call(), lane.now())).await;
        }
    }
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
