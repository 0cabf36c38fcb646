//! Envoy's rate limit service of the built binary against tonic services that answer a constant, in the same run.
//!
//! Two constants: an answer that is a code and nothing more, and one with all that Sluice tells. Each server is a process with one worker thread,
//! pinned to the first core where `taskset` is there; this process sends over one connection with 64 calls in flight, and over eight with 256
//! together. What counts is the server's own processor time a call, which is what a core can bear; calls a second on one machine depend on the
//! sender too.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark prints, and fails by panicking")]

mod support;

use std::{
    env, fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::{
    envoy::{
        config::core::v3::HeaderValue,
        extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
        service::ratelimit::v3::{
            RateLimitRequest, RateLimitResponse,
            rate_limit_response::{Code, DescriptorStatus, RateLimit},
            rate_limit_service_server::{RateLimitService, RateLimitServiceServer},
        },
    },
    google::protobuf::Duration,
};
use h2::client::SendRequest;
use prost::Message;
use sluice_testkit::{RedisServer, ReservedPort};
use tokio::net::TcpStream;
use tonic::transport::server::TcpIncoming;

use crate::support::{Server, sender};

const CALLS: usize = 300_000;
const CLIENTS: usize = 100_000;
const RULES: &str = "{ domain: edge, descriptors: [{ key: api_key, rate_limit: { unit: minute, requests_per_unit: 60 } }] }";
/// How a constant service is asked of this very program, and which.
const CONSTANT: &str = "CONSTANT_ANSWER_ON";
const FULL: &str = "CONSTANT_ANSWER_IS_FULL";

fn main() {
    if let Ok(address) = env::var(CONSTANT) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(answer_a_constant(address.parse().unwrap(), env::var_os(FULL).is_some()));
    }
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("edge.yaml");
    fs::write(&rules, RULES).unwrap();
    let sluice = |store: &str, fields: bool| start_sluice(&rules, store, fields);
    println!("{:<28} {:>10} {:>8} {:>10} {:>12} {:>10} {:>10}", "", "in flight", "k/s", "server us", "of constant", "p50 us", "p99 us");
    for (connections, in_flight) in [(1, 64), (8, 256)] {
        let ask = |server: &Server| sender().block_on(measure(server, connections, in_flight));
        let constant = ask(&start_constant(false));
        print("tonic, a constant code", in_flight, &constant, &constant);
        print("tonic, a constant answer", in_flight, &ask(&start_constant(true)), &constant);
        print("sluice, memory", in_flight, &ask(&sluice("memory://", true)), &constant);
        print("sluice, memory, no fields", in_flight, &ask(&sluice("memory://", false)), &constant);
        print("sluice, redis", in_flight, &ask(&sluice(&redis.url(), true)), &constant);
    }
}

fn start_constant(full: bool) -> Server {
    Server::start(&env::current_exe().unwrap(), |command, address| {
        if full {
            command.env(FULL, "yes");
        }
        command.env(CONSTANT, address)
    })
}

fn start_sluice(rules: &Path, store: &str, fields: bool) -> Server {
    let http = ReservedPort::new();
    Server::start(env!("CARGO_BIN_EXE_sluice").as_ref(), |command: &mut Command, address| {
        let rls = format!("{{ files: ['{}'], response_headers: {fields} }}", rules.display());
        command.env("SLUICE__LISTEN__HTTP", format!("127.0.0.1:{}", http.number())).env("SLUICE__LISTEN__GRPC", address);
        command.env("SLUICE__RLS", rls).env("SLUICE__STORE__URL", store).env("SLUICE__LOG__LEVEL", "error")
    })
}

/// What a run of calls came to.
struct Measured {
    per_second: f64,
    server_us: f64,
    p50_us: f64,
    p99_us: f64,
}

