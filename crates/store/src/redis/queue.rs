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
