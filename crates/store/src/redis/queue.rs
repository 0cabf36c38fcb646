//! What waits for a lane: the next batch, which callers add to until a lane takes it.

use std::mem;

use parking_lot::Mutex;
use sluice_core::Check;
use tokio::sync::Notify;

use super::job::Job;

/// The most jobs that a lane takes at once.
const MAX_JOBS: usize = 512;

/// The jobs before the lanes to one server.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Notified when a job comes to an empty queue, and when the queue is closed.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    gathered: Gathered,
    /// Whether a lane is about to take it. Another one would only make the batch smaller.
    is_claimed: bool,
    is_closed: bool,
}

/// Jobs that are sent together.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The checks of all jobs, in their order.
    pub(super) checks: Vec<Check>,
    pub(super) jobs: Vec<Job>,
}

impl Queue {
    /// Adds a job with its checks, which stay together.
    pub(super) fn push(&self, checks: &[Check], job: Job) {
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.gathered.jobs.is_empty();
        waiting.gathered.checks.extend_from_slice(checks);
        waiting.gathered.jobs.push(job);
        drop(waiting);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Waits until there is a job that no other lane is about to [take](Self::take). Returns `None`
    /// when there never will be.
    pub(super) async fn filled(&self) -> Option<()> {
        loop {
            // Made before the look, so that nothing is missed in between.
            let filled = self.filled.notified();
            {
                let mut waiting = self.waiting.lock();
                if !waiting.gathered.jobs.is_empty() && !waiting.is_claimed {
                    waiting.is_claimed = true;
                    return Some(());
                }
                if waiting.is_closed {
                    return None;
                }
            }
            filled.await;
        }
    }

    /// Takes what is there. A caller that no longer waits is left out, and not charged.
    pub(super) fn take(&self) -> Gathered {
        let mut waiting = self.waiting.lock();
        waiting.is_claimed = false;
        let mut taken = waiting.gathered.take_first(MAX_JOBS);
        let is_left = !waiting.gathered.jobs.is_empty();
        drop(waiting);
        if is_left {
            self.filled.notify_one();
        }
        taken.leave_out_given_up();
        taken
    }

    /// Ends the lanes, once they have sent what is there.
    pub(super) fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.filled.notify_waiters();
    }
}

impl Gathered {
    fn take_first(&mut self, most: usize) -> Self {
        let jobs = self.jobs.len().min(most);
        let checks = self.jobs[..jobs].iter().map(|job| job.checks).sum();
        let mut rest =
            Self { checks: self.checks.split_off(checks), jobs: self.jobs.split_off(jobs) };
        // The next batch is probably as large.
        rest.checks.reserve(checks);
        rest.jobs.reserve(jobs);
        mem::replace(self, rest)
    }

    fn leave_out_given_up(&mut self) {
        if !self.jobs.iter().any(|job| job.reply.is_closed()) {
            return;
        }
        let mut checks = mem::take(&mut self.checks).into_iter();
        for job in mem::take(&mut self.jobs) {
            let own = checks.by_ref().take(job.checks);
            if job.reply.is_closed() {
                own.for_each(drop);
            } else {
                self.checks.extend(own);
                self.jobs.push(job);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::Arc,
        task::{Context, Waker},
    };

    use sluice_core::{Action, Algorithm, Cost, Limit, Subject, Tagger};
    use tokio::sync::oneshot;

    use super::*;
    use crate::redis::job::{JobReply, Manner};

    /// Adds a job of one check. Its caller waits for as long as what is returned lives.
    fn push(queue: &Queue) -> oneshot::Receiver<JobReply> {
        let rate = "1/day, burst 1".parse().unwrap();
        let limit = Arc::new(Limit::new("ours", Algorithm::TokenBucket(rate)).unwrap());
        let client = Tagger::new(b"").tag(Subject::Client(b"alice"));
        let check = Check::new(Action::Take).with(&limit, client, Cost::ONE);
        let (reply, received) = oneshot::channel();
        queue.push(&[check], Job { checks: 1, manner: Manner::Gathered, reply });
        received
    }

    /// Returns whether a free lane would take a batch now.
    fn is_for_a_lane(queue: &Queue) -> bool {
        pin!(queue.filled()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_lane_at_a_time_is_about_to_take_the_batch() {
        let queue = Queue::default();
        assert!(!is_for_a_lane(&queue));
        let _waiting = (push(&queue), push(&queue));
        assert!(is_for_a_lane(&queue));
        assert!(!is_for_a_lane(&queue), "the first lane has not taken it yet");
        assert_eq!(queue.take().jobs.len(), 2);
        let _waiting = push(&queue);
        assert!(is_for_a_lane(&queue));
    }

    #[test]
    fn what_a_batch_has_no_room_for_is_for_the_next_lane() {
        let queue = Queue::default();
        let _waiting: Vec<_> = (0..=MAX_JOBS).map(|_| push(&queue)).collect();
        assert!(is_for_a_lane(&queue));
        let first = queue.take();
        assert_eq!((first.jobs.len(), first.checks.len()), (MAX_JOBS, MAX_JOBS));
        assert!(is_for_a_lane(&queue));
        assert_eq!(queue.take().jobs.len(), 1);
    }

    #[test]
    fn a_caller_that_no_longer_waits_is_left_out() {
        let queue = Queue::default();
        let _waiting = push(&queue);
        drop(push(&queue));
        let taken = queue.take();
        assert_eq!((taken.jobs.len(), taken.checks.len()), (1, 1));
    }
}