fn print(who: &str, in_flight: usize, measured: &Measured, constant: &Measured) {
    let Measured { per_second, server_us, p50_us, p99_us } = measured;
    println!(
        "{who:<28} {in_flight:>10} {:>8.1} {server_us:>10.2} {:>11.0}% {p50_us:>10.0} {p99_us:>10.0}",
        per_second / 1_000.0,
        100.0 * constant.server_us / server_us,
    );
}

/// Answers every call the same.
struct Constant(RateLimitResponse);

#[tonic::async_trait]
impl RateLimitService for Constant {
    async fn should_rate_limit(&self, _: tonic::Request<RateLimitRequest>) -> Result<tonic::Response<RateLimitResponse>, tonic::Status> {
        Ok(tonic::Response::new(self.0.clone()))
    }
}

async fn answer_a_constant(address: SocketAddr, full: bool) {
    let code = Code::Ok.into();
    let mut answer = RateLimitResponse { overall_code: code, ..RateLimitResponse::default() };
    if full {
        let current_limit = Some(RateLimit { name: String::new(), requests_per_unit: 60, unit: 2 });
        let duration_until_reset = Some(Duration { seconds: 1, nanos: 0 });
        answer.statuses = vec![DescriptorStatus { code, current_limit, limit_remaining: 59, duration_until_reset, quota: None }];
        let fields = [
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "59"),
            ("x-ratelimit-reset", "1800000001"),
            ("ratelimit-policy", "\"edge.api_key\";q=60;w=60"),
            ("ratelimit", "\"edge.api_key\";r=59;t=1"),
        ];
        let field = |(key, value): (&str, &str)| HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() };
        answer.response_headers_to_add = fields.map(field).into();
    }
    let incoming = TcpIncoming::bind(address).unwrap().with_nodelay(Some(true));
    let service = RateLimitServiceServer::new(Constant(answer));
    tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
}

async fn measure(server: &Server, connections: usize, in_flight: usize) -> Measured {
    let mut senders = Vec::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(server.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { connection.await.unwrap() });
        senders.push(sender);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let (used, started) = (server.seconds(), Instant::now());
    let tasks: Vec<_> = (0..in_flight).map(|i| tokio::spawn(call(senders[i % connections].clone(), Arc::clone(&next)))).collect();
    let mut latencies = Vec::with_capacity(CALLS);
    for task in tasks {
        latencies.append(&mut task.await.unwrap());
    }
    let took = started.elapsed();
    latencies.sort_unstable();
    let at = |share: usize| f64::from(latencies[latencies.len() * share / 100]);
    Measured {
        per_second: CALLS as f64 / took.as_secs_f64(),
        server_us: (server.seconds() - used) * 1e6 / CALLS as f64,
        p50_us: at(50),
        p99_us: at(99),
    }
}

/// Calls one after the other, until there were enough; how long each took, in microseconds.
async fn call(mut sender: SendRequest<Bytes>, next: Arc<AtomicUsize>) -> Vec<u32> {
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CALLS {
            return latencies;
        }
        let head = http::Request::post("http://sluice/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", "250m")
            .header("x-envoy-internal", "true")
            .body(())
            .unwrap();
        let message = message(number * 7_919 % CLIENTS);
        sender = sender.ready().await.unwrap();
        let sent = Instant::now();
        let (response, mut stream) = sender.send_request(head, false).unwrap();
        stream.send_data(message, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut received = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            received.put(data);
        }
        let status = body.trailers().await.unwrap().unwrap()["grpc-status"].clone();
        latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
        assert_eq!(status, "0");
        let answer = RateLimitResponse::decode(&received[5..]).unwrap();
        assert_eq!(answer.overall_code(), Code::Ok);
    }
}

/// A request of one client, with what gRPC puts before it.
fn message(client: usize) -> Bytes {
    let entries = vec![Entry { key: "api_key".to_owned(), value: format!("client-{client:06}") }];
    let descriptors = vec![RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }];
    let request = RateLimitRequest { domain: "edge".to_owned(), descriptors, hits_addend: 0 };
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(request.encoded_len()).unwrap());
    request.encode(&mut bytes).unwrap();
    bytes.freeze()
}
