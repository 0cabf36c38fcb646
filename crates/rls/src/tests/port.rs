//! The gRPC port over real sockets, with Envoy's own client.

use std::{net::SocketAddr, time::Duration};

use bytes::{BufMut, Bytes};
use envoy_types::pb::{
    envoy::{
        extensions::common::ratelimit::v3::{RateLimitDescriptor, rate_limit_descriptor::Entry},
        service::ratelimit::v3::{
            RateLimitRequest, RateLimitResponse,
            rate_limit_response::{Code, RateLimit},
            rate_limit_service_client::RateLimitServiceClient,
        },
    },
    google::protobuf,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use sluice::Recorders;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_stream::StreamExt;
use tonic::{
    Code as Rpc, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use sluice_http::{Limits, Listener, access::CallerAccess};

use super::{Fixture, rules};
use tonic::server::NamedService;

use crate::{EnvoyRls, GrpcFrontEnds, grpc::SHOULD_RATE_LIMIT, port::NAMES};

const RULES: &str = "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: minute, \
                     requests_per_unit: 2, name: per_ip}}]}";

/// A running port.
struct Listening {
    address: SocketAddr,
    front_ends: GrpcFrontEnds,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<usize>,
}

impl Listening {
    async fn start() -> Self {
        Self::requiring(&CallerAccess::default()).await
    }

    /// Starts a port whose callers have to show a token.
    async fn requiring(access: &CallerAccess) -> Self {
        let front_ends = GrpcFrontEnds::new(
            Fixture::new(RULES).rls,
            access.clone(),
            Recorders::disabled().replica,
        );
        front_ends.start().await;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (handler, system) = (front_ends.clone(), Recorders::disabled().system);
        let mut listener = Listener::new(socket, handler, system, Limits::default());
        let serving = tokio::spawn(async move {
            listener.accept_until(async { drop(stopped.await) }).await;
            listener.finish(Duration::from_secs(600)).await
        });
        Self { address, front_ends, stop, serving }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// Stops the port and returns how many connections it had to close.
    async fn stop(self) -> usize {
        self.front_ends.end_watches().await;
        self.stop.send(()).unwrap();
        self.serving.await.unwrap()
    }
}

fn request(value: &str) -> RateLimitRequest {
    let entries = vec![Entry { key: "ip".to_owned(), value: value.to_owned() }];
    let descriptors = vec![RateLimitDescriptor { entries, ..RateLimitDescriptor::default() }];
    RateLimitRequest { domain: "edge".to_owned(), descriptors, hits_addend: 0 }
}

#[tokio::test]
async fn envoys_own_client_gets_every_field() {
    let listening = Listening::start().await;
    let mut client = RateLimitServiceClient::new(listening.channel().await);
    let response = client.should_rate_limit(request("a")).await.unwrap().into_inner();
    assert_eq!(response.overall_code(), Code::Ok);
    let status = &response.statuses[0];
    assert_eq!((status.code(), status.limit_remaining), (Code::Ok, 1));
    assert_eq!(
        status.current_limit,
        Some(RateLimit { name: "per_ip".to_owned(), requests_per_unit: 2, unit: 2 })
    );
    assert_eq!(status.duration_until_reset, Some(protobuf::Duration { seconds: 30, nanos: 0 }));
    let policy = response
        .response_headers_to_add
        .iter()
        .find(|field| field.key == "ratelimit-policy")
        .unwrap();
    assert_eq!(policy.value, "\"per_ip\";q=2;w=60");
    let both = RateLimitRequest { hits_addend: 2, ..request("a") };
    let response = client.should_rate_limit(both).await.unwrap().into_inner();
    assert_eq!(
        (response.overall_code(), response.statuses[0].limit_remaining),
        (Code::OverLimit, 1)
    );
    assert!(
        response
            .response_headers_to_add
            .iter()
            .any(|field| field.key == "retry-after" && field.value == "30")
    );
    drop(client);
    assert_eq!(listening.stop().await, 0);
}

#[tokio::test]
async fn all_but_health_requires_a_token() {
    let access = CallerAccess::new(["token-of-envoy", "old-token"]);
    let listening = Listening::requiring(&access).await;
    let mut client = RateLimitServiceClient::new(listening.channel().await);
    let with = |field: Option<(&'static str, &str)>| {
        let mut call = tonic::Request::new(request("a"));
        if let Some((name, value)) = field {
            call.metadata_mut().insert(name, value.parse().unwrap());
        }
        call
    };
    for wrong in [
        None,
        Some(("authorization", "Bearer token-of-envo")),
        Some(("authorization", "token-of-envoy")),
        Some(("x-sluice-token", "")),
    ] {
        let status = client.should_rate_limit(with(wrong)).await.unwrap_err();
        assert_eq!(status.code(), Rpc::Unauthenticated, "{wrong:?}");
        assert!(status.message().contains("access.tokens"), "{status}");
    }
    for right in
        [Some(("authorization", "Bearer token-of-envoy")), Some(("x-sluice-token", "old-token"))]
    {
        assert!(client.should_rate_limit(with(right)).await.is_ok(), "{right:?}");
    }

    let mut health = HealthClient::new(listening.channel().await);
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
    let mut reflection = ServerReflectionClient::new(listening.channel().await);
    let requests = tokio_stream::iter([ServerReflectionRequest::default()]);
    let status = reflection.server_reflection_info(requests).await.unwrap_err();
    assert_eq!(status.code(), Rpc::Unauthenticated);

    access.replace(["token-of-envoy"]);
    let status = client.should_rate_limit(with(Some(("x-sluice-token", "old-token")))).await;
    assert_eq!(status.unwrap_err().code(), Rpc::Unauthenticated, "it was removed");
}

#[tokio::test]
async fn many_calls_share_a_connection() {
    let listening = Listening::start().await;
    let client = RateLimitServiceClient::new(listening.channel().await);
    let calls = (0..200).map(|i| {
        let mut client = client.clone();
        tokio::spawn(async move {
            client
                .should_rate_limit(request(&(i % 50).to_string()))
                .await
                .unwrap()
                .into_inner()
                .overall_code()
        })
    });
    let mut passed = 0;
    for call in calls.collect::<Vec<_>>() {
        passed += usize::from(call.await.unwrap() == Code::Ok);
    }
    assert_eq!(passed, 100, "50 buckets of two tokens each");
}

/// A codec that sends bytes unchanged.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = RateLimitResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = RateLimitResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<RateLimitResponse>, Status> {
        Ok(Some(RateLimitResponse::decode(buffer).unwrap()))
    }
}

async fn send(
    listening: &Listening,
    path: &'static str,
    bytes: impl Into<Bytes>,
) -> Result<RateLimitResponse, Rpc> {
    let mut client = tonic::client::Grpc::new(listening.channel().await);
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    client
        .unary(tonic::Request::new(bytes.into()), path, Raw)
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| status.code())
}

