//! A lane's round trip: one write that carries every call of a batch.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use redis::{Pipeline, Value};
use sluice_core::Check;

use super::{
    batch::{Batch, Call},
    check_reply::CheckReply,
    connections::OwnedConnection,
    error_meaning::{Meaning, Redirect, is_no_script},
    lanes::{Answer, Miss, Route},
    scripts::CHECK,
};
use crate::{RoundTrip, StoreError};

/// How long a connection may be idle before it is tested ahead of a call that must not be sent
/// twice. The server may have closed it in the meantime.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How often a call is written: as it is, and with the text of the script before it.
const WRITES: usize = 2;

/// A connection with one round trip in flight at a time.
pub(super) struct Lane {
    route: Arc<Route>,
    connection: Option<OwnedConnection>,
    /// When the last reply came on the connection.
    last_reply: Instant,
}

/// Why a write has no replies.
struct TripError {
    error: StoreError,
    /// Whether the connection turned out to be closed.
    was_dropped: bool,
}

impl Lane {
    pub(super) fn new(route: Arc<Route>) -> Self {
        Self { route, connection: None, last_reply: Instant::now() }
    }

    pub(super) fn one_partition_a_call(&self) -> bool {
        self.route.one_partition_a_call
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

    /// Writes the calls of `batch`, and reads their replies. A server that does not know the
    /// script, since it is new, restarted or flushed, is sent its text in a second round trip.
    async fn exchange(&mut self, batch: &mut Batch) -> Result<(), TripError> {
        let mut connection = self.connect().await?;
        let mut failure = None;
        for write in 0..WRITES {
            let pipeline = self.pipeline(batch, write > 0);
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
            let is_last = write + 1 == WRITES;
            failure = self.read(batch, replies, write > 0, is_last).or(failure);
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

    /// Returns what is written for the calls of `batch`, perhaps with the text of the script.
    fn pipeline(&self, batch: &Batch, with_text: bool) -> Pipeline {
        let newest = self.route.newest_layout.load(Ordering::Relaxed);
        let mut pipeline = Pipeline::with_capacity(batch.calls.len() + 1);
        if with_text {
            pipeline.add_command(CHECK.load());
        }
        for call in &batch.calls {
            if call.asking {
                pipeline.cmd("ASKING");
            }
            let arguments = |command: &mut redis::Cmd| {
                call.plan.write(&self.route.keys, newest, command);
            };
            pipeline.add_command(CHECK.command_by_digest(arguments));
        }
        pipeline
    }

    /// Reads the replies to the calls of `batch`, and leaves those that are to be written again.
    /// Returns an error that speaks against the server.
    fn read(
        &self,
        batch: &mut Batch,
        replies: Vec<Value>,
        with_text: bool,
        is_last: bool,
    ) -> Option<redis::RedisError> {
        let mut replies = replies.into_iter().skip(usize::from(with_text));
        let mut failure = None;
        for call in mem::take(&mut batch.calls) {
            if call.asking {
                replies.next();
            }
            match replies.next().unwrap_or(Value::Nil).extract_error() {
                Ok(value) => {
                    let answers = self.decisions(value, &call, &batch.checks);
                    batch.answer(&call, answers);
                }
                Err(error) if is_no_script(&error) && !is_last => batch.calls.push(call),
                Err(error) => {
                    let redirect = Redirect::of(&error).filter(|_| self.one_partition_a_call());
                    let miss = match redirect {
                        Some(redirect) => Miss::Redirected(redirect),
                        None => Miss::Failed(self.route.connections.error(error.clone())),
                    };
                    if matches!(miss, Miss::Failed(_))
                        && Meaning::of(&error).concerns_all_connections()
                    {
                        failure = Some(error);
                    }
                    let count = call.checks.len();
                    batch.answer(&call, std::iter::repeat_n(Err(miss), count));
                }
            }
        }
        failure
    }

    fn decisions(&self, value: Value, call: &Call, checks: &[Check]) -> Vec<Answer> {
        let count = call.checks.len();
        match CheckReply::parse(value, &call.plan, count, self.route.formats) {
            Ok(reply) => {
                let checks = call.checks.iter().map(|&check| &checks[check]);
                let decisions = reply.decisions(&call.plan, checks).into_iter();
                decisions.map(|decision| decision.map_err(Miss::Failed)).collect()
            }
            Err(error) => vec![Err(Miss::Failed(error)); count],
        }
    }
}
