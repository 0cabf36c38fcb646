//! Batches checks by group commit: while a round trip is in flight, new checks queue up, and the
//! next round trip carries all of them.
//!
//! A lane is a task with a connection of its own and one call in flight. A free lane takes
//! everything in the queue. There are no timers: a single check is sent at once, and under load a
//! batch grows to the number of checks that arrive during one round trip.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use sluice_core::{Action, Check, Decision};
use smallvec::SmallVec;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    call_plan::CallPlan,
    check_reply::CheckReply,
    connections::{Connections, OwnedConnection},
    keys::Keys,
    round_trip_span::RoundTripSpan,
    scripts,
};
use crate::{Formats, ObserveRoundTrips, RoundTrip, StoreError};

/// The most jobs that a lane takes from the queue at once.
const MAX_JOBS: usize = 512;
/// The most checks in one call, unless a single job has more. A larger batch gains nothing, and
/// makes other clients of the server wait.
const MAX_CHECKS: usize = 1_000;
/// The most arguments of one call. Managed services refuse scripts with more than 3,999.
const MAX_ARGUMENTS: usize = 3_900;
/// The most buckets in one call. Each is an argument; the others are the command, the script, the
/// number of keys, and the plan.
const MAX_BUCKETS: usize = MAX_ARGUMENTS - 4;
/// How long a connection may be idle before it is tested ahead of a call that must not be sent
/// twice. The server may have closed it in the meantime.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

type Results = Vec<Result<Decision, StoreError>>;

/// The checks of one job. Nearly every job is one check.
type Checks = SmallVec<[Check; 1]>;

/// Checks that must be sent in one call.
#[derive(Debug)]
struct Job {
    checks: Checks,
    reply: oneshot::Sender<JobReply>,
}

/// The results of a job's checks, and the round trip that brought them.
#[derive(Debug)]
struct JobReply {
    results: Results,
    /// When the call was sent.
    sent: Instant,
    /// The number of checks in the call, including those of other jobs.
    checks_in_call: usize,
}

/// The queue before the lanes. The lanes end when it is dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    queue: mpsc::UnboundedSender<Job>,
}

/// What all lanes share.
pub(super) struct Route {
    pub(super) connections: Arc<Connections>,
    pub(super) keys: Keys,
    pub(super) observer: Box<dyn ObserveRoundTrips>,
    pub(super) formats: Formats,
    /// The newest layout that every live replica reads.
    pub(super) newest_layout: Arc<AtomicU8>,
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
            let lane =
                Lane { route: Arc::clone(&route), connection: None, last_reply: Instant::now() };
            tokio::spawn(lane.run(Arc::clone(&jobs)));
        }
        Self { queue }
    }

    /// Queues `checks` at once, for one call. Their results come in the same order.
    pub(super) fn decide(&self, checks: Checks) -> impl Future<Output = Results> + Send + 'static {
        let count = checks.len();
        let buckets = checks.iter().map(|check| check.parts().len()).max().unwrap_or(0);
        let too_large =
            (buckets > MAX_BUCKETS).then_some(StoreError::TooLarge { buckets, most: MAX_BUCKETS });
        let span = RoundTripSpan::start();
        let (reply, received) = oneshot::channel();
        if too_large.is_none() {
            // Without lanes, the job is dropped together with its sender, which `received` notices.
            let _ = self.queue.send(Job { checks, reply });
        }
        async move {
            if let Some(error) = too_large {
                return vec![Err(error); count];
            }
            match received.await {
                Ok(JobReply { results, sent, checks_in_call }) => {
                    span.end(sent, checks_in_call, &results);
                    results
                }
                Err(_) => vec![Err(StoreError::unreachable(RuntimeStopped)); count],
            }
        }
    }

    /// Queues any number of checks, in as few calls as can hold them.
    pub(super) fn decide_all(
        &self,
        checks: &[Check],
    ) -> impl Future<Output = Results> + Send + 'static {
        let mut calls = Vec::new();
        let mut rest = checks;
        while !rest.is_empty() {
            let mut parts = 0;
            let fits = |check: &&Check| {
                parts += check.parts().len();
                parts <= MAX_BUCKETS
            };
            let length = rest.iter().take(MAX_CHECKS).take_while(fits).count().max(1);
            let (together, later) = rest.split_at(length);
            calls.push(self.decide(together.into()));
            rest = later;
        }
        async move {
            let mut results = Vec::new();
            for call in calls {
                results.append(&mut call.await);
            }
            results
        }
    }
}

struct Lane {
    route: Arc<Route>,
    connection: Option<OwnedConnection>,
    /// When the last reply came on the connection.
    last_reply: Instant,
}

impl Lane {
    async fn run(mut self, queue: Arc<Mutex<mpsc::UnboundedReceiver<Job>>>) {
        let mut jobs = Vec::with_capacity(MAX_JOBS);
        loop {
            if queue.lock().await.recv_many(&mut jobs, MAX_JOBS).await == 0 {
                return;
            }
            // A caller that no longer waits is not charged.
            jobs.retain(|job| !job.reply.is_closed());
            self.send_jobs(&mut jobs).await;
        }
    }

