//! Requests that an upstream did not process, which are sent again, and those that are not.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice_testkit::{ReservedPort, eventually_async};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::fixtures::{Frames, Gateway, Upstream, echo, get, post};

const OFF: (&str, &str) = ("SLUICE__DEFAULTS", "off");
/// With one connection, a request waits until the previous one has given it back.
const ONE: &str = "max_connections: 1";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Starts a server that handles its connections with `act`, which gets their numbers.
async fn server<F, A>(act: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(usize, TcpStream) -> A + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(act(counted.fetch_add(1, Ordering::SeqCst), stream));
        }
    });
    (address, connections)
}

async fn gateway(upstreams: &[SocketAddr], more: &str) -> Gateway {
    let upstreams: Vec<_> = upstreams.iter().map(|at| format!("'http://{at}'")).collect();
    Gateway::with(&format!("{{ upstream: [{}], {more} }}", upstreams.join(", ")), &[OFF]).await
}

/// Reads the head of a request. Returns whether there was one.
async fn read_head(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return false };
        head.push(byte);
    }
    true
}

/// Starts an upstream that responds once on each connection, and at the next request sends `rest`
/// and closes the connection. With `always`, it sends no first response either.
async fn closing(rest: &'static [u8], always: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    server(move |_, mut stream| async move {
        if !always && read_head(&mut stream).await {
            let _ = stream.write_all(OK).await;
        }
        if read_head(&mut stream).await {
            let _ = stream.write_all(rest).await;
        }
    })
    .await
}

fn request(method: Method) -> Request<Body> {
    get("/").method(method).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn an_idempotent_request_is_sent_once_more_when_a_used_connection_closes() {
    for method in
        [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE]
    {
        let (address, connections) = closing(b"", false).await;
        let gateway = gateway(&[address], ONE).await;
        assert_eq!(gateway.get("/").await.status, StatusCode::OK);
        let response = gateway.client().await.send(request(method.clone())).await;
        assert_eq!(response.status(), StatusCode::OK, "{method}");
        assert_eq!(connections.load(Ordering::SeqCst), 2, "{method}");
        let resent = format!(
            "sluice_upstream_requests_total{{result=\"resent\",upstream=\"http://{address}\"}}"
        );
        assert!((gateway.metric(&resent).await - 1.0).abs() < 0.5, "{method}");
    }
}

#[tokio::test]
async fn what_the_upstream_may_have_processed_is_not_sent_again() {
    // Requests that are not idempotent, or have a body.
    for request in [
        request(Method::POST),
        request(Method::PATCH),
        post("/").body(Body::from("a")).unwrap(),
        get("/").method(Method::PUT).body(Body::from("a")).unwrap(),
    ] {
        let (address, connections) = closing(b"", false).await;
        let gateway = gateway(&[address], ONE).await;
        assert_eq!(gateway.get("/").await.status, StatusCode::OK);
        assert_eq!(gateway.client().await.send(request).await.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }
    // A part of a response came.
    let (address, connections) = closing(b"H", false).await;
    let gateway_to_part = gateway(&[address], ONE).await;
    for expected in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        assert_eq!(gateway_to_part.get("/").await.status, expected);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    // A new connection broke.
    let (address, connections) = closing(b"", true).await;
    let gateway = gateway(&[address], "").await;
    assert_eq!(gateway.get("/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_is_repeated_only_once() {
    let (address, connections) = server(|number, mut stream| async move {
        if number == 0 && read_head(&mut stream).await {
            let _ = stream.write_all(OK).await;
        }
        read_head(&mut stream).await;
    })
    .await;
    let gateway = gateway(&[address], ONE).await;
    for expected in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        assert_eq!(gateway.get("/").await.status, expected);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

/// What an HTTP/2 upstream does with the first request on a connection.
#[derive(Clone, Copy, Debug)]
enum Decline {
    /// It resets the stream with `REFUSED_STREAM`.
    Refuse,
    /// It resets the stream with `CANCEL`.
    Cancel,
    /// It sends a GOAWAY before the stream, with this error code.
    Leave(u8),
    /// It sends a GOAWAY after the stream, and closes the connection.
    LeaveAfter,
}

/// Reads an HTTP/2 frame: its type, flags, and stream.
async fn frame(stream: &mut TcpStream) -> std::io::Result<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    stream.read_exact(&mut vec![0; length]).await?;
    Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
}

/// Declines the first request on a connection once all of it was received, and reads on.
async fn decline(mut stream: TcpStream, how: Decline) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    // SETTINGS, and a WINDOW_UPDATE, for windows of a MiB.
    stream.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 16, 0, 0]).await?;
    stream.write_all(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 16, 0, 0]).await?;
    let id = loop {
        let (kind, flags, id) = frame(&mut stream).await?;
        // HEADERS or DATA that end a stream.
        if kind < 2 && flags & 1 == 1 {
            break id;
        }
    };
    let [a, b, c, d] = id.to_be_bytes();
    let answer = match how {
        Decline::Refuse => vec![0, 0, 4, 3, 0, a, b, c, d, 0, 0, 0, 7],
        Decline::Cancel => vec![0, 0, 4, 3, 0, a, b, c, d, 0, 0, 0, 8],
        Decline::Leave(code) => vec![0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, code],
        Decline::LeaveAfter => vec![0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0],
    };
    stream.write_all(&answer).await?;
    if matches!(how, Decline::LeaveAfter) {
        return Ok(());
    }
    loop {
        frame(&mut stream).await?;
    }
}