#[tokio::test]
async fn values_that_are_not_utf_8_are_limited() {
    let listening = Listening::start().await;
    let mut bytes = request("??").encode_to_vec();
    let at = bytes.windows(2).position(|pair| pair == b"??").unwrap();
    bytes[at..at + 2].copy_from_slice(b"\xff\xfe");
    for code in [Code::Ok, Code::Ok, Code::OverLimit] {
        assert_eq!(
            send(&listening, SHOULD_RATE_LIMIT, bytes.clone()).await.unwrap().overall_code(),
            code
        );
    }
}

#[tokio::test]
async fn an_invalid_call_is_rejected() {
    let listening = Listening::start().await;
    assert_eq!(send(&listening, SHOULD_RATE_LIMIT, "no message").await, Err(Rpc::InvalidArgument));
    assert_eq!(
        send(&listening, SHOULD_RATE_LIMIT, "").await,
        Err(Rpc::InvalidArgument),
        "no domain"
    );
    assert_eq!(send(&listening, SHOULD_RATE_LIMIT, vec![0; 257 << 10]).await, Err(Rpc::OutOfRange));
    assert_eq!(
        send(&listening, "/envoy.service.ratelimit.v3.RateLimitService/Other", "").await,
        Err(Rpc::Unimplemented)
    );
    assert_eq!(send(&listening, "/grpc.health.v1.Health/Other", "").await, Err(Rpc::Unimplemented));
    listening.front_ends.rls.replace(
        None,
        sluice_core::OnStoreFailure::Local,
        &sluice_core::Tagger::new(b""),
    );
    assert_eq!(
        send(&listening, SHOULD_RATE_LIMIT, request("a").encode_to_vec()).await,
        Err(Rpc::FailedPrecondition)
    );
    let other = rules(
        "{domain: edge, descriptors: [{key: ip, rate_limit: {unit: day, requests_per_unit: 7}}]}",
    );
    listening.front_ends.rls.replace(
        Some(&other),
        sluice_core::OnStoreFailure::Local,
        &sluice_core::Tagger::new(b""),
    );
    assert_eq!(
        send(&listening, SHOULD_RATE_LIMIT, request("a").encode_to_vec()).await.unwrap().statuses
            [0]
        .limit_remaining,
        6
    );
}

