//! Group commit: while a round trip is in flight, arriving checks gather; the next trip carries all
//! of them.
//!
//! A lane is a task with a connection of its own and one call in flight. The lane that is free
//! takes everything that has gathered. There are no timers and no windows: alone, a check goes out
//! at once; under load the batch grows by itself to what a round trip's time brings in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_redis::Connection;
use sluice_core::{Check, Decision};
use smallvec::SmallVec;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{
    connections::Connections, keys::Keys, plan::Plan, reply::Reply, scripts, span::RoundTripSpan,
};
use crate::{ObserveRoundTrips, RoundTrip, StoreError};

/// Jobs that a lane takes at once.
const MAX_JOBS: usize = 512;
/// Checks that one call carries at most, when they came in more than one job: more gain nothing,
/// and keep other clients of the server waiting.
const MAX_CHECKS: usize = 1_000;
/// Buckets that one call may name: Lua's stack holds 8,000 values.
const MAX_BUCKETS: usize = 4_000;

type Answers = Vec<Result<Decision, StoreError>>;

/// What a trip brought to one job, and what the trip was like.
#[derive(Debug)]
struct Brought {
    answers: Answers,
    /// When the call was sent.
    departed: Instant,
    /// How many checks it carried, those of other jobs included.
    checks: usize,
}

/// Nearly every job is one check.
type Checks = SmallVec<[Check; 1]>;

/// Checks that travel together, and where their answers go.
#[derive(Debug)]
struct Job {
    checks: Checks,
    answers: oneshot::Sender<Brought>,
}

/// The way to the lanes; they end when it is dropped.
#[derive(Debug)]
pub(super) struct Lanes {
    jobs: mpsc::UnboundedSender<Job>,
}

/// What every lane needs.
pub(super) struct Route {
    pub(super) connections: Arc<Connections>,
    pub(super) keys: Keys,
    pub(super) timeout: Duration,
    pub(super) observer: Box<dyn ObserveRoundTrips>,
}

impl Lanes {
    /// Starts `count` lanes on the current runtime.
    pub(super) fn start(count: usize, route: Route) -> Self {
        let (jobs, gathered) = mpsc::unbounded_channel();
        let gathered = Arc::new(Mutex::new(gathered));
        let route = Arc::new(route);
        for _ in 0..count {
            let lane = Lane { route: Arc::clone(&route), connection: None };
            tokio::spawn(lane.run(Arc::clone(&gathered)));
        }
        Self { jobs }
    }

    /// Sends `checks` with the next trip, from the moment of the call. Their answers come in their
    /// order.
    pub(super) fn decide(&self, checks: Checks) -> impl Future<Output = Answers> + Send + 'static {
        let count = checks.len();
        let span = RoundTripSpan::start();
        let (answers, answered) = oneshot::channel();
        // A job that no lane takes is dropped, and its sender with it: then `answered` says so.
        let _ = self.jobs.send(Job { checks, answers });
        async move {
            match answered.await {
                Ok(Brought { answers, departed, checks }) => {
                    span.returned(departed, checks, &answers);
                    answers
                }
                Err(_) => vec![Err(StoreError::Unreachable(Arc::new(LanesGone))); count],
            }
        }
    }

    /// Sends any number of checks: together, unless one call cannot hold them.
    pub(super) fn decide_all(
        &self,
        checks: &[Check],
    ) -> impl Future<Output = Answers> + Send + 'static {
        let mut answers = Vec::new();
        let mut rest = checks;
        while !rest.is_empty() {
            let mut parts = 0;
            let fits = |check: &&Check| {
                parts += check.parts().len();
                parts <= MAX_BUCKETS
            };
            let length = rest.iter().take(MAX_CHECKS).take_while(fits).count().max(1);
            let (together, later) = rest.split_at(length);
            answers.push(self.decide(together.into()));
            rest = later;
        }
        async move {
            let mut all = Vec::new();
            for answer in answers {
                all.append(&mut answer.await);
            }
            all
        }
    }
}

/// The runtime that the store was made on has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the runtime that the store was made on has stopped")]
struct LanesGone;

struct Lane {
    route: Arc<Route>,
    connection: Option<Connection>,
}

impl Lane {
    async fn run(mut self, gathered: Arc<Mutex<mpsc::UnboundedReceiver<Job>>>) {
        let mut jobs = Vec::with_capacity(MAX_JOBS);
        loop {
            if gathered.lock().await.recv_many(&mut jobs, MAX_JOBS).await == 0 {
                return;
            }
            // Who stopped waiting is not charged.
            jobs.retain(|job| !job.answers.is_closed());
            self.serve(&mut jobs).await;
        }
    }

    /// Answers `jobs`, in as few calls as hold them: one, unless they name thousands of buckets.
    async fn serve(&mut self, jobs: &mut Vec<Job>) {
        while !jobs.is_empty() {
            let mut plan = Plan::default();
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
            self.trip(&plan, batch).await;
        }
    }

    async fn trip(&mut self, plan: &Plan, batch: Vec<Job>) {
        let checks: usize = batch.iter().map(|job| job.checks.len()).sum();
        let departed = Instant::now();
        let reply = self.call(plan).await.and_then(|value| Reply::parse(value, plan, checks));
        self.route.observer.observe(&RoundTrip {
            checks,
            duration: departed.elapsed(),
            error: reply.as_ref().err(),
        });
        match reply {
            Ok(reply) => {
                let mut decisions =
                    reply.decisions(plan, batch.iter().flat_map(|job| &job.checks)).into_iter();
                for job in batch {
                    let answers = decisions.by_ref().take(job.checks.len()).collect();
                    // Who left meanwhile wants no answer.
                    let _ = job.answers.send(Brought { answers, departed, checks });
                }
            }
            Err(error) => {
                for job in batch {
                    let answers = vec![Err(error.clone()); job.checks.len()];
                    let _ = job.answers.send(Brought { answers, departed, checks });
                }
            }
        }
    }

    /// One call; a second one when the connection had been lost, as after a restart of the server.
    ///
    /// A connection that breaks between the script's run and its answer makes the second call
    /// charge a second time: the fleet then admits less, never more.
    async fn call(&mut self, plan: &Plan) -> Result<redis::Value, StoreError> {
        let was_idle = self.connection.is_some();
        match self.call_once(plan).await {
            Err(error) if was_idle && error.is_connection_dropped() => self.call_once(plan).await,
            answer => answer,
        }
        .map_err(|error| match error {
            CallError::Store(error) => error,
            CallError::Redis(error) => super::store_error(error, self.route.timeout),
        })
    }

    async fn call_once(&mut self, plan: &Plan) -> Result<redis::Value, CallError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.route.connections.get().await.map_err(CallError::Store)?,
        };
        match scripts::CHECK
            .call(&mut connection, |command| plan.write(&self.route.keys, command))
            .await
        {
            Ok(value) => {
                self.connection = Some(connection);
                Ok(value)
            }
            Err(error) => {
                // What came late would be somebody else's answer, and a refusal may be this
                // server's alone: the next call gets another connection.
                drop(Connection::take(connection));
                Err(CallError::Redis(error))
            }
        }
    }
}

enum CallError {
    Store(StoreError),
    Redis(redis::RedisError),
}

impl CallError {
    fn is_connection_dropped(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_connection_dropped() || (error.is_io_error() && !error.is_timeout()))
    }
}