    /// Sends `jobs` in as few calls as can hold them: one, unless they name thousands of buckets.
    async fn send_jobs(&mut self, jobs: &mut Vec<Job>) {
        while !jobs.is_empty() {
            let mut plan = CallPlan::default();
            let (mut taken, mut checks) = (0, 0);
            for job in jobs.iter() {
                let parts: usize = job.checks.iter().map(|check| check.parts().len()).sum();
                checks += job.checks.len();
                if taken > 0 && (checks > MAX_CHECKS || plan.buckets() + parts > MAX_BUCKETS) {
                    break;
                }
                job.checks.iter().for_each(|check| plan.push(check));
                taken += 1;
            }
            let rest = jobs.split_off(taken);
            let batch = std::mem::replace(jobs, rest);
            self.send_batch(&plan, batch).await;
        }
    }

    /// Makes one round trip, and hands each job its results.
    async fn send_batch(&mut self, plan: &CallPlan, batch: Vec<Job>) {
        let checks: Vec<&Check> = batch.iter().flat_map(|job| &job.checks).collect();
        let checks_in_call = checks.len();
        let sent = Instant::now();
        let (results, error) = match self.decide(plan, &checks).await {
            Ok((results, lost)) => (results, lost),
            Err(error) => (vec![Err(error.clone()); checks_in_call], Some(error)),
        };
        let unreadable =
            |result: &Result<_, StoreError>| matches!(result, Err(StoreError::Unreadable { .. }));
        let mut report = RoundTrip::new(checks_in_call, sent.elapsed(), error.as_ref());
        if report.error.is_none() {
            report.unreadable = results.iter().filter(|result| unreadable(result)).count();
        }
        self.route.observer.observe(&report);
        let mut results = results.into_iter();
        for job in batch {
            let results = results.by_ref().take(job.checks.len()).collect();
            // A caller that no longer waits has dropped its receiver, so sending to it fails.
            let _ = job.reply.send(JobReply { results, sent, checks_in_call });
        }
    }

    /// Decides `checks`, which are those of `plan`; once more if the lane's connection turns out to
    /// be closed, as after a restart of the server.
    ///
    /// If the connection breaks after the script has run and before its reply arrives, the second
    /// call takes and charges a second time. The fleet then admits less, never more. What returns
    /// tokens would make some by that, so it is sent once: its result is the error, which is also
    /// returned beside the results.
    async fn decide(
        &mut self,
        plan: &CallPlan,
        checks: &[&Check],
    ) -> Result<(Results, Option<StoreError>), StoreError> {
        // Another caller may have learned that this connection leads to the wrong server.
        self.connection.take_if(|kept| !self.route.connections.is_current(kept));
        let was_connected = self.connection.is_some();
        let once = checks.iter().any(|check| returns_tokens(check));
        if once && self.last_reply.elapsed() > TRUSTED_FOR {
            // Back to the pool, which tests a connection before it hands it out.
            if let Some(idle) = self.connection.take() {
                self.route.connections.give_back(idle);
            }
        }
        let lost = match self.call_once(plan).await {
            Err(CallError { error, was_dropped: true }) if was_connected => error,
            reply => {
                let reply = reply.map_err(|CallError { error, .. }| error)?;
                return Ok((self.decisions(reply, plan, checks)?, None));
            }
        };
        let again: Vec<&Check> =
            checks.iter().copied().filter(|check| !returns_tokens(check)).collect();
        if again.is_empty() {
            return Err(lost);
        }
        let mut plan = CallPlan::default();
        again.iter().for_each(|check| plan.push(check));
        let decided = match self.call_once(&plan).await {
            Ok(reply) => self.decisions(reply, &plan, &again),
            Err(CallError { error, .. }) => Err(error),
        }?;
        let mut decided = decided.into_iter();
        let result = |check: &&Check| {
            let repeated = if returns_tokens(check) { None } else { decided.next() };
            repeated.unwrap_or_else(|| Err(lost.clone()))
        };
        let results = checks.iter().map(result).collect();
        Ok((results, once.then_some(lost)))
    }

    fn decisions(
        &self,
        reply: redis::Value,
        plan: &CallPlan,
        checks: &[&Check],
    ) -> Result<Results, StoreError> {
        let reply = CheckReply::parse(reply, plan, checks.len(), self.route.formats)?;
        Ok(reply.decisions(plan, checks.iter().copied()))
    }

    async fn call_once(&mut self, plan: &CallPlan) -> Result<redis::Value, CallError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let got = self.route.connections.get().await;
                got.map_err(|error| CallError { error, was_dropped: false })?
            }
        };
        let newest = self.route.newest_layout.load(Ordering::Relaxed);
        let arguments = |command: &mut redis::Cmd| plan.write(&self.route.keys, newest, command);
        match scripts::CHECK.call(&mut connection, arguments).await {
            Ok(value) => {
                self.connection = Some(connection);
                self.last_reply = Instant::now();
                Ok(value)
            }
            Err(error) => {
                let was_dropped =
                    error.is_connection_dropped() || (error.is_io_error() && !error.is_timeout());
                let error = self.route.connections.close(connection, error);
                Err(CallError { error, was_dropped })
            }
        }
    }
}

/// Returns whether a check would make tokens if it were decided twice.
fn returns_tokens(check: &Check) -> bool {
    match check.action() {
        Action::GiveBack | Action::Reset => true,
        Action::Take | Action::Peek | Action::Charge => false,
    }
}

struct CallError {
    error: StoreError,
    /// Whether the connection turned out to be closed.
    was_dropped: bool,
}
