//! Upstreams that are unreachable, stall, abort or send invalid HTTP; clients that do the same; and
//! a store that is away.

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::body::{Body, Bytes};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sluice_testkit::{ReservedPort, eventually_async};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::fixtures::{Frames, Gateway, GatewayResponse, Upstream, echo, get, post};

/// Starts an upstream that handles each connection with `act` once it has read the head of a
/// request.
async fn raw<F, A>(act: F) -> SocketAddr
where
    F: Fn(TcpStream) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let act = act.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                act(stream).await;
            });
        }
    });
    address
}

async fn gateway_to(address: SocketAddr, more: &str) -> Gateway {
    Gateway::with(&format!("{{ upstream: 'http://{address}', {more} }}"), &[]).await
}

#[track_caller]
fn assert_failed(got: &GatewayResponse, status: StatusCode, problem: &str) {
    assert_eq!((got.status, got.problem().as_str()), (status, problem), "{got:?}");
    assert!(
        got.header("x-ratelimit-remaining").is_some(),
        "the response has the rate limit fields: {got:?}"
    );
    assert!(!got.text.contains("127.0.0.1"), "the response does not contain addresses: {got:?}");
}

#[tokio::test]
async fn an_unreachable_upstream_is_a_502_until_it_is_back() {
    let port = ReservedPort::new();
    let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
    for protocol in ["http1", "http2"] {
        let gateway = gateway_to(address, &format!("protocol: {protocol}")).await;
        let mut client = gateway.client().await;
        assert_failed(
            &client.ask(post("/").body(Body::from("lost")).unwrap()).await,
            StatusCode::BAD_GATEWAY,
            "upstream-failed",
        );
        let upstream = Upstream::listen(&address.to_string(), None, echo).await;
        assert_eq!(
            client.get("/").await.status,
            StatusCode::OK,
            "the only upstream is tried again at once"
        );
        drop(upstream);
    }
}

#[tokio::test]
async fn an_upstream_that_aborts_or_sends_invalid_http_is_a_502() {
    let cut = raw(async |stream| drop(stream)).await;
    let nonsense = raw(async |mut stream| drop(stream.write_all(b"nonsense\r\n\r\n").await)).await;
    let unasked = raw(async |mut stream| {
        let _ = stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: \
                                   upgrade\r\nupgrade: mystery\r\n\r\n",
            )
            .await;
        let _ = stream.read_u8().await;
    })
    .await;
    for upstream in [cut, nonsense, unasked] {
        let got = gateway_to(upstream, "").await.get("/").await;
        assert_failed(&got, StatusCode::BAD_GATEWAY, "upstream-failed");
    }
}

