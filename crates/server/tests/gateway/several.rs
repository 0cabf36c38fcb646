//! Several upstreams: which one gets a request, which one is avoided, and what happens when none is
//! left.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use sluice_testkit::{ReservedPort, eventually_async};

use crate::fixtures::{Gateway, Upstream, echo, get, post};

async fn gateway(upstreams: &[String], more: &str) -> Gateway {
    Gateway::with(
        &format!("{{ upstream: [{}], {more} }}", upstreams.join(", ")),
        &[("SLUICE__DEFAULTS", "off")],
    )
    .await
}

#[tokio::test]
async fn requests_are_spread_over_all_upstreams() {
    let upstreams =
        [Upstream::start(echo).await, Upstream::start(echo).await, Upstream::start(echo).await];
    let gateway = gateway(&upstreams.each_ref().map(Upstream::url), "").await;
    let mut client = gateway.client().await;
    for _ in 0..30 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    assert_eq!(upstreams.each_ref().map(Upstream::requests), [10, 10, 10]);
}

#[tokio::test]
async fn the_least_busy_upstream_is_chosen() {
    let slow = Upstream::start(async |_| std::future::pending::<Response<Body>>().await).await;
    let quick = Upstream::start(echo).await;
    let gateway = gateway(&[slow.url(), quick.url()], "").await;
    let mut waiting = gateway.client().await;
    let mut stuck = Vec::new();
    while slow.requests() == 0 {
        let asking = tokio::spawn(waiting.try_send(get("/").body(Body::empty()).unwrap()));
        eventually_async("an upstream has received the request", async || {
            slow.requests() + quick.requests() > stuck.len()
        })
        .await;
        stuck.push(asking);
        waiting = gateway.client().await;
    }
    let before = quick.requests();
    let mut client = gateway.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    assert_eq!((slow.requests(), quick.requests() - before), (1, 10));
}

#[tokio::test]
async fn no_request_is_lost_when_one_upstream_stops_and_all_fail_when_all_stop() {
    let one = Upstream::start(echo).await;
    let two = Upstream::start(echo).await;
    let nowhere = ReservedPort::new();
    let gateway =
        gateway(&[one.url(), format!("http://127.0.0.1:{}", nowhere.number()), two.url()], "")
            .await;
    let mut client = gateway.client().await;
    for number in 0..12 {
        // A request with a body has to arrive complete, also at the second upstream that is tried.
        let got = client.ask(post("/").body(Body::from(format!("body {number}"))).unwrap()).await;
        assert!(
            got.status == StatusCode::OK && got.text.ends_with(&format!("\n\nbody {number}")),
            "{got:?}"
        );
    }
    assert_eq!(one.requests() + two.requests(), 12);

    let address = one.address;
    drop(one);
    eventually_async("the upstream has stopped", async || {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    let before = two.requests();
    let mut lost = 0;
    for _ in 0..10 {
        lost += usize::from(client.get("/").await.status != StatusCode::OK);
    }
    assert!(
        lost <= 1,
        "only the request in flight may fail when the upstream stops: {lost} failed"
    );
    assert!(two.requests() - before >= 9);

    let unconnected = gateway
        .metric(&format!(
            "sluice_upstream_requests_total{{result=\"unconnected\",upstream=\"http://{address}\"}}"
        ))
        .await;
    assert!(unconnected > 0.5, "the failed connection is counted");
    drop(two);
    eventually_async("no upstream is left", async || {
        client.get("/").await.status == StatusCode::BAD_GATEWAY
    })
    .await;
    assert_eq!(client.get("/").await.problem(), "upstream-failed");
}

#[tokio::test]
async fn an_unhealthy_upstream_gets_no_requests_until_it_recovers() {
    let healthy = Arc::new(AtomicBool::new(false));
    let respond = |healthy: Arc<AtomicBool>| {
        move |request: Request<Incoming>| {
            let healthy = Arc::clone(&healthy);
            async move {
                let status = if request.uri().path() != "/up" || healthy.load(Ordering::SeqCst) {
                    200
                } else {
                    500
                };
                Response::builder()
                    .status(status)
                    .header("x-path", request.uri().path())
                    .body(Body::empty())
                    .unwrap()
            }
        }
    };
    for protocol in ["http1", "http2"] {
        healthy.store(false, Ordering::SeqCst);
        let unhealthy = Upstream::start(respond(Arc::clone(&healthy))).await;
        let health = format!(
            "protocol: {protocol}, health: {{ path: /up, interval: 10ms, healthy_after: 2, \
             unhealthy_after: 2 }}"
        );
        let gateway = gateway(&[unhealthy.url()], &health).await;
        let mut client = gateway.client().await;
        eventually_async("no upstream is left", async || {
            client.get("/").await.status == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        assert_eq!(client.get("/").await.problem(), "no-upstream");
        let series = format!("sluice_upstream_healthy{{upstream=\"{}\"}}", unhealthy.url());
        assert!(gateway.metric(&series).await < 0.5);
        healthy.store(true, Ordering::SeqCst);
        eventually_async("the upstream is healthy again", async || {
            client.get("/").await.status == StatusCode::OK
        })
        .await;
        assert_eq!(client.get("/").await.header("x-path").as_deref(), Some("/"));
        assert!(gateway.metric(&series).await > 0.5);
    }
}