/// Starts an HTTP/2 upstream that declines the first request on its first connections, and echoes
/// on the later ones.
async fn declining(first: usize, how: Decline) -> (SocketAddr, Arc<AtomicUsize>) {
    server(move |number, stream| async move {
        if number < first {
            let _ = decline(stream, how).await;
        } else {
            echo_over_http2(stream).await;
        }
    })
    .await
}

async fn echo_over_http2(stream: TcpStream) {
    let service =
        service_fn(|request| async { Ok::<_, std::convert::Infallible>(echo(request).await) });
    let server = http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// Allows one request at a time, and no data. Responds to the first request before its body, which
/// keeps the stream open: the gateway sends the next request, which waits for a free stream. With
/// a permit, leaves with a GOAWAY after the first request, and reads on.
async fn leave_with_a_queue(mut stream: TcpStream, leave: Arc<Semaphore>) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    // SETTINGS: MAX_CONCURRENT_STREAMS of 1, and INITIAL_WINDOW_SIZE of 0.
    stream.write_all(&[0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 4, 0, 0, 0, 0]).await?;
    while frame(&mut stream).await?.0 != 1 {}
    // HEADERS with the status 200, which end the response.
    stream.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]).await?;
    leave.acquire().await.unwrap().forget();
    stream.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).await?;
    loop {
        frame(&mut stream).await?;
    }
}

#[tokio::test]
async fn what_waits_for_a_stream_when_the_upstream_leaves_is_sent_again() {
    // The head of a request may have been sent, which is all of a request without a body.
    for (method, length, status) in [
        ("POST", 500, StatusCode::OK),
        ("PATCH", 70_000, StatusCode::OK),
        ("GET", 0, StatusCode::OK),
        ("POST", 0, StatusCode::BAD_GATEWAY),
    ] {
        let leave = Arc::new(Semaphore::new(0));
        let permits = Arc::clone(&leave);
        let (address, connections) = server(move |number, stream| {
            let permits = Arc::clone(&permits);
            async move {
                if number == 0 {
                    let _ = leave_with_a_queue(stream, permits).await;
                } else {
                    echo_over_http2(stream).await;
                }
            }
        })
        .await;
        let section = format!("{{ upstream: 'http://{address}', protocol: http2 }}");
        let gateway = Gateway::with(&section, &[]).await;
        let first = post("/").body(Body::from("x".repeat(500))).unwrap();
        assert_eq!(gateway.client().await.ask(first).await.status, StatusCode::OK);

        let body = "y".repeat(length);
        let waiting = get("/").method(method).body(Body::from(body.clone())).unwrap();
        let mut client = gateway.client().await;
        let waiting = tokio::spawn(async move { client.ask(waiting).await });
        let allowed =
            "sluice_decisions_total{limit=\"default\",outcome=\"allowed\",source=\"store\"}";
        eventually_async("both requests were forwarded", async || {
            gateway.metric(allowed).await > 1.5
        })
        .await;
        leave.add_permits(1);
        let got = waiting.await.unwrap();
        assert_eq!(got.status, status, "{method} {length}: {got:?}");
        let is_resent = status == StatusCode::OK;
        if is_resent {
            assert!(got.text.ends_with(&format!("\n\n{body}")), "{method} {length}: {got:?}");
        }
        let expected = usize::from(is_resent);
        assert_eq!(connections.load(Ordering::SeqCst), 1 + expected, "{method} {length}");
        let resent = format!(
            "sluice_upstream_requests_total{{result=\"resent\",upstream=\"http://{address}\"}}"
        );
        assert_eq!(gateway.metric(&resent).await > 0.5, is_resent, "{method} {length}");
    }
}

