//! Clients that want to exhaust a replica: a real process stays below the memory limit of the chart
//! and answers its probes.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_testkit::{Sluice, SluiceOptions, eventually};
use tokio::task::JoinSet;

/// The memory limit of the chart.
const MEMORY: u64 = 256 << 20;
/// How much raw HTTP/2 is sent before an attack is over.
const FLOOD_BYTES: usize = 16 << 20;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A replica whose metrics are long.
fn replica() -> Sluice {
    let endpoints: String =
        (0..400).map(|number| format!("  /api/endpoint-{number}: 60\n")).collect();
    let sluice = SluiceOptions::new(env!("CARGO_BIN_EXE_sluice"))
        .config(format!("endpoints:\n{endpoints}"))
        .grpc()
        .start();
    for number in 0..400 {
        sluice.status(&format!("/api/endpoint-{number}")).unwrap();
    }
    sluice
}

/// Asserts that the replica still answers its probes, and that it never used too much memory.
#[track_caller]
fn assert_bounded(sluice: &Sluice) {
    // The connections for probes may be taken for a moment.
    eventually("a probe is answered", || matches!(sluice.status("/health"), Ok(200)));
    let status = std::fs::read_to_string(format!("/proc/{}/status", sluice.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak * 1024 < MEMORY, "{peak} kB");
}

/// Permits this process the sockets of an attack.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

async fn connect(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        h2::client::Builder::new().initial_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<()> {
    Request::get(format!("http://sluice.test{path}")).body(()).unwrap()
}

#[tokio::test]
async fn responses_that_nobody_takes_use_little_memory() {
    let sluice = replica();
    for path in ["/metrics", "/monitoring/metrics/summary", "/openapi.json", "/api/endpoint-1"] {
        let mut held = Vec::new();
        for window in [0, 0, 0, 0, 65_535] {
            let mut sender = connect(sluice.http_addr(), window).await;
            let mut responses = JoinSet::new();
            for _ in 0..200 {
                sender = sender.ready().await.unwrap();
                let (response, _) = sender.send_request(get(path), true).unwrap();
                responses.spawn(async move {
                    // The stream stays open as long as its response is held.
                    response.await.map(|response| (response.status().as_u16(), response))
                });
            }
            let mut received = Vec::new();
            while let Some(response) = responses.join_next().await {
                received.push(response.unwrap().unwrap());
            }
            let refused = received.iter().filter(|(status, _)| !matches!(status, 200 | 429 | 503));
            assert_eq!(refused.count(), 0, "{path}");
            held.push((sender, received));
        }
        assert_bounded(&sluice);
    }
}

#[tokio::test]
async fn requests_that_are_cancelled_at_once_use_little_memory() {
    let sluice = replica();
    for address in [sluice.http_addr(), sluice.grpc_addr()] {
        for _ in 0..4 {
            let mut sender = connect(address, 65_535).await;
            for _ in 0..20_000 {
                let Ok(ready) = sender.ready().await else { break };
                sender = ready;
                let Ok((_, mut stream)) = sender.send_request(get("/api/endpoint-2"), false) else {
                    break;
                };
                stream.send_reset(h2::Reason::CANCEL);
                // The sender is consumed by a failure above.
                if sender.clone().ready().await.is_err() {
                    break;
                }
            }
        }
        assert_bounded(&sluice);
    }
}

#[test]
fn heads_that_do_not_end_use_little_memory() {
    raise_descriptors();
    let sluice = replica();
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}", "x".repeat(58 << 10));
    let mut held = Vec::new();
    for _ in 0..2_200 {
        let mut stream = TcpStream::connect(sluice.http_addr()).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        // Beyond the limit, the connection is closed.
        let _ = stream.write_all(head.as_bytes());
        held.push(stream);
    }
    assert_bounded(&sluice);
}

/// Returns a frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends `first` and then `repeated` over and over, and reads nothing, until the replica stops to
/// read or closes the connection.
fn flood(address: SocketAddr, first: &[u8], repeated: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(&[PREFACE, &frame(4, 0, 0, b""), first].concat()).unwrap();
    let block = repeated.repeat((1 << 16) / repeated.len() + 1);
    for _ in 0..FLOOD_BYTES / block.len() {
        if stream.write_all(&block).is_err() {
            break;
        }
    }
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let _ = stream.read(&mut [0; 1 << 16]);
}

#[test]
fn floods_of_frames_use_little_memory() {
    let sluice = replica();
    // A header block in which `x-a: ...` is repeated without end.
    let field = [&[0x40, 3][..], b"x-a", &[100], &[b'x'; 100]].concat();
    let continuation = frame(9, 0, 1, &field.repeat(150));
    let start = frame(1, 0, 1, &[0x82, 0x84, 0x86, 0x41, 1, b'x']);
    let no_header = frame(9, 0, 1, b"");
    let (ping, settings) = (frame(6, 0, 0, &[7; 8]), frame(4, 0, 0, &[0, 4, 0, 0, 0, 9]));
    let window_update = frame(8, 0, 0, &[0, 0, 0, 1]);
    for address in [sluice.http_addr(), sluice.grpc_addr()] {
        flood(address, &start, &continuation);
        flood(address, &start, &no_header);
        flood(address, b"", &ping);
        flood(address, b"", &settings);
        flood(address, b"", &window_update);
    }
    assert_bounded(&sluice);
}

#[test]
fn a_replica_with_few_descriptors_answers_its_probes() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("sluice");
    let program = env!("CARGO_BIN_EXE_sluice");
    std::fs::write(&script, format!("#!/bin/sh\nulimit -n 260\nexec {program} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let sluice = SluiceOptions::new(script).start();
    assert!(sluice.log().contains("listen.max_connections"), "{}", sluice.log());
    // Those beyond the limit are closed, or served for one request.
    let held: Vec<_> = (0..300).map(|_| TcpStream::connect(sluice.http_addr()).unwrap()).collect();
    eventually("a probe is answered", || matches!(sluice.status("/health"), Ok(200)));
    assert!(!sluice.log().contains("cannot accept connections"), "{}", sluice.log());
    drop(held);
}
