//! The listener over real sockets.

use std::future::pending;

use axum::body::Body;
use http::StatusCode;
use sluice::Recorders;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, Semaphore, oneshot},
    task::JoinHandle,
};

use super::*;

/// Longer than any test takes, so that a test which waits for it by mistake hangs.
const LONG: Duration = Duration::from_secs(600);

/// Responds to every request at once.
#[derive(Clone)]
struct Responding;

impl Handler for Responding {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const IDLE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

    fn protocol() -> auto::Builder<TokioExecutor> {
        auto::Builder::new(TokioExecutor::new())
    }

    async fn handle(&self, _: IpAddr, _: Request<Incoming>) -> Response<Body> {
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
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut listener = Listener::new(socket, handler, Recorders::disabled().system);
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
    const IDLE_TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));

    fn protocol() -> auto::Builder<TokioExecutor> {
        auto::Builder::new(TokioExecutor::new())
    }

    async fn handle(&self, _: IpAddr, _: Request<Incoming>) -> Response<Body> {
        let (chunks, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            chunks.send(Ok::<_, Infallible>("first, ")).await.unwrap();
            sleep(Self::IDLE_TIMEOUT.unwrap() * 3).await;
            chunks.send(Ok("last")).await.unwrap();
        });
        Response::new(Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_unfinished_response_is_not_idle() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener = Listener::new(socket, Pausing, Recorders::disabled().system);
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
    const IDLE_TIMEOUT: Option<Duration> = None;

    fn protocol() -> auto::Builder<TokioExecutor> {
        auto::Builder::new(TokioExecutor::new())
    }

    async fn handle(&self, _: IpAddr, _: Request<Incoming>) -> Response<Body> {
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
