//! `POST /v1/check` of the built binary, compared with an axum handler with a constant response in
//! the same run.
//!
//! Each server is a process with one worker thread, pinned to the first core if `taskset` is
//! available. This process sends over 64 and over 256 connections that wait for each response. The
//! figure that counts is the server's own processor time per request, which says what a core can
//! serve; requests per second on one machine depend on the sender too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "support/constant.rs"]
mod constant;
#[path = "support/http_caller.rs"]
mod http_caller;
mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use sluice_testkit::RedisServer;

use crate::{
    constant::Constant,
    http_caller::{Dialect, HttpCaller},
    support::{Server, sender},
};

const REQUESTS: usize = 200_000;
const CLIENTS: usize = 100_000;

fn main() {
    if Constant::run_if_asked().is_some() {
        return;
    }
    let redis = RedisServer::start();
    println!(
        "{:<28} {:>12} {:>8} {:>10} {:>12} {:>10} {:>10}",
        "", "connections", "k/s", "server us", "of constant", "p50 us", "p99 us"
    );
    for connections in [64, 256] {
        let constant = sender().block_on(measure(&Constant::Http.start(), connections));
        print("axum, a constant", connections, &constant, &constant);
        for (name, store) in
            [("sluice, memory", "memory://".to_owned()), ("sluice, redis", redis.url())]
        {
            let server =
                Server::start(env!("CARGO_BIN_EXE_sluice").as_ref(), |command, address| {
                    command
                        .env("SLUICE__LISTEN__HTTP", address)
                        .env("SLUICE__STORE__URL", &store)
                        .env("SLUICE__LOG__LEVEL", "error")
                });
            let measured = sender().block_on(measure(&server, connections));
            print(name, connections, &measured, &constant);
        }
    }
}

/// The result of a run.
struct Measured {
    per_second: f64,
    server_us: f64,
    p50_us: f64,
    p99_us: f64,
}

fn print(who: &str, connections: usize, measured: &Measured, constant: &Measured) {
    let Measured { per_second, server_us, p50_us, p99_us } = measured;
    println!(
        "{who:<28} {connections:>12} {:>8.1} {server_us:>10.2} {:>11.0}% {p50_us:>10.0} \
         {p99_us:>10.0}",
        per_second / 1_000.0,
        100.0 * constant.server_us / server_us,
    );
}

async fn measure(server: &Server, connections: usize) -> Measured {
    let next = Arc::new(AtomicUsize::new(0));
    let (used, started) = (server.seconds(), Instant::now());
    let tasks: Vec<_> =
        (0..connections).map(|_| tokio::spawn(ask(server.address(), Arc::clone(&next)))).collect();
    let mut latencies = Vec::with_capacity(REQUESTS);
    for task in tasks {
        latencies.append(&mut task.await.unwrap());
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    let at = |share: usize| f64::from(latencies[latencies.len() * share / 100]);
    Measured {
        per_second: REQUESTS as f64 / took.as_secs_f64(),
        server_us: (server.seconds() - used) * 1e6 / REQUESTS as f64,
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// Sends requests over one connection, one after another. Returns how long each took, in
/// microseconds.
async fn ask(address: SocketAddr, next: Arc<AtomicUsize>) -> Vec<u32> {
    let mut caller = HttpCaller::connect(address, Dialect::CHECK).await;
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return latencies;
        }
        latencies.push(caller.ask(number * 7_919 % CLIENTS).await.took_us);
    }
}