#[tokio::test]
async fn what_an_http2_upstream_declines_is_sent_again_whatever_the_method() {
    for how in [Decline::Refuse, Decline::Leave(0), Decline::Leave(11)] {
        for (method, body) in [("GET", ""), ("POST", ""), ("POST", "a body"), ("PATCH", "a body")] {
            let (address, connections) = declining(2, how).await;
            let gateway = gateway(&[address], "protocol: http2").await;
            let request = get("/a").method(method).body(Body::from(body)).unwrap();
            let got = gateway.client().await.ask(request).await;
            assert_eq!(got.status, StatusCode::OK, "{how:?} {method}: {got:?}");
            assert!(got.text.ends_with(&format!("\n\n{body}")), "{how:?} {method}: {got:?}");
            assert_eq!(connections.load(Ordering::SeqCst), 3, "{how:?} {method}");
        }
    }
}

#[tokio::test]
async fn a_body_with_trailers_is_sent_again_as_a_whole() {
    let (address, _) = declining(1, Decline::Leave(0)).await;
    let gateway = gateway(&[address], "protocol: http2").await;
    let (frames, body) = Frames::new();
    tokio::spawn(async move {
        for text in ["one ", "two ", "three"] {
            frames.send(Frames::data(text)).await.unwrap();
        }
        let trailers = [("x-sum".parse().unwrap(), "3".parse().unwrap())];
        let trailers = hyper::body::Frame::trailers(trailers.into_iter().collect());
        frames.send(Ok(trailers)).await.unwrap();
    });
    let request = post("/").header("trailer", "x-sum").body(Body::new(body)).unwrap();
    let got = gateway.client().await.ask(request).await;
    assert_eq!(got.status, StatusCode::OK, "{got:?}");
    assert!(got.text.ends_with("\n\none two three\nx-sum: 3"), "{got:?}");
}

#[tokio::test]
async fn a_body_that_is_too_long_to_keep_is_not_sent_again() {
    for (length, status) in [(64 << 10, StatusCode::OK), ((64 << 10) + 1, StatusCode::BAD_GATEWAY)]
    {
        let (address, _) = declining(1, Decline::Refuse).await;
        let gateway = gateway(&[address], "protocol: http2").await;
        let request = post("/").body(Body::from("x".repeat(length))).unwrap();
        let got = gateway.client().await.ask(request).await;
        assert_eq!(got.status, status, "{length}");
    }
}

