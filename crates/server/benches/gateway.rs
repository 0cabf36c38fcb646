//! Requests through the gateway of the built binary, compared with direct requests to the same
//! upstream in the same run.
//!
//! The gateway is a process with one worker thread, alone on the first core if `taskset` is
//! available. The upstream, an axum handler with a constant response, shares the other cores with
//! this process, which sends over 64 connections that wait for each response. On two cores the
//! upstream and the sender limit both measurements, so the table also shows the gateway's processor
//! time per request, beside requests per second and the 99th percentile. A response has 128 bytes
//! or 64 KiB.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

mod support;

use std::{
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{Router, body::Bytes, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use crate::support::Server;

const CONNECTIONS: usize = 64;
/// The environment variable that makes this program run the upstream.
const UPSTREAM: &str = "UPSTREAM_ON";

/// The paths of the upstream, with the length of their responses and the number of requests in a
/// run.
const ANSWERS: [(&str, usize, usize); 2] = [("/small", 128, 100_000), ("/large", 64 << 10, 20_000)];

/// The result of a run.
struct Measured {
    per_second: f64,
    server_us: f64,
    p50_us: f64,
    p99_us: f64,
}

fn main() {
    if let Ok(address) = env::var(UPSTREAM) {
        return runtime().block_on(answer(address.parse().unwrap()));
    }
    let upstream = Server::start_beside(&env::current_exe().unwrap(), |command, address| {
        command.env(UPSTREAM, address)
    });
    let gateway = |protocol: &str, limited: &str| {
        let section =
            format!("{{ upstream: 'http://{}', protocol: {protocol} }}", upstream.address());
        Server::start(env!("CARGO_BIN_EXE_sluice").as_ref(), |command, address| {
            command
                .env("SLUICE__LISTEN__HTTP", address)
                .env("SLUICE__LISTEN__GRPC", "off")
                .env("SLUICE__LOG__LEVEL", "error");
            command.env("SLUICE__GATEWAY", &section).env("SLUICE__DEFAULTS", limited)
        })
    };
    println!(
        "{:<34} {:>8} {:>9} {:>12} {:>8} {:>8} {:>10}",
        "", "k/s", "of direct", "gateway us", "p50 us", "p99 us", "of direct"
    );
    for (path, _, requests) in ANSWERS {
        let direct = runtime().block_on(measure(&upstream, path, requests));
        print(&format!("{path}, asked directly"), &direct, None);
        for (name, protocol, limited) in [
            ("through the gateway", "http1", "{ rate: 100000000/minute, burst: 1000000 }"),
            ("through it, not limited", "http1", "off"),
            ("through it, HTTP/2 behind", "http2", "{ rate: 100000000/minute, burst: 1000000 }"),
        ] {
            let server = gateway(protocol, limited);
            let through = runtime().block_on(measure(&server, path, requests));
            print(&format!("{path}, {name}"), &through, Some(&direct));
        }
    }
}

/// Creates a runtime of one thread that sleeps when it is idle: sender and upstream share the cores
/// that the gateway does not use.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn print(who: &str, measured: &Measured, direct: Option<&Measured>) {
    let Measured { per_second, server_us, p50_us, p99_us } = measured;
    let [share, own, times] = match direct {
        None => ["", "", ""].map(str::to_owned),
        Some(direct) => {
            let share = format!("{:.0}%", 100.0 * per_second / direct.per_second);
            [share, format!("{server_us:.1}"), format!("{:.1}x", p99_us / direct.p99_us)]
        }
    };
    println!(
        "{who:<34} {:>8.1} {share:>9} {own:>12} {p50_us:>8.0} {p99_us:>8.0} {times:>10}",
        per_second / 1_000.0
    );
}

async fn answer(address: SocketAddr) {
    let app = ANSWERS.into_iter().fold(Router::new(), |app, (path, length, _)| {
        let body = Bytes::from(vec![b'x'; length]);
        app.route(path, get(async move || body))
    });
    let listener = TcpListener::bind(address).await.unwrap();
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| stream.set_nodelay(true).unwrap()),
        app,
    )
    .await
    .unwrap();
}

async fn measure(server: &Server, path: &'static str, requests: usize) -> Measured {
    // This opens the connections to the upstream before the measurement.
    ask_all(server.address(), path, requests / 10).await;
    let (used, started) = (server.seconds(), Instant::now());
    let mut latencies = ask_all(server.address(), path, requests).await;
    let took = started.elapsed();
    latencies.sort_unstable();
    let at = |share: usize| f64::from(latencies[latencies.len() * share / 100]);
    Measured {
        per_second: requests as f64 / took.as_secs_f64(),
        server_us: (server.seconds() - used) * 1e6 / requests as f64,
        p50_us: at(50),
        p99_us: at(99),
    }
}

async fn ask_all(address: SocketAddr, path: &'static str, requests: usize) -> Vec<u32> {
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(ask(address, path, requests, Arc::clone(&next))))
        .collect();
    let mut latencies = Vec::with_capacity(requests);
    for task in tasks {
        latencies.append(&mut task.await.unwrap());
    }
    latencies
}

/// Sends requests over one connection, one after another. Returns how long each took, in
/// microseconds.
async fn ask(
    address: SocketAddr,
    path: &'static str,
    requests: usize,
    next: Arc<AtomicUsize>,
) -> Vec<u32> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: api.test\r\nx-api-key: alice\r\naccept: */*\r\n\r\n");
    let mut latencies = Vec::new();
    let mut answer = vec![0; 128 << 10];
    while next.fetch_add(1, Ordering::Relaxed) < requests {
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut length, mut whole) = (0, usize::MAX);
        while length < whole {
            let read = stream.read(&mut answer[length..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            length += read;
            if whole == usize::MAX {
                whole = whole_length(&answer[..length]);
            }
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..length.min(400)])
        );
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
    }
    latencies
}

/// Returns the length of the whole response, once its head has arrived.
fn whole_length(answer: &[u8]) -> usize {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return usize::MAX;
    };
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    end + 4 + announced.expect("every answer announces its length").parse::<usize>().unwrap()
}
