//! Decisions of the built binary over HTTP and over Envoy's rate limit service: in memory, exact in
//! Redis and leased from Redis; of one hot bucket, of 100,000 buckets uniformly and by Zipf's law;
//! admitted and denied; with 1, 64 and 256 in flight. Beside them, in the same run, servers of the
//! same stacks with a constant response, and Redis' `PING`.
//!
//! Each server is a process with one worker thread, alone on the first core if `taskset` is
//! available. The generator and Redis share the others. What counts is the processor time of a
//! decision, which says what a core can serve: `of constant` is that of the constant server, in
//! percent of the server's own.
//!
//! A closed loop, which sends the next request when a response has come, measures throughput. Its
//! latencies would say nothing about those at a given load. So latencies are measured in an open
//! loop, at half of the throughput with 64 in flight: requests are due at fixed times, and what one
//! waits because the server is late counts.
//!
//! Prints Markdown. With arguments, only the rows whose first columns contain each of them.
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
mod open_row;
mod ping;
#[path = "../support/protocol.rs"]
mod protocol;
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

use sluice_testkit::RedisServer;

use crate::{
    closed::Closed,
    constant::Constant,
    load::Pace,
    open_row::OpenRow,
    subject::{Door, Mode, Subject},
    table::ClosedRow,
    traffic::{Outcome, Traffic},
};

const MODES: [Mode; 3] = [Mode::Memory, Mode::Exact, Mode::Leased];
const IN_FLIGHT: [usize; 3] = [1, 64, 256];
/// With how many in flight the throughput is measured of which an open loop has half.
const BUSY: usize = 64;

fn main() {
    if Constant::run_if_asked().is_some() {
        return;
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let is_chosen = |name: &str| words.iter().all(|word| name.contains(word.as_str()));
    let mut open = Vec::new();
    ClosedRow::print_head("store");
    if words.is_empty() {
        ping::measure(&IN_FLIGHT);
    }
    for door in [Door::Http, Door::Envoy] {
        let constant = closed_of_constant(door, &mut open);
        for mode in MODES {
            for traffic in Traffic::ALL {
                for outcome in Outcome::ALL {
                    let name = format!("{door} | {mode} | {traffic} | {outcome}");
                    if is_chosen(&name) {
                        let busy = closed(&name, door, mode, traffic, outcome, &constant);
                        if outcome == Outcome::Admitted && traffic != Traffic::Zipf {
                            open.push(open_loop(&name, door, mode, traffic, busy));
                        }
                    }
                }
            }
        }
    }
    OpenRow::print(&open);
}

/// Measures the server with a constant response, and returns its processor time of a request, for
/// each number in flight.
fn closed_of_constant(door: Door, open: &mut Vec<OpenRow>) -> [f64; 3] {
    let name = format!("{door} | a constant | |");
    let server = match door {
        Door::Http => Constant::Http,
        Door::Envoy => Constant::Fields,
    }
    .start();
    let runs = IN_FLIGHT.map(|in_flight| {
        let (run, ()) =
            load::run(&server, door, Traffic::Uniform, in_flight, Pace::Closed, || ()).unwrap();
        let row = ClosedRow::new(&name, in_flight, &run, run.server_us);
        row.print();
        run
    });
    let busy = runs[1].per_second;
    let pace = Pace::Open { per_second: busy / 2.0 };
    let (run, ()) = load::run(&server, door, Traffic::Uniform, BUSY, pace, || ()).unwrap();
    open.push(OpenRow::new(&name, &run));
    runs.map(|run| run.server_us)
}

/// Measures a closed loop with each number in flight. Returns the throughput of a busy server.
fn closed(
    name: &str,
    door: Door,
    mode: Mode,
    traffic: Traffic,
    outcome: Outcome,
    constant: &[f64; 3],
) -> f64 {
    let redis = RedisServer::start();
    let subject = Subject::start(door, mode, outcome, &redis);
    let closed = Closed {
        server: subject.server(),
        redis: &redis,
        sent: Mode::SENDS,
        protocol: door,
        traffic,
        outcome,
    };
    closed.prepare().unwrap();
    let mut busy = 0.0;
    for (in_flight, constant) in IN_FLIGHT.into_iter().zip(constant) {
        let run = closed.measure(in_flight).unwrap();
        ClosedRow::new(name, in_flight, &run, *constant).print();
        if in_flight == BUSY {
            busy = run.per_second;
        }
    }
    busy
}

fn open_loop(name: &str, door: Door, mode: Mode, traffic: Traffic, busy: f64) -> OpenRow {
    let redis = RedisServer::start();
    let subject = Subject::start(door, mode, Outcome::Admitted, &redis);
    load::drain(subject.server(), door, traffic).unwrap();
    let pace = Pace::Open { per_second: busy / 2.0 };
    let (run, ()) = load::run(subject.server(), door, traffic, 4 * BUSY, pace, || ()).unwrap();
    OpenRow::new(name, &run)
}
