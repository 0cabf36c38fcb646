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
    assert_eq!(upstreams.each_ref().map(Upstream::asked), [10, 10, 10]);
}

#[tokio::test]
async fn the_least_busy_upstream_is_chosen() {
    let slow = Upstream::start(async |_| std::future::pending::<Response<Body>>().await).await;
    let quick = Upstream::start(echo).await;
    let gateway = gateway(&[slow.url(), quick.url()], "").await;
    let mut waiting = gateway.client().await;
    let mut stuck = Vec::new();
    while slow.asked() == 0 {
        let asking = tokio::spawn(waiting.try_send(get("/").body(Body::empty()).unwrap()));
        eventually_async("somebody is asked", async || slow.asked() + quick.asked() > stuck.len())
            .await;
        stuck.push(asking);
        waiting = gateway.client().await;
    }
    let before = quick.asked();
    let mut client = gateway.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    assert_eq!((slow.asked(), quick.asked() - before), (1, 10));
}

#[tokio::test]
async fn no_request_is_lost_when_one_upstream_dies_and_all_fail_when_all_die() {
    let one = Upstream::start(echo).await;
    let two = Upstream::start(echo).await;
    let nowhere = ReservedPort::new();
    let gateway =
        gateway(&[one.url(), format!("http://127.0.0.1:{}", nowhere.number()), two.url()], "")
            .await;
    let mut client = gateway.client().await;
    for number in 0..12 {
        // A request with a body has to arrive complete at whichever upstream it reaches.
        let got = client.ask(post("/").body(Body::from(format!("body {number}"))).unwrap()).await;
        assert!(
            got.status == StatusCode::OK && got.text.ends_with(&format!("\n\nbody {number}")),
            "{got:?}"
        );
    }
    assert_eq!(one.asked() + two.asked(), 12);

    let address = one.address;
    drop(one);
    eventually_async("it is gone", async || tokio::net::TcpStream::connect(address).await.is_err())
        .await;
    let before = two.asked();
    let mut lost = 0;
    for _ in 0..10 {
        lost += usize::from(client.get("/").await.status != StatusCode::OK);
    }
    assert!(lost <= 1, "only what was under way when it died may be lost, and {lost} were");
    assert!(two.asked() - before >= 9);

    let dead = gateway
        .metric(&format!(
            "sluice_upstream_requests_total{{result=\"unconnected\",upstream=\"http://{address}\"}}"
        ))
        .await;
    assert!(dead > 0.5, "it is counted");
    drop(two);
    eventually_async("nobody is left", async || {
        client.get("/").await.status == StatusCode::BAD_GATEWAY
    })
    .await;
    assert_eq!(client.get("/").await.problem(), "upstream-failed");
}

#[tokio::test]
async fn an_unhealthy_upstream_gets_no_requests_until_it_recovers() {
    let well = Arc::new(AtomicBool::new(false));
    let answer = |well: Arc<AtomicBool>| {
        move |request: Request<Incoming>| {
            let well = Arc::clone(&well);
            async move {
                let status = if request.uri().path() != "/up" || well.load(Ordering::SeqCst) {
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
        well.store(false, Ordering::SeqCst);
        let sick = Upstream::start(answer(Arc::clone(&well))).await;
        let health = format!(
            "protocol: {protocol}, health: {{ path: /up, interval: 10ms, healthy_after: 2, \
             unhealthy_after: 2 }}"
        );
        let gateway = gateway(&[sick.url()], &health).await;
        let mut client = gateway.client().await;
        eventually_async("nobody is left", async || {
            client.get("/").await.status == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        assert_eq!(client.get("/").await.problem(), "no-upstream");
        let told = format!("sluice_upstream_healthy{{upstream=\"{}\"}}", sick.url());
        assert!(gateway.metric(&told).await < 0.5);
        well.store(true, Ordering::SeqCst);
        eventually_async("it is well again", async || {
            client.get("/").await.status == StatusCode::OK
        })
        .await;
        assert_eq!(client.get("/").await.header("x-path").as_deref(), Some("/"));
        assert!(gateway.metric(&told).await > 0.5);
    }
}
