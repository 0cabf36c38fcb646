//! Sluice beside the servers that one would take instead: envoyproxy/ratelimit, limitador,
//! gubernator and throttlecrab, with the same generator, the same clients and the same limit.
//!
//! Each server is a process with one worker thread, alone on the first core if `taskset` is
//! available. The generator and Redis share the others. The loop is closed: 64 or 256 requests are
//! in flight, of 100,000 clients uniformly or of a single one; the limit admits all, or it denies
//! all. A run whose decisions are not these fails: a peer's row then says so, and Sluice ends the
//! benchmark.
//!
//! What counts is the processor time of a decision: `of constant` is that of a server of the same
//! stack (tonic or axum) with a constant response, in percent of the server's own. Redis calls are
//! calls of scripts, and commands that are sent outside scripts.
//!
//! Servers have their default settings, but for room for all counters, and for fewer logs. A peer
//! that is not installed is left out, and named after the table. Prints Markdown. With arguments,
//! only the rows whose first columns contain each of them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "../support/closed.rs"]
mod closed;
#[path = "../support/constant.rs"]
mod constant;
#[path = "../support/envoy.rs"]
mod envoy;
#[path = "../support/grpc.rs"]
mod grpc;
#[path = "../support/http_caller.rs"]
mod http_caller;
#[path = "../support/load.rs"]
mod load;
mod messages;
mod peer;
#[path = "../support/protocol.rs"]
mod protocol;
mod question;
#[path = "../support/redis_use.rs"]
mod redis_use;
#[path = "../support/subject.rs"]
mod subject;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/table.rs"]
mod table;
#[path = "../support/traffic.rs"]
mod traffic;

use std::collections::BTreeSet;

use sluice_testkit::RedisServer;

use crate::{
    closed::Closed,
    constant::Constant,
    load::Pace,
    peer::Peer,
    subject::Door,
    table::ClosedRow,
    traffic::{Outcome, Traffic},
};

const IN_FLIGHT: [usize; 2] = [64, 256];

fn main() {
    if Constant::run_if_asked().is_some() {
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let is_chosen = |name: &str| words.iter().all(|word| name.contains(word.as_str()));
    let mut left_out = BTreeSet::new();
    ClosedRow::print_head("server");
    for door in [Door::Envoy, Door::Http] {
        let constant = constant_of(door);
        for &peer in Peer::at(door) {
            if let Some(program) = peer.program().filter(|program| !program.is_installed()) {
                left_out.insert(program.name);
                continue;
            }
            for traffic in [Traffic::Uniform, Traffic::Hot] {
                for outcome in Outcome::ALL {
                    let protocol = peer.protocol(door);
                    let name = format!("{protocol} | {peer} | {traffic} | {outcome}");
                    if is_chosen(&name) {
                        measure(&name, door, peer, traffic, outcome, &constant);
                    }
                }
            }
        }
    }
    for name in left_out {
        println!("\nLeft out: {name} is not installed; `cargo xtask bench peers` says why.");
    }
}

/// Measures the server with a constant response, and returns its processor time of a request, for
/// each number in flight.
fn constant_of(door: Door) -> [f64; 2] {
    let server = match door {
        Door::Http => Constant::Http,
        Door::Envoy => Constant::Fields,
    }
    .start();
    IN_FLIGHT.map(|in_flight| {
        let (run, ()) =
            load::run(&server, door, Traffic::Uniform, in_flight, Pace::Closed, || ()).unwrap();
        let name = format!("{door} | a constant | |");
        ClosedRow::new(&name, in_flight, &run, run.server_us).print();
        run.server_us
    })
}

/// Measures a server with each number in flight, until it fails.
///
/// # Panics
/// When Sluice fails.
fn measure(
    name: &str,
    door: Door,
    peer: Peer,
    traffic: Traffic,
    outcome: Outcome,
    constant: &[f64; 2],
) {
    let redis = RedisServer::start();
    let subject = peer.start(door, outcome, &redis);
    let closed = Closed {
        server: subject.server(),
        redis: &redis,
        sent: peer.sends(),
        protocol: peer.question(door, outcome),
        traffic,
        outcome,
    };
    let mut prepared = closed.prepare();
    for (in_flight, constant) in IN_FLIGHT.into_iter().zip(constant) {
        match prepared.and_then(|()| closed.measure(in_flight)) {
            Ok(run) => ClosedRow::new(name, in_flight, &run, *constant).print(),
            Err(problem) => {
                ClosedRow::failed(name, in_flight, &problem).print();
                assert!(peer.program().is_some(), "Sluice failed: {problem}");
                return;
            }
        }
        prepared = Ok(());
    }
}
