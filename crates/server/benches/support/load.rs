//! Sends requests to a server, and measures what they cost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    protocol::{Ask, Protocol},
    redis_use::RedisUse,
    support::{Server, sender},
    traffic::{Outcome, Traffic},
};

/// How many requests a run makes: fewer if only one is in flight.
const REQUESTS: usize = 80_000;
const REQUESTS_ALONE: usize = 8_000;
/// A server that begins no response for as long has stopped: far longer than any response takes.
const STALL: Duration = Duration::from_secs(10);

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each when a response has come.
    Closed,
    /// At fixed times.
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all have this loop")]
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
    #[allow(dead_code, reason = "each benchmark has the whole module, and not all have this loop")]
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

    /// Checks that every request was decided as it should be.
    ///
    /// # Errors
    /// When one was not; the message says how many were.
    pub(crate) fn check_outcome(&self, outcome: Outcome) -> Result<(), String> {
        let Self { requests, allowed, .. } = self;
        let expected = if outcome == Outcome::Admitted { *requests } else { 0 };
        if *allowed == expected {
            return Ok(());
        }
        Err(format!("{allowed} of {requests} admitted, where all should have been {outcome}"))
    }
}

/// Takes once from each client's bucket.
///
/// # Errors
/// As [`run`].
pub(crate) fn drain(
    server: &Server,
    protocol: impl Protocol,
    traffic: Traffic,
) -> Result<(), String> {
    send(server, protocol, 64, traffic.clients(), Pace::Closed, |number| number).map(drop)
}

/// Makes requests, and measures them. What `between` returns is from between the requests that warm
/// up and those that are measured.
///
/// # Errors
/// When the server stops responding, or responds with an error.
pub(crate) fn run<T>(
    server: &Server,
    protocol: impl Protocol,
    traffic: Traffic,
    in_flight: usize,
    pace: Pace,
    between: impl FnOnce() -> T,
) -> Result<(Run, T), String> {
    let requests = if in_flight == 1 { REQUESTS_ALONE } else { REQUESTS };
    send(server, protocol, in_flight, requests / 10, pace, move |number| traffic.client(number))?;
    let between = between();
    let client = move |number: usize| traffic.client(number + requests / 10);
    Ok((send(server, protocol, in_flight, requests, pace, client)?, between))
}

fn send(
    server: &Server,
    protocol: impl Protocol,
    in_flight: usize,
    requests: usize,
    pace: Pace,
    client: impl Fn(usize) -> usize + Copy + Send + 'static,
) -> Result<Run, String> {
    sender().block_on(async {
        let askers = protocol.connect(server.address(), in_flight).await;
        let next = Arc::new(AtomicUsize::new(0));
        let (used, started) = (server.seconds(), Instant::now());
        let mut tasks = JoinSet::new();
        for mut asker in askers {
            let next = Arc::clone(&next);
            tasks.spawn(async move {
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
            });
        }
        let mut run = Run { requests, ..Run::default() };
        let all = async {
            while let Some(task) = tasks.join_next().await {
                let (mut latencies, allowed) = task.map_err(|error| error.to_string())?;
                run.latencies.append(&mut latencies);
                run.allowed += allowed;
            }
            Ok::<_, String>(())
        };
        tokio::select! {
            ended = all => ended?,
            () = stalled(&next) => {
                return Err(format!("no response for {} s", STALL.as_secs()));
            }
        }
        run.per_second = requests as f64 / started.elapsed().as_secs_f64();
        run.server_us = (server.seconds() - used) * 1e6 / requests as f64;
        run.latencies.sort_unstable();
        Ok(run)
    })
}

/// Returns when no request has been sent for a while.
async fn stalled(next: &AtomicUsize) {
    let mut last = None;
    loop {
        let sent = next.load(Ordering::Relaxed);
        if last.replace(sent) == Some(sent) {
            return;
        }
        tokio::time::sleep(STALL).await;
    }
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