#[tokio::test]
async fn health_is_reported_until_the_end() {
    let listening = Listening::start().await;
    let mut client = HealthClient::new(listening.channel().await);
    let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for name in NAMES {
        assert_eq!(
            client.check(of(name)).await.unwrap().into_inner().status(),
            ServingStatus::Serving,
            "{name}"
        );
    }
    assert_eq!(client.check(of("other")).await.unwrap_err().code(), Rpc::NotFound);
    let mut watch = client.watch(of("")).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    listening.front_ends.stop().await;
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(
        client.check(of(EnvoyRls::NAME)).await.unwrap().into_inner().status(),
        ServingStatus::NotServing
    );
    let mut calls = RateLimitServiceClient::new(listening.channel().await);
    assert_eq!(
        calls.should_rate_limit(request("a")).await.unwrap().into_inner().overall_code(),
        Code::Ok,
        "calls still get a response"
    );
    assert_eq!(listening.stop().await, 0, "a health watch does not delay the stop");
    assert_eq!(watch.message().await.unwrap(), None);
}

/// Returns the response of the reflection service.
async fn reflect(listening: &Listening, request: MessageRequest) -> MessageResponse {
    let mut client = ServerReflectionClient::new(listening.channel().await);
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let mut responses =
        client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    responses.next().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let listening = Listening::start().await;
    let MessageResponse::ListServicesResponse(list) =
        reflect(&listening, MessageRequest::ListServices(String::new())).await
    else {
        panic!("a list")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(
        names,
        [EnvoyRls::NAME, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]
    );
    let symbol = "envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit".to_owned();
    let MessageResponse::FileDescriptorResponse(files) =
        reflect(&listening, MessageRequest::FileContainingSymbol(symbol)).await
    else {
        panic!("a file")
    };
    let file = prost_types::FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
    assert_eq!(file.package(), "envoy.service.ratelimit.v3");
    for needed in file.dependency {
        let response = reflect(&listening, MessageRequest::FileByFilename(needed.clone())).await;
        assert!(
            matches!(response, MessageResponse::FileDescriptorResponse(_)),
            "{needed}: {response:?}"
        );
    }
}

/// Sends `bytes` and reads until the port closes the connection.
async fn exchange(listening: &Listening, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn a_program_that_speaks_http_learns_that_the_port_speaks_grpc() {
    let listening = Listening::start().await;
    for request in [
        "GET /health HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /json HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
        "POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\n\r\n",
    ] {
        let response = exchange(&listening, request.as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 426 "), "{response}");
        assert!(response.contains("This port speaks gRPC over HTTP/2"), "{response}");
    }
    let io = TokioIo::new(TcpStream::connect(listening.address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get("http://x/health").body(String::new()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 415);
    driver.abort();
}

#[tokio::test]
async fn cancelled_calls_do_not_end_the_connection() {
    let listening = Listening::start().await;
    let io = TcpStream::connect(listening.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(io).await.unwrap();
    let driver = tokio::spawn(connection);
    let call = || {
        http::Request::post(format!("http://x{SHOULD_RATE_LIMIT}"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap()
    };
    // They are sent and cancelled without a pause, so that the port sees all of them at once.
    for _ in 0..500 {
        let (_, mut stream) = sender.send_request(call(), false).unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        sender = sender.ready().await.unwrap();
    }
    let (response, mut stream) = sender.send_request(call(), false).unwrap();
    stream.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    driver.abort();
}
