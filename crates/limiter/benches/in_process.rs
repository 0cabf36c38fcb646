//! Compares a decision in memory with the crate governor, and measures the memory of a bucket.
//!
//! Both get the client's name as text, as a front end would pass it. Sluice normalizes the path,
//! finds the limits, hashes the client, decides and counts; governor looks the text up in its keyed
//! store and decides.
//!
//! For a profiler, `DECISIONS=20000` makes fewer decisions in a round, and
//! `SUBJECT="metrics on, 1 "` measures only the lines that contain this text.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::{
    hint::black_box,
    num::NonZeroU32,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use governor::{DefaultKeyedRateLimiter, Quota};
use sluice::{
    Client, Limiter, Request, Telemetry,
    stats::{MemoryStats, Reporter, StatsCounters},
};
use sluice_core::{Action, Check, Cost, Subject};
use sluice_store::{MemoryStore, Store};
use sluice_testkit::policies;

const ROUNDS: usize = 5;

fn main() {
    println!("{:<44} {:>10} {:>10}", "", "ns", "ratio");
    for clients in [1, 100_000] {
        let names: Vec<String> = (0..clients).map(|number| format!("client-{number:06}")).collect();
        let mut peer = f64::NAN;
        let mut measure = |what: &str, subject: fn(&[String]) -> f64| {
            let what = format!("{what}, {clients} buckets");
            if selected(&what) {
                let ns = subject(&names);
                peer = if peer.is_nan() { ns } else { peer };
                println!("{what:<44} {ns:>10.1} {:>10.2}", ns / peer);
            }
        };
        measure("governor, text keys", governor);
        measure("limiter, metrics on", |names| {
            limiter(names, Telemetry::builder().build().unwrap().recorders())
        });
        measure("limiter, metrics and stats on", counting);
        measure("limiter, metrics off", |names| {
            limiter(names, &sluice_telemetry::Recorders::disabled())
        });
        measure("memory store alone", store);
    }
    if selected("bytes of a bucket") {
        bytes_per_bucket();
    }
}

/// Returns whether to measure `what`, by default everything.
fn selected(what: &str) -> bool {
    std::env::var("SUBJECT").map_or(true, |subject| what.contains(&subject))
}

/// Returns the number of decisions in a round. `DECISIONS=20000 cargo xtask bench in_process` makes
/// fewer, for a slow profiler.
fn decisions() -> usize {
    std::env::var("DECISIONS")
        .map_or(2_000_000, |count| count.parse().expect("DECISIONS is a whole number"))
}

/// Returns the nanoseconds of a step in the best round, since other load only makes it slower.
fn time(mut step: impl FnMut(usize)) -> f64 {
    let decisions = decisions();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for number in 0..decisions {
            step(black_box(number));
        }
        best = best.min(started.elapsed().as_nanos() as f64 / decisions as f64);
    }
    best
}

/// Returns an index below `count`, in an order that caches cannot predict.
const fn pick(number: usize, count: usize) -> usize {
    number.wrapping_mul(7_919 * 4_099) % count
}

fn governor(names: &[String]) -> f64 {
    let quota =
        Quota::per_minute(NonZeroU32::new(60).unwrap()).allow_burst(NonZeroU32::new(10).unwrap());
    let limiter = DefaultKeyedRateLimiter::keyed(quota);
    time(|number| {
        let _ = black_box(limiter.check_key(&names[pick(number, names.len())]));
    })
}

fn limiter(names: &[String], recorders: &sluice_telemetry::Recorders) -> f64 {
    decide(names, &Limiter::builder(policies::document()).recorders(recorders).build(), |_| ())
}

/// Measures with statistics, flushed about as often as on a busy replica.
fn counting(names: &[String]) -> f64 {
    let telemetry = Telemetry::builder().build().unwrap();
    let stats = StatsCounters::new(telemetry.recorders());
    let reporter = Reporter::new(stats.clone(), Arc::new(MemoryStats::new()), "bench");
    let limiter = Limiter::builder(policies::document())
        .recorders(telemetry.recorders())
        .stats(&stats)
        .build();
    decide(names, &limiter, |number| {
        if number % 250_000 == 0 {
            ready(pin!(reporter.flush())).unwrap();
        }
    })
}

fn decide(names: &[String], limiter: &Limiter, mut before_each: impl FnMut(usize)) -> f64 {
    time(|number| {
        before_each(number);
        let name = &names[pick(number, names.len())];
        let request = Request::new(Client::Key(name.as_bytes()), "GET", "/api/v1/blueprints");
        black_box(ready(pin!(limiter.check(&request)))).unwrap();
    })
}

fn store(names: &[String]) -> f64 {
    let policy = policies::document();
    let limit = policy.limits().iter().find(|limit| limit.name() == "/api/v1/blueprints").unwrap();
    let store = MemoryStore::new();
    time(|number| {
        let tag = policy.tagger().tag(Subject::Client(names[pick(number, names.len())].as_bytes()));
        let check = Check::new(Action::Take).with(limit, tag, Cost::ONE);
        black_box(ready(pin!(store.decide(&check)))).unwrap();
    })
}

/// Polls a future that is ready, so that no runtime is measured. The memory store decides at once.
///
/// The future is pinned where it is made, as by `.await`.
fn ready<T>(future: Pin<&mut impl Future<Output = T>>) -> T {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the memory store decides at once"),
    }
}

fn bytes_per_bucket() {
    let policy = policies::document();
    let limit = policy
        .limits()
        .iter()
        .find(|limit| limit.name() == "/api/v1/conversation/chat-stream")
        .unwrap();
    let store = MemoryStore::new();
    let before = resident();
    for number in 0..decisions() / 2 {
        let tag = policy.tagger().tag(Subject::Client(&number.to_le_bytes()));
        // Takes all ten tokens, so that the first bucket is forgotten only after half a minute.
        let check = Check::new(Action::Take).with(limit, tag, Cost::new(10).unwrap());
        ready(pin!(store.decide(&check))).unwrap();
    }
    println!(
        "\n{:.1} bytes of resident memory for each of {} buckets",
        (resident() - before) / store.len() as f64,
        store.len()
    );
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok())
        .map_or(f64::NAN, |pages| pages * 4_096.0)
}
