//! `WebSockets` and other HTTP/1.1 upgrades.

use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sluice_testkit::eventually_async;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixtures::{Gateway, Upstream, echo, get};

const UPGRADE_REQUEST: &[u8] = b"GET /socket HTTP/1.1\r\n\
    host: api.test\r\n\
    connection: keep-alive, Upgrade\r\n\
    upgrade: websocket\r\n\
    sec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-extensions: permessage-deflate\r\n\r\n";

/// Starts an upstream whose sockets echo.
async fn sockets() -> Upstream {
    Upstream::start(open_socket).await
}

/// Responds like [`echo`], or opens a socket that echoes if the request asks for an upgrade.
pub(crate) async fn open_socket(mut request: Request<Incoming>) -> Response<Body> {
    if request.headers().get("upgrade").is_none_or(|protocol| protocol != "websocket") {
        return echo(request).await;
    }
    let key = request.headers()["sec-websocket-key"].clone();
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
    let response =
        Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header("connection", "upgrade");
    response
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", key)
        .body(Body::empty())
        .unwrap()
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub(crate) async fn socket(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(UPGRADE_REQUEST).await.unwrap();
    let head = head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for field in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-accept: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "x-ratelimit-limit: 60\r\n",
    ] {
        assert!(head.contains(field), "{field}: {head}");
    }
    stream
}

pub(crate) async fn assert_echoes(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, text.as_bytes());
}

#[tokio::test]
async fn an_upgraded_connection_copies_both_directions_until_one_side_closes() {
    let upstream = sockets().await;
    let gateway = Gateway::to(&upstream, "").await;
    let mut stream = socket(&gateway).await;
    for text in ["\x01\x05hello", "a second frame", &"x".repeat(100_000)] {
        let (mut read, mut write) = stream.split();
        let mut back = vec![0; text.len()];
        let (written, received) =
            tokio::join!(write.write_all(text.as_bytes()), read.read_exact(&mut back));
        written.unwrap();
        received.unwrap();
        assert_eq!(back, text.as_bytes());
    }
    let open = r#"active_connections{kind="websocket",scope="replica"}"#;
    assert!((gateway.metric(open).await - 1.0).abs() < 0.5);
    assert!(
        gateway
            .metric(r#"http_requests_total{endpoint="/socket",method="GET",status="101"}"#)
            .await
            > 0.5
    );
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the upstream closes its side");
    eventually_async("the socket is no longer counted", async || gateway.metric(open).await < 0.5)
        .await;
}

#[tokio::test]
async fn a_denied_upgrade_is_a_429() {
    let upstream = sockets().await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let gateway =
        Gateway::with(&section, &[("SLUICE__DEFAULTS", "{ rate: 1/day, burst: 1 }")]).await;
    gateway.get("/").await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(UPGRADE_REQUEST).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 429 "));
    assert_eq!(upstream.requests(), 1);
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_ignores_is_an_ordinary_request() {
    let upstream = Upstream::start(echo).await;
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let request = get("/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(Body::empty())
            .unwrap();
        let got = gateway.client().await.ask(request).await;
        assert_eq!((got.status, got.header("upgrade")), (StatusCode::OK, None));
        assert_eq!(got.echoes("upgrade: websocket"), protocol == "http1", "{}", got.text);
    }
}

#[tokio::test]
async fn an_idle_websocket_is_closed() {
    let upstream = sockets().await;
    let gateway = Gateway::to(&upstream, "idle_timeout: 100ms").await;
    let mut stream = socket(&gateway).await;
    assert_echoes(&mut stream, "once").await;
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut [0]))
        .await
        .expect("the socket is closed");
    assert!(matches!(ended, Ok(0) | Err(_)));
}

