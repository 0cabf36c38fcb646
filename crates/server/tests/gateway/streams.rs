//! Bodies that never end, arrive in chunks, are larger than memory, or are missing.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use sluice_testkit::eventually_async;
use tokio::sync::{Mutex, mpsc};

use crate::fixtures::{Frames, Gateway, Upstream, echo, get, next_text, post};

type Sending = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

/// Starts an upstream that passes the sending end of each response body to the test.
async fn streaming() -> (Upstream, mpsc::Receiver<Sending>) {
    let (streams, opened) = mpsc::channel(8);
    let upstream = Upstream::start(move |_: Request<Incoming>| {
        let streams = streams.clone();
        async move {
            let (frames, body) = Frames::new();
            streams.send(frames).await.unwrap();
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Body::new(body))
                .unwrap()
        }
    })
    .await;
    (upstream, opened)
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let (upstream, mut opened) = streaming().await;
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let mut body = gateway
            .client()
            .await
            .send(get("/events").body(Body::empty()).unwrap())
            .await
            .into_body();
        let events = opened.recv().await.unwrap();
        for number in 0..5 {
            // The next event is sent only after the previous one has arrived.
            let event = format!("data: {number}\n\n");
            events.send(Frames::data(event.clone())).await.unwrap();
            assert_eq!(next_text(&mut body).await, Some(event));
        }
        drop(events);
        assert_eq!(next_text(&mut body).await, None);
    }
}

#[tokio::test]
async fn endless_streams_do_not_block_other_requests() {
    const STREAMS: usize = 130;
    let (upstream, mut opened) = streaming().await;
    let section = format!("{{ upstream: '{}', protocol: http2 }}", upstream.url());
    let gateway = Gateway::with(&section, &[("SLUICE__DEFAULTS", "off")]).await;
    let first_events = tokio::spawn(async move {
        let mut all = Vec::new();
        for _ in 0..STREAMS {
            let events = opened.recv().await.unwrap();
            events.send(Frames::data("first")).await.unwrap();
            all.push(events);
        }
        all
    });
    let mut bodies = Vec::new();
    for _ in 0..STREAMS {
        let mut body = gateway
            .client()
            .await
            .send(get("/events").body(Body::empty()).unwrap())
            .await
            .into_body();
        assert_eq!(next_text(&mut body).await.as_deref(), Some("first"));
        bodies.push(body);
    }
    assert_eq!(first_events.await.unwrap().len(), STREAMS);
    assert_eq!(
        upstream.connections(),
        2,
        "the first connection is full, and a second one takes the rest"
    );
}

#[tokio::test]
async fn the_upstream_is_cancelled_when_the_client_leaves() {
    let (upstream, mut opened) = streaming().await;
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let mut body = gateway
            .client()
            .await
            .send(get("/events").body(Body::empty()).unwrap())
            .await
            .into_body();
        let events = opened.recv().await.unwrap();
        events.send(Frames::data("first")).await.unwrap();
        assert_eq!(next_text(&mut body).await.as_deref(), Some("first"));
        drop(body);
        eventually_async("the upstream's response is dropped", async || {
            // A server notices a closed connection when it sends.
            let _ = events.try_send(Frames::data("more"));
            events.is_closed()
        })
        .await;
    }
}

#[tokio::test]
async fn the_upstream_is_cancelled_when_the_client_leaves_before_the_response() {
    let dropped = Arc::new(tokio::sync::Semaphore::new(0));
    let permits = Arc::clone(&dropped);
    let upstream = Upstream::start(move |_| {
        struct OnDrop(Arc<tokio::sync::Semaphore>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                self.0.add_permits(1);
            }
        }
        let on_drop = OnDrop(Arc::clone(&permits));
        async move {
            let _on_drop = on_drop;
            std::future::pending::<Response<Body>>().await
        }
    })
    .await;
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let before = upstream.requests();
        let mut client = gateway.client().await;
        let response = client.try_send(get("/slow").body(Body::empty()).unwrap());
        let asking = tokio::spawn(response);
        eventually_async("the upstream has received the request", async || {
            upstream.requests() > before
        })
        .await;
        asking.abort();
        drop(client);
        eventually_async("the upstream's work is dropped", async || {
            dropped.try_acquire().map(std::mem::forget).is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn an_upstream_reads_a_body_while_it_is_still_being_sent() {
    let (heard, mut hearing) = mpsc::channel::<String>(8);
    let upstream = Upstream::start(move |request: Request<Incoming>| {
        let heard = heard.clone();
        async move {
            let mut body = request.into_body();
            while let Some(text) = next_text(&mut body).await {
                heard.send(text).await.unwrap();
            }
            Response::new(Body::from("done"))
        }
    })
    .await;
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let (frames, body) = Frames::new();
        let mut client = gateway.client().await;
        let response =
            tokio::spawn(client.try_send(post("/upload").body(Body::new(body)).unwrap()));
        for number in 0..5 {
            frames.send(Frames::data(format!("piece {number}"))).await.unwrap();
            assert_eq!(hearing.recv().await, Some(format!("piece {number}")));
        }
        drop(frames);
        let response = response.await.unwrap().unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "done");
    }
}

