//! Compares a decision in memory with the crate governor, and measures the memory of a bucket.
//!
//! Both get the client's name as text, as a front end would pass it. Sluice normalizes the path,
//! finds the limits, hashes the client, decides and counts; governor looks the text up in its keyed
//! store and decides.
//!
//! For a profiler, `DECISIONS=2000` makes fewer decisions in a round, and
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
    ops::Range,
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

/// All subjects take turns, one short round each, so that other load on the machine slows them all.
const ROUNDS: usize = 50;

fn main() {
    println!("{:<44} {:>10} {:>10}", "", "ns", "ratio");
    let metered = Telemetry::builder().build().unwrap();
    for clients in [1, 100_000] {
        let names: Vec<String> = (0..clients).map(|number| format!("client-{number:06}")).collect();
        let mut subjects = [
            ("governor, text keys", governor(&names)),
            ("limiter, metrics on", limiter(&names, metered.recorders())),
            ("limiter, metrics and stats on", counting(&names)),
            ("limiter, metrics off", limiter(&names, &sluice_telemetry::Recorders::disabled())),
            ("memory store alone", store(&names)),
        ]
        .map(|(what, round)| Measured::new(format!("{what}, {clients} buckets"), round));
        for number in 0..ROUNDS {
            let decisions = number * decisions()..(number + 1) * decisions();
            for subject in &mut subjects {
                subject.measure(&decisions);
            }
        }
        let mut peer = f64::NAN;
        for Measured { what, best, .. } in subjects.iter().filter(|subject| subject.is_selected) {
            peer = if peer.is_nan() { *best } else { peer };
            println!("{what:<44} {best:>10.1} {:>10.2}", best / peer);
        }
    }
    if selected("bytes of a bucket") {
        bytes_per_bucket();
    }
}

/// What is measured.
struct Measured<'n> {
    what: String,
    is_selected: bool,
    round: Round<'n>,
    /// The nanoseconds of a decision in the best round, since other load only makes it slower.
    best: f64,
}

/// Makes decisions of these numbers.
type Round<'n> = Box<dyn FnMut(Range<usize>) + 'n>;

impl<'n> Measured<'n> {
    fn new(what: String, round: Round<'n>) -> Self {
        Self { is_selected: selected(&what), what, round, best: f64::INFINITY }
    }

    fn measure(&mut self, decisions: &Range<usize>) {
        if self.is_selected {
            let started = Instant::now();
            (self.round)(decisions.clone());
            let ns = started.elapsed().as_nanos() as f64 / decisions.len() as f64;
            self.best = self.best.min(ns);
        }
    }
}

/// Returns whether to measure `what`, by default everything.
fn selected(what: &str) -> bool {
    std::env::var("SUBJECT").map_or(true, |subject| what.contains(&subject))
}

/// Returns the number of decisions in a round. `DECISIONS=2000 cargo xtask bench in_process` makes
/// fewer, for a slow profiler.
fn decisions() -> usize {
    std::env::var("DECISIONS")
        .map_or(200_000, |count| count.parse().expect("DECISIONS is a whole number"))
}

fn rounds<'n>(mut step: impl FnMut(usize) + 'n) -> Round<'n> {
    Box::new(move |numbers| {
        for number in numbers {
            step(black_box(number));
        }
    })
}

/// Returns an index below `count`, in an order that caches cannot predict.
const fn pick(number: usize, count: usize) -> usize {
    number.wrapping_mul(7_919 * 4_099) % count
}

fn governor(names: &[String]) -> Round<'_> {
    let quota =
        Quota::per_minute(NonZeroU32::new(60).unwrap()).allow_burst(NonZeroU32::new(10).unwrap());
    let limiter = DefaultKeyedRateLimiter::keyed(quota);
    rounds(move |number| {
        let _ = black_box(limiter.check_key(&names[pick(number, names.len())]));
    })
}

fn limiter<'n>(names: &'n [String], recorders: &sluice_telemetry::Recorders) -> Round<'n> {
    decide(names, Limiter::builder(policies::document()).recorders(recorders).build(), |_| ())
}

/// Measures with statistics, flushed about as often as on a busy replica.
fn counting(names: &[String]) -> Round<'_> {
    let telemetry = Telemetry::builder().build().unwrap();
    let stats = StatsCounters::new(telemetry.recorders());
    let reporter = Reporter::new(stats.clone(), Arc::new(MemoryStats::new()), "bench");
    let limiter = Limiter::builder(policies::document())
        .recorders(telemetry.recorders())
        .stats(&stats)
        .build();
    decide(names, limiter, move |number| {
        // Its instruments count for as long as it is there.
        let _ = &telemetry;
        if number % 250_000 == 0 {
            ready(pin!(reporter.flush())).unwrap();
        }
    })
}

fn decide<'n>(
    names: &'n [String],
    limiter: Limiter,
    mut before_each: impl FnMut(usize) + 'n,
) -> Round<'n> {
    rounds(move |number| {
        before_each(number);
        let name = &names[pick(number, names.len())];
        let request = Request::new(Client::Key(name.as_bytes()), "GET", "/api/v1/blueprints");
        black_box(ready(pin!(limiter.check(&request)))).unwrap();
    })
}

fn store(names: &[String]) -> Round<'_> {
    let policy = policies::document();
    let mut limits = policy.limits().iter();
    let limit = Arc::clone(limits.find(|limit| limit.name() == "/api/v1/blueprints").unwrap());
    let store = MemoryStore::new();
    rounds(move |number| {
        let tag = policy.tagger().tag(Subject::Client(names[pick(number, names.len())].as_bytes()));
        let check = Check::new(Action::Take).with(&limit, tag, Cost::ONE);
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
    for number in 0..5 * decisions() {
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
