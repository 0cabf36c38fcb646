//! A lane's round trip: one write that carries every call of a batch.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    batch::Batch,
    check_reply::CheckReply,
    connections::{Connections, OwnedConnection},
    epochs::Epochs,
    error_meaning::{Meaning, Redirect, is_no_script},
    job::Miss,
    keys::Keys,
};
use crate::{Clock, Formats, MonotonicClock, ObserveRoundTrips, RoundTrip, StoreError};
use redis::{Pipeline, Value};
use sluice_core::Timestamp;

/// How long a connection may be idle before it is tested ahead of a call that must not be sent
/// twice. The server may have closed it in the meantime.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How often a call is written: as it is and behind the script's text, and that for each of two
/// scripts, or for each of three windows of the calendar.
const MOST_WRITES: usize = 6;

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

/// A connection with one round trip in flight at a time.
pub(super) struct Lane {
    route: Arc<Route>,
    connection: Option<OwnedConnection>,
    /// When the last reply came on the connection.
    last_reply: Instant,
    /// The server's clock, as the last reply showed it. Until then, it is that of this machine.
    clock: MonotonicClock,
}

/// Why a write has no replies.
struct TripError {
    error: StoreError,
    /// Whether the connection turned out to be closed.
    was_dropped: bool,
}

impl Lane {
    pub(super) fn new(route: Arc<Route>) -> Self {
        Self { route, connection: None, last_reply: Instant::now(), clock: MonotonicClock::new() }
    }

    pub(super) fn one_partition_a_call(&self) -> bool {
        self.route.one_partition_a_call
    }

    /// Returns what the server's clock shows, as far as is known.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Makes one round trip, and hands each job what has come of its checks.
    pub(super) async fn send(&mut self, mut batch: Batch) {
        let sent = Instant::now();
        let lost = self.decide(&mut batch).await;
        let mut report = RoundTrip::new(batch.checks.len(), sent.elapsed(), None);
        let failures = || {
            let failed = batch.answers.iter().filter_map(|answer| answer.as_ref()?.as_ref().err());
            failed.filter_map(|miss| match miss {
                Miss::Failed(error) => Some(error),
                Miss::Redirected(_) => None,
            })
        };
        let of_data = |error: &&StoreError| matches!(error, StoreError::Unreadable { .. });
        report.error = lost.as_ref().or_else(|| failures().find(|error| !of_data(error)));
        if report.error.is_none() {
            report.unreadable = failures().filter(of_data).count();
        }
        self.route.observer.observe(&report);
        batch.reply(sent);
    }

    /// Decides the checks of `batch`; once more if the lane's connection turns out to be closed, as
    /// after a restart of the server. Returns the error of the first attempt if not all of its
    /// checks were repeated.
    ///
    /// If the connection breaks after the script has run and before its reply arrives, the second
    /// call takes and charges a second time. The fleet then admits less, never more. What returns
    /// tokens would make some by that, so it is sent once, and its answer is the error.
    async fn decide(&mut self, batch: &mut Batch) -> Option<StoreError> {
        // Another caller may have learned that this connection leads to the wrong server.
        self.connection.take_if(|kept| !self.route.connections.is_current(kept));
        let was_connected = self.connection.is_some();
        let once = batch.must_not_be_repeated();
        if once && self.last_reply.elapsed() > TRUSTED_FOR {
            // Back to the pool, which tests a connection before it hands it out.
            if let Some(idle) = self.connection.take() {
                self.route.connections.give_back(idle);
            }
        }
        let lost = match self.exchange(batch).await {
            Ok(()) => return None,
            Err(TripError { error, was_dropped: true }) if was_connected => error,
            Err(TripError { error, .. }) => {
                batch.fail(&error);
                return None;
            }
        };
        if batch.keep_only_repeatable(&lost)
            && let Err(TripError { error, .. }) = self.exchange(batch).await
        {
            batch.fail(&error);
        }
        once.then_some(lost)
    }

