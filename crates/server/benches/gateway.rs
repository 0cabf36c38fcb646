//! Requests through the gateway of the built binary, compared with direct requests to the same
//! upstream, and with requests through nginx, in the same run.
//!
//! The gateway and nginx are each a process with one worker thread, alone on the first core if
//! `taskset` is available. The upstream, an axum handler with a constant response, shares the other
//! cores with this process, which sends over 64 connections that wait for each response. On two
//! cores the upstream and the sender limit both measurements, so the table also shows the server's
//! processor time per request, beside requests per second and the 99th percentile. A response has
//! 128 bytes or 64 KiB.
//!
//! Nginx keeps connections to the upstream, and writes no log. It is compared with the gateway that
//! does as much: `limit_req` with the limited one. `of nginx` is nginx' processor time per request,
//! in percent of the gateway's. Without nginx in `.tools`, which `cargo xtask tools` installs, its
//! rows are left out. Prints Markdown.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

mod support;

use std::{
    env, fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::{Router, body::Bytes, routing::get};
use sluice_testkit::Program;
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

/// The limit of the gateway, and nginx' of the same kind, which no request reaches.
const LIMITED: &str = "{ rate: 100000000/minute, burst: 1000000 }";
const LIMIT_REQ: &str = "limit_req zone=clients burst=1000000 nodelay;";

const NGINX: Program = Program {
    name: "nginx-mainline",
    variable: "SLUICE_NGINX",
    remedy: "nginx 1.27.3 or later, from nginx.org",
};

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
    if !NGINX.is_installed() {
        println!("nginx is left out: {} is not installed", NGINX.name);
    }
    println!(
        "| request | k/s | of direct | server us | of nginx | p50 us | p99 us | of direct |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|"
    );
    for (path, _, requests) in ANSWERS {
        let direct = runtime().block_on(measure(&upstream, path, requests));
        print(&format!("`{path}`, without a proxy"), &direct, None, None);
        let nginx = [("", "nginx"), (LIMIT_REQ, "nginx, limit_req")].map(|(limit, name)| {
            NGINX.is_installed().then(|| {
                let folder = tempfile::tempdir().unwrap();
                let server = start_nginx(folder.path(), upstream.address(), limit);
                let through = runtime().block_on(measure(&server, path, requests));
                print(&format!("`{path}`, {name}"), &through, Some(&direct), None);
                through
            })
        });
        for (name, protocol, limited, nginx) in [
            ("**Sluice**, not limited", "http1", "off", &nginx[0]),
            ("**Sluice**", "http1", LIMITED, &nginx[1]),
            ("**Sluice**, HTTP/2 behind", "http2", LIMITED, &nginx[1]),
        ] {
            let server = gateway(protocol, limited);
            let through = runtime().block_on(measure(&server, path, requests));
            print(&format!("`{path}`, {name}"), &through, Some(&direct), nginx.as_ref());
        }
    }
}

/// Starts nginx as a proxy; `limit` is one more line of its location.
fn start_nginx(folder: &Path, upstream: SocketAddr, limit: &str) -> Server {
    let file = folder.join("nginx.conf");
    Server::start(&NGINX.path(), |command, address| {
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit;
             events {{ worker_connections 1024; }}
             http {{
                 access_log off; keepalive_requests 100000000;
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
                 uwsgi_temp_path uwsgi; scgi_temp_path scgi;
                 limit_req_zone $http_x_api_key zone=clients:10m rate=1000000r/s;
                 upstream service {{
                     server {upstream}; keepalive 64; keepalive_requests 100000000;
                 }}
                 server {{
                     listen {address};
                     location / {{
                         {limit}
                         proxy_pass http://service; proxy_http_version 1.1;
                         proxy_set_header Connection ''; proxy_buffers 32 4k;
                     }}
                 }}
             }}"
        );
        fs::write(&file, configuration).unwrap();
        command.arg("-p").arg(folder).arg("-c").arg(&file)
    })
}

/// Creates a runtime of one thread that sleeps when it is idle: sender and upstream share the cores
/// that the gateway does not use.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn print(who: &str, measured: &Measured, direct: Option<&Measured>, nginx: Option<&Measured>) {
    let Measured { per_second, server_us, p50_us, p99_us } = measured;
    let [share, own, times] = match direct {
        None => ["", "", ""].map(str::to_owned),
        Some(direct) => {
            let share = format!("{:.0} %", 100.0 * per_second / direct.per_second);
            [share, format!("{server_us:.1}"), format!("{:.1} x", p99_us / direct.p99_us)]
        }
    };
    let of_nginx =
        nginx.map_or_else(String::new, |it| format!("{:.0} %", 100.0 * it.server_us / server_us));
    println!(
        "| {who} | {:.1} | {share} | {own} | {of_nginx} | {p50_us:.0} | {p99_us:.0} | {times} |",
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
    // Nginx writes it with capital letters.
    let head = head.to_ascii_lowercase();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    end + 4 + announced.expect("every answer announces its length").parse::<usize>().unwrap()
}
