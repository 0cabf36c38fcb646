//! The HTTP port over real sockets: what cannot be shown without a connection.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::body::{Body, Bytes};
use http::{Request, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluice::Recorders;
use sluice_http::{Limits, Listener};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::fixtures::Port;

/// Serves a port in a task that ends with the test.
async fn serve() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (handler, system) = (Port::new().http, Recorders::disabled().system);
    let mut listener = Listener::new(socket, handler, system, Limits::default());
    tokio::spawn(async move {
        listener.accept_until(std::future::pending()).await;
        listener.finish(Duration::ZERO).await
    });
    address
}

/// Reads one response whose length is known, and leaves the connection open.
async fn read_one(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    stream.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
    head
}

#[tokio::test]
async fn long_header_fields_over_http2_are_a_problem() {
    let io = TokioIo::new(TcpStream::connect(serve().await).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    let long = Request::get("http://x/")
        .header("x-long", "x".repeat(64 << 10))
        .body(Body::empty())
        .unwrap();
    let response = sender.send_request(long).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    driver.abort();
}

#[tokio::test]
async fn a_request_over_http1_names_its_host_once() {
    for (hosts, expected) in
        [("", "400"), ("host: a\r\nhost: a\r\n", "400"), ("host: a\r\n", "200")]
    {
        let mut stream = TcpStream::connect(serve().await).await.unwrap();
        let request = format!("GET /q HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {expected} ")), "{hosts:?}: {response}");
    }
}

#[tokio::test]
async fn a_client_that_sends_a_huge_body_receives_the_problem() {
    let mut stream = TcpStream::connect(serve().await).await.unwrap();
    let head = "POST /v1/check HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/json\r\ncontent-length: 10000000\r\n\r\n";
    let request = [head.as_bytes(), &vec![b'x'; 10_000_000]].concat();
    stream.write_all(&request).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    assert!(response.contains("urn:sluice:problem:body-too-large"), "{response}");
}

#[tokio::test]
async fn a_body_that_is_not_read_does_not_end_the_connection() {
    let mut stream = TcpStream::connect(serve().await).await.unwrap();
    for _ in 0..2 {
        stream
            .write_all(b"POST /anything HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n")
            .await
            .unwrap();
        stream.write_all(&vec![b'x'; 500_000]).await.unwrap();
        assert!(read_one(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn a_response_that_needs_no_body_comes_before_the_body() {
    let mut stream = TcpStream::connect(serve().await).await.unwrap();
    for (path, status) in [
        ("/anything", "200"),
        ("/v1/forward-auth", "200"),
        ("/health", "405"),
        // The body has no `Content-Type`.
        ("/v1/check", "415"),
        ("/v1/events", "415"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let response = read_one(&mut stream).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {response}");
        // The connection stays usable once the body has come.
        stream.write_all(b"xyz").await.unwrap();
    }
}

#[tokio::test]
async fn a_denial_comes_before_the_body_over_http2_too() {
    let io = TokioIo::new(TcpStream::connect(serve().await).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let endless = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let request = Request::post("http://x/anything").body(endless).unwrap();
        let response = sender.send_request(request).await.unwrap();
        statuses.push(response.status());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    assert!(statuses.len() > 1, "{statuses:?}");
    assert_eq!(statuses.last(), Some(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_in_time_is_answered_once_and_ends_the_connection() {
    let mut stream = TcpStream::connect(serve().await).await.unwrap();
    let head = "POST /v1/check HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
    assert!(response.contains("urn:sluice:problem:body-too-slow"), "{response}");
}
