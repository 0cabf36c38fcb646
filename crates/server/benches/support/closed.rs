//! A closed loop of requests to one server, with one kind of traffic.

use sluice_testkit::RedisServer;

use crate::{
    load::{self, Pace, Run},
    protocol::Protocol,
    redis_use::RedisUse,
    support::Server,
    traffic::{Outcome, Traffic},
};

/// What is measured.
pub(crate) struct Closed<'a, P> {
    pub(crate) server: &'a Server,
    pub(crate) redis: &'a RedisServer,
    /// The commands that the server sends to Redis for decisions.
    pub(crate) sent: &'a [&'a str],
    pub(crate) protocol: P,
    pub(crate) traffic: Traffic,
    pub(crate) outcome: Outcome,
}

impl<P: Protocol> Closed<'_, P> {
    /// Empties every bucket if requests are to be denied.
    ///
    /// # Errors
    /// As [`load::run`].
    pub(crate) fn prepare(&self) -> Result<(), String> {
        match self.outcome {
            Outcome::Admitted => Ok(()),
            Outcome::Denied => load::drain(self.server, self.protocol, self.traffic),
        }
    }

    /// Measures the loop with this number in flight.
    ///
    /// # Errors
    /// As [`load::run`], or when a request was not decided as it should be.
    pub(crate) fn measure(&self, in_flight: usize) -> Result<Run, String> {
        let use_of_redis = || RedisUse::of(self.redis, self.sent);
        let (mut run, before) = load::run(
            self.server,
            self.protocol,
            self.traffic,
            in_flight,
            Pace::Closed,
            use_of_redis,
        )?;
        run.used_of_redis(&before, &use_of_redis());
        run.check_outcome(self.outcome)?;
        Ok(run)
    }
}
