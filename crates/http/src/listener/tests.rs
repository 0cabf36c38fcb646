//! The listener over real sockets.

use std::{convert::Infallible, future::pending, net::IpAddr};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice::Recorders;
use sluice_telemetry::ConnectionKind;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, Semaphore, oneshot},
    task::JoinHandle,
};
use tokio_stream::StreamExt;

use super::*;

/// Longer than any test takes, so that a test which waits for it by mistake hangs.
const LONG: Duration = Duration::from_secs(600);

pub(super) fn refused(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Responds to every request at once.
#[derive(Clone)]
pub(super) struct Responding;

impl Handler for Responding {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const MAX_STREAMS: u32 = 100;
    const ONLY_HTTP2: bool = false;
    const KEEPS_IDLE: bool = false;
    const AGE_GRACE: Option<Duration> = None;

    fn is_probe(request: &Request<Incoming>) -> bool {
        request.uri().path() == "/health"
    }

    fn overloaded() -> Response<Body> {
        refused(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn certificate_required() -> Response<Body> {
        refused(StatusCode::FORBIDDEN)
    }

    async fn handle(&self, _: IpAddr, _: Request<RequestBody>) -> Response<Body> {
        Response::new(Body::from("done"))
    }
}

/// A listener that accepts connections until it is stopped.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<usize>,
}

impl Running {
    async fn start(handler: impl Handler, grace: Duration) -> Self {
        Self::within(Limits::default(), handler, grace).await
    }

    async fn within(limits: Limits, handler: impl Handler, grace: Duration) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut listener = Listener::new(socket, handler, Recorders::disabled().system, limits);
        let serving = tokio::spawn(async move {
            listener.accept_until(async { drop(stopped.await) }).await;
            listener.finish(grace).await
        });
        Self { address, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Stops the listener and returns how many connections it had to close.
    async fn stop(self) -> usize {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap()
    }

    /// Sends `request` and reads until the connection is closed.
    async fn send(&self, request: impl AsRef<[u8]>) -> (u16, String) {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        read_to_end(stream).await
    }
}

async fn read_to_end(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    (text.get(9..12).unwrap_or_default().parse().unwrap_or(0), text)
}

/// Reads the head and the body of [`Responding`]'s response, and leaves the connection open.
async fn read_one(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\ndone") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn several_requests_share_a_connection() {
    let running = Running::start(Responding, LONG).await;
    let mut stream = running.connect().await;
    for _ in 0..2 {
        stream.write_all(GET).await.unwrap();
        assert!(read_one(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn http2_works_without_an_upgrade() {
    let running = Running::start(Responding, LONG).await;
    let io = TokioIo::new(running.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::get("http://x/").body(Body::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, http::Version::HTTP_2));
    driver.abort();
}

#[tokio::test]
async fn malformed_http_is_rejected_and_its_connection_closed() {
    let running = Running::start(Responding, LONG).await;
    let many_fields = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-y: z\r\n".repeat(200));
    let long_field =
        format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(500_000));
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000));
    for (request, status) in [
        (&b"hello\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/3.7\r\nhost: x\r\n\r\n", 400),
        (many_fields.as_bytes(), 431),
        (long_field.as_bytes(), 431),
        (long_path.as_bytes(), 414),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let (got, response) = running.send(request).await;
        assert_eq!(got, status, "{shown}: {response}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_is_closed() {
    let running = Running::start(Responding, LONG).await;
    let silent = running.connect().await;
    assert_eq!(read_to_end(silent).await.0, 0);
    let mut slow = running.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nx-never: en").await.unwrap();
    assert_eq!(read_to_end(slow).await.0, 0);
    let mut idle = running.connect().await;
    idle.write_all(GET).await.unwrap();
    assert_eq!(read_to_end(idle).await.0, 200, "the request gets its response first");
}

/// Responds in two chunks, with a pause between them that is longer than the idle timeout.
#[derive(Clone)]
struct Pausing;

impl Handler for Pausing {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const MAX_STREAMS: u32 = 100;
    const ONLY_HTTP2: bool = false;
    const KEEPS_IDLE: bool = false;
    const AGE_GRACE: Option<Duration> = None;

    fn is_probe(request: &Request<Incoming>) -> bool {
        request.uri().path() == "/health"
    }

    fn overloaded() -> Response<Body> {
        refused(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn certificate_required() -> Response<Body> {
        refused(StatusCode::FORBIDDEN)
    }

    async fn handle(&self, _: IpAddr, _: Request<RequestBody>) -> Response<Body> {
        let (chunks, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            chunks.send(Ok::<_, Infallible>("first, ")).await.unwrap();
            sleep(Limits::default().idle_timeout * 3).await;
            chunks.send(Ok("last")).await.unwrap();
        });
        Response::new(Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_unfinished_response_is_not_idle() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener =
        Listener::new(socket, Pausing, Recorders::disabled().system, Limits::default());
    tokio::spawn(async move { listener.accept_until(pending()).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let (_, response) = read_to_end(stream).await;
    assert!(
        response.contains("first, ")
            && response.contains("last")
            && response.ends_with("0\r\n\r\n"),
        "{response}"
    );
}

#[tokio::test]
async fn idle_connections_close_at_once_when_the_listener_stops() {
    let running = Running::start(Responding, LONG).await;
    let mut idle = running.connect().await;
    idle.write_all(GET).await.unwrap();
    read_one(&mut idle).await;
    assert_eq!(running.stop().await, 0);
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
}

/// Responds once the test permits it.
#[derive(Clone)]
struct Waiting {
    received: Arc<Notify>,
    permits: Arc<Semaphore>,
}

impl Waiting {
    fn new() -> Self {
        Self { received: Arc::default(), permits: Arc::new(Semaphore::new(0)) }
    }
}

impl Handler for Waiting {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const MAX_STREAMS: u32 = 100;
    const ONLY_HTTP2: bool = false;
    const KEEPS_IDLE: bool = false;
    const AGE_GRACE: Option<Duration> = None;

    fn is_probe(request: &Request<Incoming>) -> bool {
        request.uri().path() == "/health"
    }

    fn overloaded() -> Response<Body> {
        refused(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn certificate_required() -> Response<Body> {
        refused(StatusCode::FORBIDDEN)
    }

    async fn handle(&self, _: IpAddr, _: Request<RequestBody>) -> Response<Body> {
        self.received.notify_one();
        let _permit = self.permits.acquire().await.unwrap();
        Response::new(Body::empty())
    }
}

#[tokio::test]
async fn a_request_in_flight_gets_its_response_before_the_listener_stops() {
    let handler = Waiting::new();
    let running = Running::start(handler.clone(), LONG).await;
    let address = running.address;
    let mut stream = running.connect().await;
    stream.write_all(GET).await.unwrap();
    handler.received.notified().await;
    let stopping = tokio::spawn(running.stop());
    // New connections are refused, and yet the listener waits for the request.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    handler.permits.add_permits(1);
    assert_eq!(read_to_end(stream).await.0, 200);
    assert_eq!(stopping.await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_period_is_closed_and_counted() {
    let handler = Waiting::new();
    let running = Running::start(handler.clone(), Duration::from_millis(1)).await;
    let mut stream = running.connect().await;
    stream.write_all(GET).await.unwrap();
    handler.received.notified().await;
    assert_eq!(running.stop().await, 1);
    assert_eq!(read_to_end(stream).await.0, 0);
}

fn within(limits: Limits) -> impl Future<Output = Running> {
    Running::within(limits, Responding, LONG)
}

fn short() -> Limits {
    let second = Duration::from_secs(1);
    Limits { head_timeout: second, write_timeout: second, ..Limits::default() }
}

#[tokio::test]
async fn beyond_the_connections_only_probes_are_served() {
    let running = within(Limits { max_connections: 2, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = running.connect().await;
        stream.write_all(GET).await.unwrap();
        assert!(read_one(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
        held.push(stream);
    }
    let (status, response) = running.send(GET).await;
    assert_eq!(status, 503, "{response}");
    let (status, response) = running.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status, 200, "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
    drop(held);
    while running.send(GET_ONCE).await.0 != 200 {
        tokio::task::yield_now().await;
    }
}

const GET_ONCE: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn connections_beyond_the_spare_ones_are_closed_at_once() {
    let running = within(Limits { max_connections: 1, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(running.connect().await);
    }
    let mut closed = 0;
    for stream in held.iter_mut().skip(1 + 32) {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        closed += 1;
    }
    assert_eq!(closed, 67);
}

#[tokio::test]
async fn beyond_the_requests_only_probes_are_served() {
    let handler = Waiting::new();
    let limits = Limits { max_requests: 1, ..Limits::default() };
    let running = Running::within(limits, handler.clone(), LONG).await;
    let mut first = running.connect().await;
    first.write_all(GET).await.unwrap();
    handler.received.notified().await;
    assert_eq!(running.send(GET_ONCE).await.0, 503);
    handler.permits.add_permits(1);
    let probe = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(running.send(probe).await.0, 200);
    handler.permits.add_permits(1);
    first.shutdown().await.unwrap();
    assert_eq!(read_to_end(first).await.0, 200);
    handler.permits.add_permits(1);
    while running.send(GET_ONCE).await.0 != 200 {
        handler.permits.add_permits(1);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_closes_the_connection_before_an_idle_one_would_be() {
    let running = within(Limits { idle_timeout: LONG, ..short() }).await;
    let mut slow = running.connect().await;
    let started = Instant::now();
    slow.write_all(b"GET / HTTP/1.1\r\nx-never: en").await.unwrap();
    assert_eq!(read_to_end(slow).await.0, 0);
    let mut second = running.connect().await;
    second.write_all(GET).await.unwrap();
    read_one(&mut second).await;
    second.write_all(b"GET / HT").await.unwrap();
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
    assert!(started.elapsed() < LONG / 2);
}

/// Responds with more than any buffer holds.
#[derive(Clone)]
struct Endless;

impl Handler for Endless {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const MAX_STREAMS: u32 = 100;
    const ONLY_HTTP2: bool = false;
    const KEEPS_IDLE: bool = true;
    const AGE_GRACE: Option<Duration> = None;

    fn is_probe(_: &Request<Incoming>) -> bool {
        false
    }

    fn overloaded() -> Response<Body> {
        refused(StatusCode::SERVICE_UNAVAILABLE)
    }

    fn certificate_required() -> Response<Body> {
        refused(StatusCode::FORBIDDEN)
    }

    async fn handle(&self, _: IpAddr, request: Request<RequestBody>) -> Response<Body> {
        if request.uri().path() == "/short" {
            return Response::new(Body::from("short"));
        }
        let chunks = tokio_stream::iter(0..).map(|_: u64| Ok::<_, Infallible>(vec![0; 64 << 10]));
        Response::new(Body::from_stream(chunks))
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed() {
    let running = Running::within(short(), Endless, LONG).await;
    let mut stream = running.connect().await;
    stream.write_all(GET).await.unwrap();
    // Longer than the timeout, during which the client reads nothing.
    sleep(Duration::from_secs(4)).await;
    let mut received = 0;
    while let Ok(length @ 1..) = stream.read(&mut [0; 1 << 16]).await {
        received += length;
        assert!(received < 100 << 20, "the response does not end");
    }
}

#[tokio::test]
async fn a_stream_whose_client_permits_nothing_ends_and_others_go_on() {
    let running = Running::within(short(), Endless, LONG).await;
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(10)
        .handshake::<_, Bytes>(running.connect().await)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    let get = |path: &str| Request::get(format!("http://x{path}")).body(()).unwrap();
    let (stuck, _) = sender.send_request(get("/long"), true).unwrap();
    let mut stuck = stuck.await.unwrap().into_body();
    // The first bytes come, and the client never permits more.
    assert!(stuck.data().await.unwrap().is_ok());
    let reset = async {
        loop {
            match stuck.data().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        }
    };
    let mut reset = pin!(reset);
    loop {
        tokio::select! {
            ended = &mut reset => {
                assert!(matches!(ended, Some(Err(error)) if error.is_reset()));
                break;
            }
            () = sleep(Duration::from_millis(200)) => {
                let (response, _) = sender.send_request(get("/short"), true).unwrap();
                assert_eq!(response.await.unwrap().status(), StatusCode::OK);
            }
        }
    }
    let (response, _) = sender.send_request(get("/short"), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK, "the connection still works");
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_ends_after_a_response() {
    let age = Some(Duration::from_secs(60));
    let limits = Limits { max_connection_age: age, idle_timeout: LONG, ..Limits::default() };
    let running = within(limits).await;
    let mut stream = running.connect().await;
    stream.write_all(GET).await.unwrap();
    assert!(!read_one(&mut stream).await.contains("connection: close"));
    sleep(Duration::from_secs(90)).await;
    stream.write_all(GET).await.unwrap();
    let (status, response) = read_to_end(stream).await;
    assert_eq!(status, 200, "an old connection still gets its response");
    assert!(response.contains("connection: close\r\n"), "{response}");
}

#[tokio::test(start_paused = true)]
async fn an_old_http2_connection_is_told_to_go_away() {
    let age = Some(Duration::from_secs(60));
    let running = within(Limits { max_connection_age: age, ..Limits::default() }).await;
    let (mut sender, connection) = h2::client::handshake(running.connect().await).await.unwrap();
    let driver = tokio::spawn(connection);
    let get = || Request::get("http://x/").body(()).unwrap();
    let (response, _) = sender.send_request(get(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    assert!(driver.await.unwrap().is_ok(), "it ends without an error");
}

#[tokio::test]
async fn a_client_that_still_sends_receives_the_response() {
    let running = within(Limits::default()).await;
    let mut stream = running.connect().await;
    // The handler reads no body, so that the connection closes after the response.
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..400 {
        stream.write_all(&[b'x'; 10_000]).await.unwrap();
    }
    stream.shutdown().await.unwrap();
    let (status, response) = read_to_end(stream).await;
    assert_eq!(status, 200, "{response}");
}
