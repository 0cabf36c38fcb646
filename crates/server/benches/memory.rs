//! The memory of a replica for a million clients, and how much of it is released once their buckets
//! are full.
//!
//! The built binary, with one worker thread, checks a million clients once each. Then it is idle
//! until every bucket is full again, and another million clients follow. The checks arrive through
//! `/v1/check/batch` and through Envoy's rate limit service with buckets in memory. With buckets in
//! Redis the clients should need no memory at all.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/grpc.rs"]
mod grpc;
mod support;

use std::{
    fs,
    net::SocketAddr,
    ops::Range,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use sluice_testkit::{RedisServer, ReservedPort};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    envoy::Caller,
    support::{Server, sender},
};

const CLIENTS: usize = 1_000_000;
/// The most checks in one batch.
const BATCH: usize = 1_000;
const IN_FLIGHT: usize = 64;
/// One token per minute, so that the buckets outlast the measurement.
const DEFAULTS: &str = "{ rate: 1/minute, burst: 10 }";
const RULES: &str = "{ domain: edge, descriptors: [{ key: api_key, rate_limit: { unit: minute, \
                     requests_per_unit: 1 } }] }";
/// The time until the last bucket is full and removed: one minute, and the time to find such
/// buckets.
const REFILL: Duration = Duration::from_secs(70);

/// How the checks arrive.
#[derive(Clone, Copy)]
enum Transport {
    Batches,
    Envoy,
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("edge.yaml");
    fs::write(&rules, RULES).unwrap();
    let redis = RedisServer::start();
    println!(
        "{:<28} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "MiB resident", "start", "million", "a client", "refilled", "another", "refilled", "CPU us"
    );
    for (who, transport, store) in [
        ("/v1/check/batch, memory", Transport::Batches, "memory://"),
        ("Envoy's service, memory", Transport::Envoy, "memory://"),
        ("/v1/check/batch, Redis", Transport::Batches, &redis.url()),
    ] {
        let (server, _other) = start(transport, store, &rules);
        // The memory of connections and counters is allocated before the measurement.
        ask(transport, server.address(), 0..BATCH);
        let start = resident(&server);
        let used = server.seconds();
        let million = grown(&server, transport, 1);
        let us = (server.seconds() - used) * 1e6 / CLIENTS as f64;
        let refilled = idle(&server);
        let another = grown(&server, transport, 2);
        let again = idle(&server);
        let mib = |bytes: f64| format!("{:.1}", bytes / f64::from(1 << 20));
        println!(
            "{who:<28} {:>9} {:>9} {:>7.0} B {:>9} {:>9} {:>9} {us:>9.2}",
            mib(start),
            mib(million),
            (million - start) / CLIENTS as f64,
            mib(refilled),
            mib(another),
            mib(again),
        );
    }
}

/// Starts a replica for `transport`. The second value reserves its other port.
fn start(transport: Transport, store: &str, rules: &Path) -> (Server, ReservedPort) {
    let other = ReservedPort::new();
    let server =
        Server::start(env!("CARGO_BIN_EXE_sluice").as_ref(), |command: &mut Command, address| {
            let other = format!("127.0.0.1:{}", other.number());
            let (http, grpc) = match transport {
                Transport::Batches => (address, "off".to_owned()),
                Transport::Envoy => (other, address),
            };
            command
                .env("SLUICE__LISTEN__HTTP", http)
                .env("SLUICE__LISTEN__GRPC", grpc)
                .env("SLUICE__LOG__LEVEL", "error");
            command.env("SLUICE__STORE__URL", store).env("SLUICE__DEFAULTS", DEFAULTS);
            command.env("SLUICE__RLS", format!("{{ files: ['{}'] }}", rules.display()))
        });
    (server, other)
}

/// Checks a million new clients and returns the resident memory, in bytes.
fn grown(server: &Server, transport: Transport, million: usize) -> f64 {
    let started = Instant::now();
    ask(transport, server.address(), million * CLIENTS..(million + 1) * CLIENTS);
    let took = started.elapsed();
    assert!(
        took < Duration::from_secs(55),
        "the first buckets are full after a minute, and asking took {took:?}"
    );
    resident(server)
}

/// Waits until no bucket is left and returns the resident memory, in bytes.
fn idle(server: &Server) -> f64 {
    thread::sleep(REFILL);
    resident(server)
}

fn resident(server: &Server) -> f64 {
    let statm = fs::read_to_string(format!("/proc/{}/statm", server.id())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4_096.0
}

fn ask(transport: Transport, server: SocketAddr, clients: Range<usize>) {
    sender().block_on(async {
        match transport {
            Transport::Batches => ask_in_batches(server, clients).await,
            Transport::Envoy => ask_as_envoy(server, clients).await,
        }
    });
}

async fn ask_in_batches(server: SocketAddr, clients: Range<usize>) {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for first in clients.step_by(BATCH) {
        let checks: Vec<_> = (first..first + BATCH)
            .map(|client| format!(r#"{{"client":"client-{client:07}"}}"#))
            .collect();
        let body = format!(r#"{{"checks":[{}]}}"#, checks.join(","));
        let head = "POST /v1/check/batch HTTP/1.1\r\nhost: sluice\r\ncontent-type: \
                    application/json\r\ncontent-length: ";
        stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
        let answer = answer(&mut stream).await;
        assert_eq!(answer.matches(r#""allowed":true"#).count(), BATCH, "{}", &answer[..500]);
    }
}

/// Reads a response of announced length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::with_capacity(1 << 20);
    loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the server closed the connection");
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = end
            + 4
            + announced.expect("every answer announces its length").parse::<usize>().unwrap();
        bytes.reserve(length);
        while bytes.len() < length {
            assert!(
                stream.read_buf(&mut bytes).await.unwrap() > 0,
                "the server closed the connection"
            );
        }
        return String::from_utf8(bytes).unwrap();
    }
}

async fn ask_as_envoy(server: SocketAddr, clients: Range<usize>) {
    let caller = Caller::connect(server).await;
    let mut askers = JoinSet::new();
    for asker in 0..IN_FLIGHT {
        let (mut caller, clients) = (caller.clone(), clients.clone());
        askers.spawn(async move {
            for client in clients.skip(asker).step_by(IN_FLIGHT) {
                assert!(caller.ask(client).await.is_allowed);
            }
        });
    }
    askers.join_all().await;
}