#[tokio::test]
async fn a_transfer_coding_that_the_client_could_not_know_is_a_502() {
    for (codings, status) in [
        ("Chunked", StatusCode::OK),
        ("gzip, chunked", StatusCode::BAD_GATEWAY),
        ("gzip", StatusCode::BAD_GATEWAY),
        ("gzip\r\ntransfer-encoding: chunked", StatusCode::BAD_GATEWAY),
    ] {
        let response = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {codings}\r\n\r\n0\r\n\r\n");
        let upstream = raw(move |mut stream| {
            let response = response.clone();
            async move { drop(stream.write_all(response.as_bytes()).await) }
        })
        .await;
        let got = gateway_to(upstream, "").await.get("/").await;
        if status == StatusCode::OK {
            assert_eq!(got.status, status, "{codings}: {got:?}");
        } else {
            assert_failed(&got, status, "upstream-failed");
            assert!(got.text.contains("a transfer coding other than"), "{codings}: {got:?}");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_stalls_is_a_504() {
    let silent = raw(async |mut stream| drop(stream.read_u8().await)).await;
    let got = gateway_to(silent, "response_timeout: 500ms").await.get("/").await;
    assert_failed(&got, StatusCode::GATEWAY_TIMEOUT, "upstream-too-slow");
    let http2 = Upstream::start(async |_| std::future::pending::<Response<Body>>().await).await;
    let got = Gateway::to(&http2, "response_timeout: 500ms, protocol: http2").await.get("/").await;
    assert_failed(&got, StatusCode::GATEWAY_TIMEOUT, "upstream-too-slow");
}

#[tokio::test]
async fn an_incomplete_response_is_never_delivered_as_complete() {
    let chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
    let length = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegun";
    for begun in [&chunk[..], &length[..]] {
        let cut = raw(async move |mut stream| drop(stream.write_all(begun).await)).await;
        let stalled = raw(async move |mut stream| {
            let _ = stream.write_all(begun).await;
            let _ = stream.read_u8().await;
        })
        .await;
        for upstream in [cut, stalled] {
            let gateway = gateway_to(upstream, "idle_timeout: 500ms").await;
            let response = gateway.client().await.send(get("/").body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert!(response.into_body().collect().await.is_err());
            let mut client = gateway.http2_client().await;
            let response = client
                .send_request(Request::get("http://api.test/").body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert!(response.into_body().collect().await.is_err());
        }
    }
}

#[tokio::test]
async fn the_response_timeout_pauses_while_the_client_is_sending() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "response_timeout: 2s").await;
    let (frames, body) = Frames::new();
    let response =
        tokio::spawn(gateway.client().await.try_send(post("/").body(Body::new(body)).unwrap()));
    for _ in 0..6 {
        // In total the body takes longer than the response timeout.
        tokio::time::sleep(Duration::from_millis(500)).await;
        frames.send(Frames::data(".")).await.unwrap();
    }
    drop(frames);
    assert_eq!(response.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_stalls_or_aborts_is_not_counted_against_the_upstream() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "response_timeout: 250ms, idle_timeout: 1s").await;
    let (frames, body) = Frames::new();
    frames.send(Frames::data("begun")).await.unwrap();
    let response = gateway.client().await.send(post("/").body(Body::new(body)).unwrap()).await;
    assert_failed(
        &GatewayResponse::read(response).await,
        StatusCode::REQUEST_TIMEOUT,
        "body-too-slow",
    );
    drop(frames);

    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n")
        .await
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(
        response.starts_with("HTTP/1.1 400 ") && response.contains("malformed-body"),
        "{response}"
    );
}

#[tokio::test]
async fn no_request_can_be_smuggled_in_the_body_of_another() {
    let upstream = Upstream::start(echo).await;
    let gateway = Gateway::to(&upstream, "").await;
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\ncontent-length: 5",
        "content-length: 5\r\ncontent-length: 6",
        "transfer-encoding: xchunked\r\ncontent-length: 5",
    ] {
        let before = upstream.requests();
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let request = format!(
            "POST /carrier HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{framing}\r\n\r\n{smuggled}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        let _ = stream.read_to_string(&mut response).await;
        assert!(
            response.starts_with("HTTP/1.1 400 ") || response.contains("POST /carrier "),
            "{framing}: {response}"
        );
        assert!(
            !response.contains("content-length: 5\n") && !response.contains("GET /smuggled HTTP"),
            "{framing}: {response}"
        );
        assert!(upstream.requests() - before <= 1, "{framing}");
    }
}

#[tokio::test]
async fn an_upstream_may_respond_before_it_has_read_the_body() {
    let early = raw(async |mut stream| {
        let _ = stream
            .write_all(
                b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: \
                                   5\r\nconnection: close\r\n\r\nlarge",
            )
            .await;
        // The upstream reads no more, and waits for the connection to close.
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let gateway = gateway_to(early, "").await;
    let (frames, body) = Frames::new();
    let sending = tokio::spawn(async move {
        for _ in 0..200 {
            frames.send(Frames::data(Bytes::from(vec![b'x'; 65_536]))).await.unwrap();
        }
    });
    let got = gateway.client().await.ask(post("/").body(Body::new(body)).unwrap()).await;
    assert_eq!((got.status, got.text.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "large"));
    sending.await.expect("a client that reads the response last can send its whole body");
}

#[tokio::test]
async fn an_upstream_that_has_responded_gets_no_more_of_the_body() {
    let (ended, mut connection_ended) = tokio::sync::mpsc::channel::<()>(1);
    let early = raw(move |mut stream| {
        let ended = ended.clone();
        async move {
            // The upstream would keep the connection open if the gateway did.
            let _ = stream
                .write_all(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 5\r\n\r\nlarge")
                .await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = ended.send(()).await;
        }
    })
    .await;
    let gateway = gateway_to(early, "").await;
    let (frames, body) = Frames::new();
    frames.send(Frames::data("the first of many")).await.unwrap();
    let got = gateway.client().await.ask(post("/").body(Body::new(body)).unwrap()).await;
    assert_eq!((got.status, got.text.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "large"));
    let ended = tokio::time::timeout(Duration::from_secs(20), connection_ended.recv()).await;
    ended.expect("the connection ends although the client has not sent the whole body");
    drop(frames);
}

#[tokio::test]
async fn without_the_store_its_failure_mode_decides() {
    let upstream = Upstream::start(echo).await;
    let nowhere = ReservedPort::new();
    let store = format!("redis://127.0.0.1:{}", nowhere.number());
    let section = format!("{{ upstream: '{}' }}", upstream.url());
    for (mode, status, requests) in
        [("local", 200, 1), ("allow", 200, 1), ("deny", 429, 0), ("error", 503, 0)]
    {
        let before = upstream.requests();
        let gateway = Gateway::with(
            &section,
            &[("SLUICE__STORE__URL", &store), ("SLUICE__STORE__ON_FAILURE", mode)],
        )
        .await;
        let got = gateway.get("/").await;
        assert_eq!(
            (got.status.as_u16(), upstream.requests() - before),
            (status, requests),
            "{mode}: {got:?}"
        );
    }
}

#[tokio::test]
async fn a_closed_connection_is_not_reused() {
    let close_after = |request: Request<Incoming>| async move {
        let mut response = echo(request).await;
        response.headers_mut().insert("connection", "close".parse().unwrap());
        response
    };
    let upstream = Upstream::start(close_after).await;
    let gateway = Gateway::to(&upstream, "").await;
    let mut client = gateway.client().await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    assert_eq!(upstream.connections(), 5, "the client's own connection stays open");
}

#[tokio::test]
async fn an_upstream_of_http_1_0_does_not_make_our_response_1_0() {
    let old = raw(async |mut stream| {
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let gateway = gateway_to(old, "").await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        let response = client.send(get("/").body(Body::empty()).unwrap()).await;
        assert_eq!(response.version(), http::Version::HTTP_11);
        assert_eq!(GatewayResponse::read(response).await.text, "ok");
    }
}

#[tokio::test]
async fn many_header_fields_of_a_response_are_forwarded_and_too_many_are_named() {
    for (count, status) in [(400, StatusCode::OK), (600, StatusCode::BAD_GATEWAY)] {
        let fields: String = (0..count).map(|number| format!("x-{number}: 1\r\n")).collect();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{fields}\r\n");
        let many = raw(move |mut stream| {
            let head = head.clone();
            async move { drop(stream.write_all(head.as_bytes()).await) }
        })
        .await;
        let got = many_fields(gateway_to(many, "").await.address).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {} ", status.as_u16())), "{count}: {got}");
        if status == StatusCode::OK {
            assert!(got.contains("\r\nx-399: 1\r\n"), "{got}");
        } else {
            assert!(got.contains("more header fields than"), "{got}");
        }
    }
}

/// Returns a response with more fields than most clients accept.
async fn many_fields(gateway: SocketAddr) -> String {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn a_request_that_its_client_abandons_is_counted() {
    let upstream = Upstream::start(async |_| std::future::pending::<Response<Body>>().await).await;
    let gateway = Gateway::to(&upstream, "").await;
    for (path, endpoint) in [
        ("/api/v1/tools/execute/x", "/api/v1/tools/execute"),
        // An abandoned request takes no place for its path.
        ("/slow/17", "other"),
    ] {
        let (mut stream, before) =
            (TcpStream::connect(gateway.address).await.unwrap(), upstream.requests());
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
            .await
            .unwrap();
        eventually_async("the request has arrived", async || upstream.requests() > before).await;
        drop(stream);
        let counted = format!(
            "http_requests_total{{endpoint=\"{endpoint}\",method=\"GET\",status=\"499\"}} 1"
        );
        eventually_async("the request is counted", async || {
            gateway.get("/metrics").await.text.lines().any(|line| line == counted)
        })
        .await;
    }
}

#[tokio::test]
async fn a_path_that_the_upstream_does_not_have_takes_no_label() {
    let upstream = Upstream::start(async |request: Request<Incoming>| {
        let found = request.uri().path().starts_with("/users/");
        let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
        Response::builder().status(status).body(Body::empty()).unwrap()
    })
    .await;
    let gateway = Gateway::to(&upstream, "").await;
    let mut client = gateway.client().await;
    for path in ["/users/17", "/users/18", "/admin.php", "/wp-login"] {
        client.get(path).await;
    }
    let metrics = gateway.get("/metrics").await.text;
    for line in [
        r#"http_requests_total{endpoint="/users/:id",method="GET",status="200"} 2"#,
        r#"http_requests_total{endpoint="other",method="GET",status="404"} 2"#,
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
}
