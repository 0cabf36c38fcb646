//! Envoy's rate limit service of the built binary, compared with tonic services with a constant
//! response in the same run.
//!
//! There are three constants: a code alone, a code with a status, and both with header fields,
//! which is what Sluice sends. Each server is a process with one worker thread, alone on the first
//! core if `taskset` is available. This process sends over one connection with 64 calls in flight,
//! and over eight with 256 in total. The figure that counts is the server's own processor time per
//! call, which says what a core can serve; calls per second on one machine depend on the sender
//! too. The median of three runs is shown.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "support/constant.rs"]
mod constant;
#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/grpc.rs"]
mod grpc;
mod support;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use sluice_testkit::{RedisServer, ReservedPort};

use crate::{
    constant::Constant,
    envoy::Caller,
    support::{Server, sender},
};

const CALLS: usize = 300_000;
const CLIENTS: usize = 100_000;
const RULES: &str = "{ domain: edge, descriptors: [{ key: api_key, rate_limit: { unit: minute, \
                     requests_per_unit: 60 } }] }";
/// How often each server is measured; the median counts.
const ROUNDS: usize = 3;

fn main() {
    if Constant::run_if_asked().is_some() {
        return;
    }
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("edge.yaml");
    fs::write(&rules, RULES).unwrap();
    let http = ReservedPort::new();
    let sluice = |store: &str, fields: bool| start_sluice(&rules, &http, store, fields);
    let redis = redis.url();
    // Each server with the constant whose response has the same parts.
    let all: [(&str, usize, &dyn Fn() -> Server); 7] = [
        ("tonic, a code", 0, &|| Constant::Code.start()),
        ("tonic, a status", 1, &|| Constant::Status.start()),
        ("tonic, status and fields", 2, &|| Constant::Fields.start()),
        ("sluice, memory, no fields", 1, &|| sluice("memory://", false)),
        ("sluice, memory", 2, &|| sluice("memory://", true)),
        ("sluice, redis, no fields", 1, &|| sluice(&redis, false)),
        ("sluice, redis", 2, &|| sluice(&redis, true)),
    ];
    println!(
        "{:<28} {:>9} {:>8} {:>10} {:>8} {:>8} {:>8} {:>8}",
        "", "in flight", "k/s", "server us", "of code", "of equal", "p50 us", "p99 us"
    );
    for (connections, in_flight) in [(1, 64), (8, 256)] {
        let mut runs: [Vec<Measured>; 7] = Default::default();
        // Servers take turns, so that other load on the machine affects all of them.
        for _ in 0..ROUNDS {
            for (runs, (_, _, start)) in runs.iter_mut().zip(&all) {
                let server = start();
                runs.push(sender().block_on(measure(&server, connections, in_flight)));
            }
        }
        let medians = runs.map(median);
        for ((who, equal, _), measured) in all.iter().zip(&medians) {
            print(who, in_flight, measured, &medians[0], &medians[*equal]);
        }
    }
}

fn start_sluice(rules: &Path, http: &ReservedPort, store: &str, fields: bool) -> Server {
    Server::start(env!("CARGO_BIN_EXE_sluice").as_ref(), |command: &mut Command, address| {
        let rls = format!("{{ files: ['{}'], response_headers: {fields} }}", rules.display());
        command
            .env("SLUICE__LISTEN__HTTP", format!("127.0.0.1:{}", http.number()))
            .env("SLUICE__LISTEN__GRPC", address);
        command
            .env("SLUICE__RLS", rls)
            .env("SLUICE__STORE__URL", store)
            .env("SLUICE__LOG__LEVEL", "error")
    })
}

/// The result of a run.
struct Measured {
    per_second: f64,
    server_us: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Returns the median run.
fn median(mut runs: Vec<Measured>) -> Measured {
    runs.sort_by(|one, other| one.server_us.total_cmp(&other.server_us));
    let middle = runs.len() / 2;
    runs.swap_remove(middle)
}

fn print(who: &str, in_flight: usize, measured: &Measured, code: &Measured, equal: &Measured) {
    let Measured { per_second, server_us, p50_us, p99_us } = measured;
    let of = |constant: &Measured| 100.0 * constant.server_us / server_us;
    println!(
        "{who:<28} {in_flight:>9} {:>8.1} {server_us:>10.2} {:>7.0}% {:>7.0}% {p50_us:>8.0} \
         {p99_us:>8.0}",
        per_second / 1_000.0,
        of(code),
        of(equal),
    );
}

async fn measure(server: &Server, connections: usize, in_flight: usize) -> Measured {
    let mut callers = Vec::new();
    for _ in 0..connections {
        callers.push(Caller::connect(server.address()).await);
    }
    ask(&callers, in_flight, CALLS / 10).await;
    let (used, started) = (server.seconds(), Instant::now());
    let mut latencies = ask(&callers, in_flight, CALLS).await;
    let (took, used) = (started.elapsed(), server.seconds() - used);
    latencies.sort_unstable();
    let at = |share: usize| f64::from(latencies[latencies.len() * share / 100]);
    Measured {
        per_second: CALLS as f64 / took.as_secs_f64(),
        server_us: used * 1e6 / CALLS as f64,
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// Makes `calls` calls, `in_flight` at a time. Returns how long each took, in microseconds.
async fn ask(callers: &[Caller], in_flight: usize, calls: usize) -> Vec<u32> {
    let left = Arc::new(AtomicUsize::new(calls));
    let tasks: Vec<_> = (0..in_flight)
        .map(|i| tokio::spawn(call(callers[i % callers.len()].clone(), Arc::clone(&left))))
        .collect();
    let mut latencies = Vec::with_capacity(calls);
    for task in tasks {
        latencies.append(&mut task.await.unwrap());
    }
    latencies
}

/// Makes one call after another until none is left. Returns how long each took, in microseconds.
async fn call(mut caller: Caller, left: Arc<AtomicUsize>) -> Vec<u32> {
    let mut latencies = Vec::new();
    while let Ok(number) =
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
    {
        let answer = caller.ask(number * 7_919 % CLIENTS).await;
        assert!(answer.is_allowed);
        latencies.push(answer.took_us);
    }
    latencies
}