#[tokio::test]
async fn what_an_http2_upstream_may_have_processed_is_not_sent_again() {
    for how in [Decline::Cancel, Decline::LeaveAfter] {
        let (address, connections) = declining(1, how).await;
        let gateway = gateway(&[address], "protocol: http2").await;
        let got = gateway.client().await.ask(post("/").body(Body::from("a")).unwrap()).await;
        assert_eq!(got.status, StatusCode::BAD_GATEWAY, "{how:?}");
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{how:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_declines_everything_is_given_up_for_another() {
    let (address, connections) = declining(usize::MAX, Decline::Refuse).await;
    let alone = gateway(&[address], "protocol: http2").await;
    assert_eq!(alone.get("/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(connections.load(Ordering::SeqCst), 4);
    let other = Upstream::start(echo).await;
    let both = gateway(&[address, other.address], "protocol: http2").await;
    for _ in 0..4 {
        assert_eq!(both.get("/").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_repeated_request_may_go_to_another_upstream() {
    let reserved = ReservedPort::new();
    let address = SocketAddr::from(([127, 0, 0, 1], reserved.number()));
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(listener);
        assert!(read_head(&mut stream).await);
        stream.write_all(OK).await.unwrap();
        assert!(read_head(&mut stream).await);
    });
    let other = Upstream::start(echo).await;
    let gateway = gateway(&[address, other.address], "").await;
    for _ in 0..6 {
        assert_eq!(gateway.get("/").await.status, StatusCode::OK);
    }
}

/// Starts an HTTP/2 upstream that allows `most` requests on a connection, and responds when it gets
/// permits.
async fn narrow(most: u32) -> (SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<Semaphore>) {
    let (arrived, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, wait) = (Arc::clone(&arrived), Arc::clone(&permits));
    let (address, connections) = server(move |_, stream| {
        let (count, wait) = (Arc::clone(&count), Arc::clone(&wait));
        async move {
            let service = service_fn(move |_request: Request<Incoming>| {
                count.fetch_add(1, Ordering::SeqCst);
                let wait = Arc::clone(&wait);
                async move {
                    wait.acquire().await.unwrap().forget();
                    Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
                }
            });
            let mut server = http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(most);
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    (address, connections, arrived, permits)
}

#[tokio::test]
async fn no_more_requests_share_a_connection_than_the_upstream_allows() {
    let (address, connections, arrived, permits) = narrow(2).await;
    let gateway = Arc::new(gateway(&[address], "protocol: http2").await);
    let asking: Vec<_> = (0..7)
        .map(|_| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { gateway.get("/").await.status })
        })
        .collect();
    eventually_async("all requests have arrived at once", async || {
        arrived.load(Ordering::SeqCst) == 7
    })
    .await;
    assert_eq!(connections.load(Ordering::SeqCst), 4);
    permits.add_permits(7);
    for task in asking {
        assert_eq!(task.await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn an_upstream_gets_no_more_connections_than_it_may_have() {
    let (arrived, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (count, wait) = (Arc::clone(&arrived), Arc::clone(&permits));
    let http1 = Upstream::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let wait = Arc::clone(&wait);
        async move {
            wait.acquire().await.unwrap().forget();
            Response::new(Body::empty())
        }
    })
    .await;
    let (http2, connections, arrived_over_http2, permits_over_http2) = narrow(1).await;
    for (protocol, address, arrived, permits) in [
        ("http1", http1.address, arrived, permits),
        ("http2", http2, arrived_over_http2, permits_over_http2),
    ] {
        let more = format!("protocol: {protocol}, max_connections: 2, connect_timeout: 20s");
        let gateway = Arc::new(gateway(&[address], &more).await);
        let ask = || {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { gateway.get("/").await.status })
        };
        let asking: Vec<_> = (0..5).map(|_| ask()).collect();
        eventually_async("two requests have arrived", async || arrived.load(Ordering::SeqCst) == 2)
            .await;
        permits.add_permits(5);
        for task in asking {
            assert_eq!(task.await.unwrap(), StatusCode::OK, "{protocol}");
        }
        assert_eq!(arrived.load(Ordering::SeqCst), 5, "{protocol}");
    }
    assert_eq!((http1.connections(), connections.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test]
async fn a_request_that_waits_for_a_connection_for_too_long_is_a_503() {
    let (release, permits) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (wait, count) = (Arc::clone(&release), Arc::clone(&permits));
    let upstream = Upstream::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let wait = Arc::clone(&wait);
        async move {
            wait.acquire().await.unwrap().forget();
            Response::new(Body::empty())
        }
    })
    .await;
    let more = "max_connections: 1, connect_timeout: 300ms";
    let gateway = Arc::new(gateway(&[upstream.address], more).await);
    let first = Arc::clone(&gateway);
    let first = tokio::spawn(async move { first.get("/").await.status });
    eventually_async("the first request has arrived", async || permits.load(Ordering::SeqCst) == 1)
        .await;
    let got = gateway.get("/").await;
    assert_eq!(
        (got.status, got.problem().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "upstream-busy")
    );
    assert_eq!(got.header("retry-after").as_deref(), Some("1"));
    let busy = format!(
        "sluice_upstream_requests_total{{result=\"busy\",upstream=\"http://{}\"}}",
        upstream.address
    );
    assert!((gateway.metric(&busy).await - 1.0).abs() < 0.5);
    release.add_permits(2);
    assert_eq!(first.await.unwrap(), StatusCode::OK);
    assert_eq!(gateway.get("/").await.status, StatusCode::OK);
    assert_eq!((upstream.requests(), upstream.connections()), (2, 1));
}