#[tokio::test]
async fn a_sender_waits_for_a_slow_reader() {
    let (upstream, mut opened) = streaming().await;
    let gateway = Gateway::to(&upstream, "").await;
    let mut body =
        gateway.client().await.send(get("/large").body(Body::empty()).unwrap()).await.into_body();
    let frames = opened.recv().await.unwrap();
    let piece = Bytes::from(vec![b'x'; 1 << 20]);
    const PIECES: usize = 100;
    let sent = Arc::new(Mutex::new(0));
    let counting = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for _ in 0..PIECES {
            frames.send(Frames::data(piece.clone())).await.unwrap();
            *counting.lock().await += 1;
        }
    });
    // The client does not read. The sockets and the gateway's buffers hold a small part of the
    // body, and then the sender has to wait.
    let mut before = usize::MAX;
    eventually_async("the sender waits", async || {
        let now = *sent.lock().await;
        let still = now == before;
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        still
    })
    .await;
    assert!(
        *sent.lock().await < PIECES / 2,
        "{before} MiB were accepted although the client does not read"
    );
    let mut received = 0;
    while let Some(text) = next_text(&mut body).await {
        received += text.len();
    }
    assert_eq!(received, PIECES << 20);
    sending.await.unwrap();
}

#[tokio::test]
async fn trailers_are_forwarded_in_both_directions() {
    let upstream = Upstream::start(async |request: Request<Incoming>| {
        let text = echo(request).await.into_body().collect().await.unwrap().to_bytes();
        let (frames, body) = Frames::new();
        tokio::spawn(async move {
            frames.send(Frames::data(text)).await.unwrap();
            let trailers =
                HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())]);
            frames.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        Response::builder().header("trailer", "x-sum").body(Body::new(body)).unwrap()
    })
    .await;
    for protocol in ["http1", "http2"] {
        let gateway = Gateway::to(&upstream, &format!("protocol: {protocol}")).await;
        let (frames, body) = Frames::new();
        tokio::spawn(async move {
            frames.send(Frames::data("body")).await.unwrap();
            let trailers = HeaderMap::from_iter(
                ["x-count", "x-forwarded-for", "authorization"]
                    .map(|name| (name.parse().unwrap(), "4".parse().unwrap())),
            );
            frames.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        let request = post("/")
            .header("te", "trailers")
            .header("trailer", "x-count, x-forwarded-for")
            .body(Body::new(body))
            .unwrap();
        let response = gateway.client().await.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "42", "{protocol}");
        let text = String::from_utf8(collected.to_bytes().to_vec()).unwrap();
        assert!(text.ends_with("body\nx-count: 4"), "{protocol}: {text}");
    }
}

#[tokio::test]
async fn a_stream_is_measured_when_it_ends() {
    let (upstream, mut opened) = streaming().await;
    let gateway = Gateway::to(&upstream, "").await;
    let mut body =
        gateway.client().await.send(get("/events").body(Body::empty()).unwrap()).await.into_body();
    let events = opened.recv().await.unwrap();
    events.send(Frames::data("12345")).await.unwrap();
    assert_eq!(next_text(&mut body).await.as_deref(), Some("12345"));
    let counted = r#"http_requests_total{endpoint="/events",method="GET",status="200"}"#;
    assert!(gateway.metric(counted).await < 0.5, "the response is not complete");
    events.send(Frames::data("678")).await.unwrap();
    assert_eq!(next_text(&mut body).await.as_deref(), Some("678"));
    drop(events);
    assert_eq!(next_text(&mut body).await, None);
    eventually_async("the response is counted", async || gateway.metric(counted).await > 0.5).await;
    let bytes =
        gateway.metric(r#"http_response_size_bytes_sum{endpoint="/events",method="GET"}"#).await;
    assert!((bytes - 8.0).abs() < 0.5, "{bytes}");
}

#[tokio::test]
async fn stopping_waits_for_streams() {
    let (upstream, mut opened) = streaming().await;
    let mut gateway = Gateway::to(&upstream, "").await;
    let mut body =
        gateway.client().await.send(get("/events").body(Body::empty()).unwrap()).await.into_body();
    let events = opened.recv().await.unwrap();
    events.send(Frames::data("before")).await.unwrap();
    assert_eq!(next_text(&mut body).await.as_deref(), Some("before"));
    gateway.stop();
    eventually_async("the gateway accepts no more connections", async || {
        tokio::net::TcpStream::connect(gateway.address).await.is_err()
    })
    .await;
    events.send(Frames::data("after")).await.unwrap();
    assert_eq!(next_text(&mut body).await.as_deref(), Some("after"));
    drop(events);
    assert_eq!(next_text(&mut body).await, None);
    gateway.stopped().await;
}