#[tokio::test]
async fn stopping_waits_for_websockets_within_the_grace_period() {
    let upstream = sockets().await;
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    let mut gateway = Gateway::with(&section, &[]).await;
    let mut stream = socket(&gateway).await;
    gateway.stop();
    eventually_async("the gateway accepts no more connections", async || {
        TcpStream::connect(gateway.address).await.is_err()
    })
    .await;
    assert_echoes(&mut stream, "still there").await;
    drop(stream);
    gateway.stopped().await;

    let mut hurried = Gateway::with(&section, &[("SLUICE__SHUTDOWN_GRACE", "100ms")]).await;
    let mut stream = socket(&hurried).await;
    hurried.stop();
    hurried.stopped().await;
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)), "open sockets are closed");
}

/// Starts an upstream that switches to any protocol that a request names, and then to `granted`.
async fn obliging(granted: &'static str) -> Upstream {
    Upstream::start(move |mut request: Request<Incoming>| async move {
        let Some(asked) = request.headers().get("upgrade").cloned() else {
            return echo(request).await;
        };
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let granted = if granted.is_empty() { asked } else { granted.parse().unwrap() };
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", granted);
        response
    })
    .await
}

/// Sends these fields in a request, and returns everything up to the end of the response's head.
async fn head_of_response(gateway: &Gateway, line: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = format!("{line}\r\nhost: api.test\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    head(&mut stream).await
}

#[tokio::test]
async fn only_protocols_without_requests_are_tunnelled() {
    let upstream = obliging("").await;
    let gateway = Gateway::to(&upstream, "").await;
    let http2 =
        "connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    for fields in [
        &format!("{http2}upgrade: h2c\r\n")[..],
        &format!("{http2}upgrade: H2C\r\n"),
        &format!("{http2}upgrade: websocket, h2c\r\n"),
        &format!("{http2}upgrade: h2c, websocket\r\n"),
        &format!("{http2}upgrade: websocket\r\nupgrade: h2c\r\n"),
        "connection: upgrade\r\nupgrade: TLS/1.0\r\n",
        "connection: upgrade\r\nupgrade: derp\r\n",
        "upgrade: websocket\r\n",
    ] {
        let head = head_of_response(&gateway, "GET / HTTP/1.1", fields).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{fields}: {head}");
    }
    let with_a_body = "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\nab";
    let head = head_of_response(&gateway, "POST / HTTP/1.1", with_a_body).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let websocket = "connection: upgrade\r\nupgrade: websocket\r\n";
    let head = head_of_response(&gateway, "GET / HTTP/1.0", websocket).await;
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");

    let mut request = get("/");
    for (name, value) in [
        ("connection", "upgrade, http2-settings, keep-alive"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
    ] {
        request = request.header(name, value);
    }
    let got = gateway.client().await.ask(request.body(Body::empty()).unwrap()).await;
    for absent in ["upgrade", "http2-settings", "connection"] {
        assert!(!got.text.contains(&format!("\n{absent}:")), "{absent}: {}", got.text);
    }
}

#[tokio::test]
async fn a_protocol_that_the_settings_name_is_tunnelled() {
    let upstream = obliging("").await;
    let gateway = Gateway::to(&upstream, "upgrades: [SPDY/3.1]").await;
    for (protocol, status) in [("spdy/3.1", "101"), ("websocket", "200"), ("h2c", "200")] {
        let fields = format!("connection: upgrade\r\nupgrade: {protocol}\r\n");
        let head = head_of_response(&gateway, "GET / HTTP/1.1", &fields).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{protocol}: {head}");
    }
    let closed = Gateway::to(&upstream, "upgrades: off").await;
    let fields = "connection: upgrade\r\nupgrade: websocket\r\n";
    let head = head_of_response(&closed, "GET / HTTP/1.1", fields).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_switch_to_another_protocol_than_requested_is_a_502() {
    let fields = "connection: upgrade\r\nupgrade: websocket\r\n";
    for granted in ["h2c", "websocket, h2c", "websocket/13"] {
        let upstream = obliging(granted).await;
        let gateway = Gateway::to(&upstream, "").await;
        let head = head_of_response(&gateway, "GET / HTTP/1.1", fields).await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{granted}: {head}");
    }
}