    /// Writes the calls of `batch`, and reads their replies. What a server does not know the script
    /// for, since it is new, restarted or flushed, is written again behind the text; what the
    /// script for one check leaves to the other one, for that; and what was about another window
    /// of the calendar than the server's, for the server's.
    async fn exchange(&mut self, batch: &mut Batch) -> Result<(), TripError> {
        let mut connection = self.connect().await?;
        let mut failure = None;
        for write in 1..=MOST_WRITES {
            batch.calls.iter_mut().for_each(|call| call.plan.remembered_by(&self.route.epochs));
            let pipeline = self.pipeline(batch);
            let count = pipeline.len();
            let replies = match connection.send_packed_commands(&pipeline, 0, count).await {
                Ok(replies) => replies,
                Err(error) => {
                    let was_dropped = error.is_connection_dropped()
                        || (error.is_io_error() && !error.is_timeout());
                    let error = self.route.connections.close(connection, error);
                    (self.route.on_trouble)();
                    return Err(TripError { error, was_dropped });
                }
            };
            self.last_reply = Instant::now();
            failure = self.read(batch, replies, write == MOST_WRITES).or(failure);
            if batch.calls.is_empty() {
                break;
            }
        }
        match failure {
            // The replies have been handed out; what the error says about the connection counts.
            Some(error) => {
                self.route.connections.close(connection, error);
                (self.route.on_trouble)();
            }
            None => self.connection = Some(connection),
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<OwnedConnection, TripError> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        self.route.connections.get().await.map_err(|error| {
            (self.route.on_trouble)();
            TripError { error, was_dropped: false }
        })
    }

    /// Returns what is written for the calls of `batch`, with the texts of unknown scripts.
    fn pipeline(&self, batch: &Batch) -> Pipeline {
        let newest = self.route.newest_layout.load(Ordering::Relaxed);
        let mut pipeline = Pipeline::with_capacity(batch.calls.len());
        for call in &batch.calls {
            if call.with_text {
                pipeline.add_command(call.plan.script().load());
            }
            if call.asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(call.plan.command(&self.route.keys, newest));
        }
        pipeline
    }

    /// Reads the replies to the calls of `batch`, and leaves those that are to be written again.
    /// Returns an error that speaks against the server.
    fn read(
        &mut self,
        batch: &mut Batch,
        replies: Vec<Value>,
        is_last: bool,
    ) -> Option<redis::RedisError> {
        let mut replies = replies.into_iter();
        let mut failure = None;
        for mut call in mem::take(&mut batch.calls) {
            let count = call.checks.len();
            let mut next = || replies.next().unwrap_or(Value::Nil).extract_error();
            // Without the text, the call itself would only say that the script is unknown.
            let loaded = if call.with_text { next() } else { Ok(Value::Nil) };
            if call.asking {
                // What it says shows in the reply to the call.
                let _ = next();
            }
            let reply = next();
            let miss = match loaded.and(reply) {
                Ok(value) => {
                    let formats = self.route.formats;
                    match CheckReply::parse(value, &call.plan, count, formats) {
                        Ok(Some(reply)) => {
                            self.clock = MonotonicClock::showing(reply.now());
                            batch.decided(&call, reply);
                            continue;
                        }
                        Ok(None) if !is_last => {
                            call.plan.check_in_full();
                            call.with_text = false;
                            batch.calls.push(call);
                            continue;
                        }
                        Ok(None) => Miss::Failed(StoreError::unreadable("no script decides")),
                        Err(error) => Miss::Failed(error),
                    }
                }
                Err(error) if is_no_script(&error) && !is_last => {
                    call.with_text = true;
                    batch.calls.push(call);
                    continue;
                }
                Err(error) => match Redirect::of(&error).filter(|_| self.one_partition_a_call()) {
                    Some(redirect) => Miss::Redirected(redirect),
                    None => {
                        let miss = self.route.connections.error(error.clone());
                        if Meaning::of(&error).concerns_all_connections() {
                            failure = Some(error);
                        }
                        Miss::Failed(miss)
                    }
                },
            };
            batch.missed(&call, &miss);
        }
        failure
    }
}
