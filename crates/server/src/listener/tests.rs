//! The port over real sockets.

use std::future::pending;

use axum::body::Body;
use http::StatusCode;
use serde_json::Value;
use sluice::{MemoryStore, Recorders, Store};
use sluice_store::{StoreError, StoreFuture};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, Semaphore, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::front_ends::fixtures::Port;
use sluice_testkit::policies;

/// Longer than any test takes, so that what should not be waited for is noticed.
const LONG: Duration = Duration::from_secs(600);

/// A port that listens until it is told to stop.
struct Listening {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<usize>,
}

impl Listening {
    async fn start(port: &Port, grace: Duration) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let mut listener = Listener::new(socket, port.doors.clone(), Recorders::disabled().system);
        let serving = tokio::spawn(async move {
            listener.accept_until(async { drop(stopped.await) }).await;
            listener.finish(grace).await
        });
        Self { address, stop, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Tells it to stop, and says how many connections were cut off.
    async fn stop(self) -> usize {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap()
    }

    /// What is answered to `request` until the connection is closed.
    async fn ask(&self, request: impl AsRef<[u8]>) -> (u16, String) {
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

/// Reads one answer of known length, and leaves the connection open.
async fn read_one(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        bytes.push(stream.read_u8().await.unwrap());
        if bytes.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    head
}

#[tokio::test]
async fn several_requests_share_a_connection() {
    let listening = Listening::start(&Port::new(), LONG).await;
    let mut stream = listening.connect().await;
    for left in ["9", "8"] {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let head = read_one(&mut stream).await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n")
                && head.contains(&format!("x-ratelimit-remaining: {left}\r\n")),
            "{head}"
        );
    }
}

#[tokio::test]
async fn http2_is_spoken_without_being_asked_first() {
    let listening = Listening::start(&Port::new(), LONG).await;
    let io = TokioIo::new(listening.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driving = tokio::spawn(connection);
    let request = Request::get("http://x/").body(Body::empty()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, http::Version::HTTP_2));
    let long = Request::get("http://x/")
        .header("x-long", "x".repeat(64 << 10))
        .body(Body::empty())
        .unwrap();
    let response = sender.send_request(long).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    driving.abort();
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_a_problem_too() {
    let listening = Listening::start(&Port::new(), LONG).await;
    let many_fields = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-y: z\r\n".repeat(200));
    let endless_field =
        format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(500_000));
    let endless_path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000));
    for (request, status, kind) in [
        (&b"hello\r\n\r\n"[..], 400, "malformed-request"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed-request"),
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n", 400, "malformed-request"),
        (b"GET / HTTP/3.7\r\nhost: x\r\n\r\n", 400, "malformed-request"),
        (many_fields.as_bytes(), 431, "headers-too-large"),
        (endless_field.as_bytes(), 431, "headers-too-large"),
        (endless_path.as_bytes(), 414, "path-too-long"),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let (got, answer) = listening.ask(request).await;
        assert_eq!(got, status, "{shown}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("content-type: application/problem+json"), "{shown}: {answer}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["type"], format!("urn:sluice:problem:{kind}"), "{shown}");
    }
}

#[tokio::test]
async fn a_huge_body_is_refused_and_the_refusal_arrives() {
    let listening = Listening::start(&Port::new(), LONG).await;
    let head = "POST /v1/check HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 10000000\r\n\r\n";
    let (status, answer) = listening.ask([head.as_bytes(), &vec![b'x'; 10_000_000]].concat()).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("urn:sluice:problem:body-too-large"), "{answer}");
}

#[tokio::test]
async fn an_unwanted_body_does_not_end_the_connection() {
    let listening = Listening::start(&Port::new(), LONG).await;
    let mut stream = listening.connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"POST /anything HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n")
            .await
            .unwrap();
        stream.write_all(&vec![b'x'; 500_000]).await.unwrap();
        assert!(read_one(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let listening = Listening::start(&Port::new(), LONG).await;
    let silent = listening.connect().await;
    assert_eq!(read_to_end(silent).await.0, 0);
    let mut slow = listening.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nx-never: en").await.unwrap();
    assert_eq!(read_to_end(slow).await.0, 0);
    let mut idle = listening.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(read_to_end(idle).await.0, 200, "what was asked is answered first");
}

/// Answers in two pieces, with so long a pause between them that an idle connection would be closed
/// twice.
#[derive(Clone)]
struct Pausing;

impl Door for Pausing {
    type Body = Body;

    const CONNECTION: ConnectionKind = ConnectionKind::Http;
    const IDLE: Option<Duration> = Some(Duration::from_secs(60));

    fn protocol() -> auto::Builder<TokioExecutor> {
        auto::Builder::new(TokioExecutor::new())
    }

    async fn serve(&self, _: IpAddr, _: Request<Incoming>) -> Response<Body> {
        let (pieces, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            pieces.send(Ok::<_, Infallible>("first, ")).await.unwrap();
            sleep(Self::IDLE.unwrap() * 3).await;
            pieces.send(Ok("last")).await.unwrap();
        });
        Response::new(Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_over_which_an_answer_is_still_on_its_way_is_not_idle() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut listener = Listener::new(socket, Pausing, Recorders::disabled().system);
    tokio::spawn(async move { listener.accept_until(pending()).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let (_, told) = read_to_end(stream).await;
    assert!(
        told.contains("first, ") && told.contains("last") && told.ends_with("0\r\n\r\n"),
        "{told}"
    );
}

#[tokio::test]
async fn connections_without_a_request_end_at_once_when_it_stops() {
    let listening = Listening::start(&Port::new(), LONG).await;
    let mut idle = listening.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_one(&mut idle).await;
    assert_eq!(listening.stop().await, 0);
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_it_stops() {
    let store = Arc::new(Gated::default());
    let port = Port::with(policies::document(), store.clone());
    let listening = Listening::start(&port, LONG).await;
    let address = listening.address;
    let mut asking = listening.connect().await;
    asking.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    store.entered.notified().await;
    let stopping = tokio::spawn(listening.stop());
    // Nobody listens any more, and yet the request is waited for.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    store.gate.add_permits(1);
    assert_eq!(read_to_end(asking).await.0, 200);
    assert_eq!(stopping.await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_in_flight_longer_than_the_grace_is_cut_off_and_counted() {
    let store = Arc::new(Gated::default());
    let port = Port::with(policies::document(), store.clone());
    let listening = Listening::start(&port, Duration::from_millis(1)).await;
    let mut asking = listening.connect().await;
    asking.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    store.entered.notified().await;
    assert_eq!(listening.stop().await, 1);
    assert_eq!(read_to_end(asking).await.0, 0);
}

/// A store that decides only once it is let.
#[derive(Debug)]
struct Gated {
    entered: Notify,
    gate: Semaphore,
    store: MemoryStore,
}

impl Default for Gated {
    fn default() -> Self {
        Self { entered: Notify::new(), gate: Semaphore::new(0), store: MemoryStore::new() }
    }
}

impl Store for Gated {
    fn decide<'a>(
        &'a self,
        check: &'a sluice_core::Check,
    ) -> StoreFuture<'a, Result<sluice::Decision, StoreError>> {
        StoreFuture::pending(async {
            self.entered.notify_one();
            let _let_through = self.gate.acquire().await.unwrap();
            self.store.decide(check).await
        })
    }
}
