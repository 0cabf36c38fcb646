//! Sends requests to a server, and measures what they cost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    asker,
    replica::{Door, RedisUse},
    support::{Server, sender},
    traffic::{Outcome, Traffic},
};

/// How many requests a run makes: fewer if only one is in flight.
const REQUESTS: usize = 80_000;
const REQUESTS_ALONE: usize = 8_000;
/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each when a response has come.
    Closed,
    /// At fixed times.
    Open { per_second: f64 },
}

/// What a run has measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    requests: usize,
    allowed: usize,
    pub(crate) per_second: f64,
    pub(crate) server_us: f64,
    /// Processor time of Redis, and calls of scripts, for each decision.
    pub(crate) redis: Option<(f64, f64)>,
    /// Sorted, in microseconds. In an open loop they begin when the request was due.
    latencies: Vec<u32>,
}

impl Run {
    /// Returns the latency that this share of the requests does not exceed.
    pub(crate) fn latency_us(&self, share: f64) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is an index"
        )]
        let index = (self.latencies.len() as f64 * share) as usize;
        self.latencies[index.min(self.latencies.len() - 1)]
    }

    pub(crate) fn used_of_redis(&mut self, before: &RedisUse, after: &RedisUse) {
        let requests = self.requests as f64;
        self.redis = Some((
            (after.seconds - before.seconds) * 1e6 / requests,
            (after.calls - before.calls) / requests,
        ));
    }

    pub(crate) fn assert_outcome(&self, outcome: Outcome) {
        let expected = if outcome == Outcome::Admitted { self.requests } else { 0 };
        assert_eq!(self.allowed, expected, "of {} requests", self.requests);
    }
}

/// Takes once from each client's bucket.
pub(crate) fn drain(server: &Server, door: Door, traffic: Traffic) {
    send(server, door, 64, traffic.clients(), Pace::Closed, |number| number);
}

/// Makes requests, and measures them. What `between` returns is from between the requests that warm
/// up and those that are measured.
pub(crate) fn run<T>(
    server: &Server,
    door: Door,
    traffic: Traffic,
    in_flight: usize,
    pace: Pace,
    between: impl FnOnce() -> T,
) -> (Run, T) {
    let requests = if in_flight == 1 { REQUESTS_ALONE } else { REQUESTS };
    send(server, door, in_flight, requests / 10, pace, move |number| traffic.client(number));
    let between = between();
    let client = move |number: usize| traffic.client(number + requests / 10);
    (send(server, door, in_flight, requests, pace, client), between)
}

fn send(
    server: &Server,
    door: Door,
    in_flight: usize,
    requests: usize,
    pace: Pace,
    client: impl Fn(usize) -> usize + Copy + Send + 'static,
) -> Run {
    sender().block_on(async {
        let askers = asker::connect(server.address(), door, in_flight).await;
        let next = Arc::new(AtomicUsize::new(0));
        let (used, started) = (server.seconds(), Instant::now());
        let tasks: Vec<_> = askers
            .into_iter()
            .map(|mut asker| {
                let next = Arc::clone(&next);
                tokio::spawn(async move {
                    let (mut latencies, mut allowed) = (Vec::new(), 0);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            return (latencies, allowed);
                        }
                        let due = wait_until_due(pace, started, number).await;
                        let answer = asker.ask(client(number)).await;
                        allowed += usize::from(answer.is_allowed);
                        let took = due.map(|due| due.elapsed().as_micros());
                        let took = took.map_or(answer.took_us, |us| u32::try_from(us).unwrap());
                        latencies.push(took);
                    }
                })
            })
            .collect();
        let mut run = Run { requests, ..Run::default() };
        for task in tasks {
            let (mut latencies, allowed) = task.await.unwrap();
            run.latencies.append(&mut latencies);
            run.allowed += allowed;
        }
        run.per_second = requests as f64 / started.elapsed().as_secs_f64();
        run.server_us = (server.seconds() - used) * 1e6 / requests as f64;
        run.latencies.sort_unstable();
        run
    })
}

/// Waits until a request is due, and returns when that was; `None` if it is due at once. The
/// runtime never sleeps, so neither does this.
async fn wait_until_due(pace: Pace, started: Instant, number: usize) -> Option<Instant> {
    let Pace::Open { per_second } = pace else { return None };
    let due = started + Duration::from_secs_f64(number as f64 / per_second);
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
    Some(due)
}
