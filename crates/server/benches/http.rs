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

use axum::{Router, body::Bytes, routing::post};
use http::header::CONTENT_TYPE;
use sluice_testkit::RedisServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Server, sender};

const REQUESTS: usize = 200_000;
const CLIENTS: usize = 100_000;
/// The environment variable that makes this program run the constant handler.
const CONSTANT: &str = "CONSTANT_ANSWER_ON";

fn main() {
    if let Ok(address) = env::var(CONSTANT) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(answer_a_constant(address.parse().unwrap()));
    }
    let redis = RedisServer::start();
    println!(
        "{:<28} {:>12} {:>8} {:>10} {:>12} {:>10} {:>10}",
        "", "connections", "k/s", "server us", "of constant", "p50 us", "p99 us"
    );
    for connections in [64, 256] {
        let constant = {
            let server = Server::start(&env::current_exe().unwrap(), |command, address| {
                command.env(CONSTANT, address)
            });
            sender().block_on(measure(&server, connections))
        };
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

async fn answer_a_constant(address: SocketAddr) {
    let body = concat!(
        r#"{"status":200,"allowed":true,"limit":60,"window":60,"remaining":9,"reset":1795305070,"#,
        r#""limits":[{"name":"default","admitted":true}]}"#
    );
    let answer = async move |_: Bytes| ([(CONTENT_TYPE, "application/json")], body);
    let app = Router::new()
        .route("/v1/check", post(answer))
        .route("/health", axum::routing::get(async || "ok"));
    let listener = TcpListener::bind(address).await.unwrap();
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| stream.set_nodelay(true).unwrap()),
        app,
    )
    .await
    .unwrap();
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
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut latencies = Vec::new();
    let mut answer = vec![0; 8_192];
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= REQUESTS {
            return latencies;
        }
        let body = format!(
            r#"{{"client":"client-{:06}","method":"GET","path":"/api/v1/things"}}"#,
            number * 7_919 % CLIENTS
        );
        let head = "POST /v1/check HTTP/1.1\r\nhost: sluice\r\ncontent-type: \
                    application/json\r\ncontent-length: ";
        let request = format!("{head}{}\r\n\r\n{body}", body.len());
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        while !is_whole(&answer[..length]) {
            let read = stream.read(&mut answer[length..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            length += read;
        }
        assert!(
            answer.starts_with(b"HTTP/1.1 200") || answer.starts_with(b"HTTP/1.1 429"),
            "{}",
            String::from_utf8_lossy(&answer[..length])
        );
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
    }
}

/// Returns whether the response is complete: its head, and as much body as the head announces.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    answer.len()
        == end + 4 + announced.expect("every answer announces its length").parse::<usize>().unwrap()
}
