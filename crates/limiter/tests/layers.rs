//! The layers in front of services: which requests pass, how the others are rejected, and what is
//! counted.

#[allow(dead_code, reason = "other tests use the rest")]
mod stores;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    extract::{ConnectInfo, MatchedPath},
    routing::{get, post},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use sluice::{
    Limiter, MemoryStore, MetricsLayer, Per, Policy, Rate, RateLimitLayer, Rule, Store, Telemetry,
    identify::Identifier,
    stats::{MemoryStats, Reporter, StatsCounters, Total},
};
use sluice_core::Timestamp;
use sluice_store::ManualClock;
use sluice_testkit::policies;
use tower::{Layer, Service, ServiceExt, service_fn};

type Body = Full<bytes::Bytes>;

/// The clock stands still, so that no tokens come back during a test.
fn memory() -> MemoryStore<ManualClock> {
    MemoryStore::with_clock(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)))
}

/// Identifies clients by a key, else by their address.
fn by_key() -> Identifier {
    let sources = ["header:x-api-key", "bearer", "ip"];
    Identifier::new(sources.map(|source| source.parse().expect("a source")).to_vec())
}

fn layer_over(store: impl Store + 'static) -> RateLimitLayer {
    let limiter = Limiter::builder(policies::document()).store(Arc::new(store)).build();
    RateLimitLayer::new(limiter).identifier(by_key())
}

fn layer() -> RateLimitLayer {
    layer_over(memory())
}

async fn hello<B>(_: Request<B>) -> Result<Response<Body>, Infallible> {
    Ok(Response::builder()
        .header("x-ratelimit-limit", "theirs")
        .body(Body::from("hello"))
        .expect("its parts are valid"))
}

fn request() -> http::request::Builder {
    Request::get("/orders").header("x-api-key", "alice")
}

fn empty(request: http::request::Builder) -> Request<Body> {
    request.body(Body::default()).expect("its parts are valid")
}

async fn json(
    response: Response<impl http_body::Body<Data = bytes::Bytes, Error = Infallible>>,
) -> serde_json::Value {
    let body = response.into_body().collect().await.expect("the body is complete").to_bytes();
    serde_json::from_slice(&body).expect("the body is JSON")
}

#[tokio::test]
async fn an_allowed_request_gets_the_response_of_the_service_and_the_fields() {
    let response = layer().layer(service_fn(hello)).oneshot(empty(request())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers()["x-ratelimit-limit"],
        "60",
        "the fields of the service are replaced"
    );
    assert_eq!(response.headers()["x-ratelimit-remaining"], "9");
    assert_eq!(response.headers()["ratelimit"], "\"default\";r=9;t=1");
    assert_eq!(response.headers().get("retry-after"), None);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn every_response_of_the_service_has_the_fields_whatever_its_status() {
    const FIELDS: [&str; 5] = [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "ratelimit-policy",
        "ratelimit",
    ];
    let telemetry = Telemetry::builder().build().unwrap();
    for status in [101, 204, 304, 404, 429, 500, 503] {
        let service = tower::ServiceBuilder::new()
            .layer(MetricsLayer::new(&telemetry.recorders().http))
            .layer(layer())
            .service(service_fn(move |_| {
                let response = Response::builder().status(status).body(Body::default());
                std::future::ready(Ok::<_, Infallible>(response.expect("its parts are valid")))
            }));
        let response = service.oneshot(empty(request())).await.unwrap();
        assert_eq!(response.status(), status);
        for name in FIELDS {
            assert!(response.headers().contains_key(name), "{status}: {name}");
        }
    }
    let exempt = layer().layer(service_fn(|_: Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::default())))
    }));
    let response = exempt.oneshot(empty(Request::get("/health"))).await.unwrap();
    for name in FIELDS {
        assert!(!response.headers().contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_denied_request_does_not_reach_the_service() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let service = layer().layer(service_fn(move |request| {
        counting.fetch_add(1, Ordering::Relaxed);
        hello::<Body>(request)
    }));
    for _ in 0..10 {
        assert_eq!(
            service.clone().oneshot(empty(request())).await.unwrap().status(),
            StatusCode::OK
        );
    }
    let denied = service.clone().oneshot(empty(request())).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 10);
    assert_eq!(denied.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(denied.headers()["retry-after"], "1");
    assert_eq!(denied.headers()["content-type"], "application/problem+json");
    let problem = json(denied).await;
    assert_eq!(problem["type"], "urn:sluice:problem:rate-limited");
    assert_eq!(problem["error"], "rate_limit_exceeded");
    assert_eq!(
        (&problem["retry_after"], &problem["limit"], &problem["window"]),
        (&1.into(), &60.into(), &60.into())
    );
    assert!(problem["message"].is_string());
    let other = Request::get("/orders").header("x-api-key", "bob");
    assert_eq!(service.oneshot(empty(other)).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_repeated_field_that_decides_is_rejected() {
    let per_org = Rule::new("per-org", "60/minute, burst 10".parse::<Rate>().expect("a rate"))
        .per(Per::Header("x-org".to_owned()));
    let policy = Policy::builder().limit(per_org).build().expect("a valid policy");
    let limiter = Limiter::builder(policy).store(Arc::new(memory())).build();
    let layer = RateLimitLayer::new(limiter).identifier(by_key());
    let twice = request().header("x-org", "random").header("x-org", "acme");
    let response = layer.layer(service_fn(hello)).oneshot(empty(twice)).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let detail = json(response).await["detail"].to_string();
    assert!(detail.contains("`x-org`") && !detail.contains("acme"), "{detail}");
    let once = empty(request().header("x-org", "acme"));
    let response = layer.layer(service_fn(hello)).oneshot(once).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-remaining"], "9", "nothing was taken before");
}

#[tokio::test]
async fn a_grpc_request_is_rejected_with_a_grpc_status() {
    let service = layer().layer(service_fn(hello));
    let grpc = || empty(request().header("content-type", "application/grpc"));
    for _ in 0..10 {
        service.clone().oneshot(grpc()).await.unwrap();
    }
    let denied = service.oneshot(grpc()).await.unwrap();
    assert_eq!(denied.status(), StatusCode::OK);
    assert_eq!(denied.headers()["content-type"], "application/grpc");
    assert_eq!(denied.headers()["retry-after"], "1");
    let status = tonic::Status::from_header_map(denied.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(status.message().contains("try again in 1 s"), "{}", status.message());
    assert!(denied.into_body().collect().await.unwrap().to_bytes().is_empty());

    let unavailable =
        layer_over(stores::Unavailable).layer(service_fn(hello)).oneshot(grpc()).await.unwrap();
    assert_eq!(
        tonic::Status::from_header_map(unavailable.headers()).unwrap().code(),
        tonic::Code::Unavailable
    );
}

#[tokio::test]
async fn the_problem_of_an_undecided_request_depends_on_the_cause() {
    let of = async |layer: RateLimitLayer, request| {
        let response = layer.layer(service_fn(hello)).oneshot(request).await.unwrap();
        (response.status().as_u16(), json(response).await["type"].as_str().unwrap().to_owned())
    };
    let unavailable = of(layer_over(stores::Unavailable), empty(request())).await;
    assert_eq!(unavailable, (503, "urn:sluice:problem:store-unavailable".to_owned()));
    let slash = of(layer(), empty(Request::get("/a%2Fb").header("x-api-key", "alice"))).await;
    assert_eq!(slash, (400, "urn:sluice:problem:invalid-request".to_owned()));
    let unknown = of(layer(), empty(Request::get("/orders"))).await;
    assert_eq!(unknown, (500, "urn:sluice:problem:client-unknown".to_owned()));
}

#[tokio::test]
async fn the_peer_is_found_in_the_extensions_or_by_a_closure() {
    #[derive(Clone)]
    struct Connection(IpAddr);
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let limit = layer();
    let with_closure = limit
        .clone()
        .peer(|extensions| extensions.get::<Connection>().map(|connection| connection.0));
    let from = |socket: bool| {
        let mut request = empty(Request::get("/orders"));
        if socket {
            request.extensions_mut().insert(SocketAddr::new(address, 9));
        } else {
            request.extensions_mut().insert(Connection(address));
        }
        request
    };
    let first = limit.layer(service_fn(hello)).oneshot(from(true)).await.unwrap();
    assert_eq!(first.headers()["x-ratelimit-remaining"], "9");
    let second = with_closure.layer(service_fn(hello)).oneshot(from(false)).await.unwrap();
    assert_eq!(
        second.headers()["x-ratelimit-remaining"],
        "8",
        "the same address is the same client"
    );
}

#[tokio::test]
async fn a_trusted_proxy_forwards_the_addresses_of_its_clients() {
    let identifier =
        Identifier::default().with_trusted_proxies(vec!["192.0.2.0/24".parse().unwrap()]);
    let service = layer()
        .identifier(identifier)
        .peer(|_| Some([192, 0, 2, 1].into()))
        .layer(service_fn(hello));
    for client in ["198.51.100.1", "198.51.100.2"] {
        let request = empty(Request::get("/orders").header("x-forwarded-for", client));
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["x-ratelimit-remaining"], "9", "{client}");
    }
}

/// Panics when it is called before `poll_ready` has returned ready. A clone must be polled again.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<Body>> for Strict {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called before it was ready");
        std::future::ready(Ok(Response::default()))
    }
}

#[tokio::test]
async fn the_service_that_was_polled_ready_is_the_one_called() {
    let mut service = layer().layer(Strict::default());
    for _ in 0..2 {
        let response = service.ready().await.unwrap().call(empty(request())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
}

/// An axum application with both layers, as a program would write it.
fn app(telemetry: &Telemetry) -> Router {
    let limiter = Limiter::builder(policies::document())
        .store(Arc::new(memory()))
        .recorders(telemetry.recorders())
        .build();
    let limit = RateLimitLayer::new(limiter);
    let measure = MetricsLayer::new(&telemetry.recorders().http)
        .endpoint(|extensions| extensions.get::<MatchedPath>().map(MatchedPath::as_str));
    Router::new()
        .route("/orders/{id}", get(async || "an order"))
        .route("/orders", post(async |body: String| body.len().to_string()))
        .layer(limit)
        .layer(measure)
}

fn shown(telemetry: &Telemetry, line: &str) -> bool {
    let text = telemetry.prometheus().render().expect("metrics can be rendered");
    text.lines().any(|shown| shown == line)
}

#[tokio::test]
async fn an_axum_application_is_limited_by_address_and_measured_by_route() {
    let telemetry = Telemetry::builder().build().unwrap();
    let app = app(&telemetry);
    let from = |address: [u8; 4], request: http::request::Builder, body: &'static str| {
        let mut request = request.body(axum::body::Body::from(body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 9))));
        app.clone().oneshot(request)
    };
    for id in 0..11 {
        let response =
            from([192, 0, 2, 1], Request::get(format!("/orders/{id}")), "").await.unwrap();
        let expected = if id < 10 { StatusCode::OK } else { StatusCode::TOO_MANY_REQUESTS };
        assert_eq!(response.status(), expected, "{id}");
    }
    let sum = from([192, 0, 2, 2], Request::post("/orders"), "0123456789").await.unwrap();
    assert_eq!(sum.into_body().collect().await.unwrap().to_bytes(), "10");

    assert!(shown(
        &telemetry,
        r#"http_requests_total{endpoint="/orders/{id}",method="GET",status="200"} 10"#
    ));
    assert!(shown(
        &telemetry,
        r#"http_requests_total{endpoint="/orders/{id}",method="GET",status="429"} 1"#
    ));
    assert!(shown(
        &telemetry,
        r#"http_requests_total{endpoint="/orders",method="POST",status="200"} 1"#
    ));
    assert!(shown(
        &telemetry,
        r#"http_request_size_bytes_sum{endpoint="/orders",method="POST"} 10"#
    ));
    assert!(shown(
        &telemetry,
        r#"http_response_size_bytes_sum{endpoint="/orders",method="POST"} 2"#
    ));
    assert!(shown(
        &telemetry,
        r#"http_request_duration_seconds_count{endpoint="/orders",method="POST"} 1"#
    ));
}

#[tokio::test]
async fn without_a_router_the_endpoint_is_that_of_the_policy() {
    let telemetry = Telemetry::builder().build().unwrap();
    let measure = MetricsLayer::new(&telemetry.recorders().http);
    let service = measure.layer(layer().layer(service_fn(hello)));
    for path in ["/api/v1/tools/execute", "/orders/7"] {
        service
            .clone()
            .oneshot(empty(Request::get(path).header("x-api-key", "alice")))
            .await
            .unwrap();
    }
    assert!(shown(
        &telemetry,
        r#"http_requests_total{endpoint="/api/v1/tools/execute",method="GET",status="200"} 1"#
    ));
    assert!(shown(
        &telemetry,
        r#"http_requests_total{endpoint="/orders/:id",method="GET",status="200"} 1"#
    ));
}

#[tokio::test]
async fn a_path_that_no_pattern_covers_is_folded_unless_it_may_not_exist() {
    let telemetry = Telemetry::builder().build().unwrap();
    let app = Router::new()
        .route("/users/{id}", get(async || "a user"))
        .layer(MetricsLayer::new(&telemetry.recorders().http));
    for path in ["/users/17", "/users/18", "/wp-login.php", "/phpmyadmin"] {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        drop(app.clone().oneshot(request).await.unwrap());
    }
    for line in [
        r#"http_requests_total{endpoint="/users/:id",method="GET",status="200"} 2"#,
        r#"http_requests_total{endpoint="other",method="GET",status="404"} 2"#,
        r#"http_request_duration_seconds_count{endpoint="/users/:id",method="GET"} 2"#,
    ] {
        assert!(shown(&telemetry, line), "{line}");
    }
}

#[tokio::test]
async fn a_response_is_counted_once_and_not_before_its_end() {
    let telemetry = Telemetry::builder().build().unwrap();
    let count = r#"http_requests_total{endpoint="/orders",method="GET",status="200"} 1"#;
    let service = MetricsLayer::new(&telemetry.recorders().http).layer(service_fn(hello));
    let response = service.oneshot(empty(request())).await.unwrap();
    assert!(!shown(&telemetry, count));
    let mut body = response.into_body();
    while body.frame().await.is_some() {}
    assert!(shown(&telemetry, count));
    drop(body);
    assert!(shown(&telemetry, count));
    assert!(shown(
        &telemetry,
        r#"http_response_size_bytes_sum{endpoint="/orders",method="GET"} 5"#
    ));
}

#[tokio::test]
async fn a_request_without_a_response_is_not_counted() {
    let telemetry = Telemetry::builder().build().unwrap();
    let failing = service_fn(async |_| Err::<Response<Body>, _>("broken"));
    let error = MetricsLayer::new(&telemetry.recorders().http)
        .layer(failing)
        .oneshot(empty(request()))
        .await
        .unwrap_err();
    assert_eq!(error, "broken");
    let text = telemetry.prometheus().render().unwrap();
    assert!(!text.lines().any(|line| line.starts_with("http_")), "{text}");
}

#[tokio::test]
async fn the_layers_fit_in_front_of_tonic() {
    let telemetry = Telemetry::builder().build().unwrap();
    let routes = tonic::service::Routes::new(tonic_service::Nothing).prepare();
    let service = MetricsLayer::new(&telemetry.recorders().http).layer(layer().layer(routes));
    let request = Request::post("/nothing.Nothing/Call")
        .header("content-type", "application/grpc")
        .header("x-api-key", "alice");
    let response =
        service.oneshot(request.body(tonic::body::Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-remaining"], "9");
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    assert_eq!(
        status.code(),
        tonic::Code::Unimplemented,
        "the service responds, and has no methods"
    );
}

/// A gRPC service without methods, written as generated code would be.
mod tonic_service {
    use super::*;

    #[derive(Clone)]
    pub(super) struct Nothing;

    impl tonic::server::NamedService for Nothing {
        const NAME: &'static str = "nothing.Nothing";
    }

    impl Service<Request<tonic::body::Body>> for Nothing {
        type Response = Response<tonic::body::Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<tonic::body::Body>) -> Self::Future {
            std::future::ready(Ok(tonic::Status::unimplemented("no methods").into_http()))
        }
    }
}

async fn failing_on_one_path<B>(request: Request<B>) -> Result<Response<Body>, Infallible> {
    let status =
        if request.uri().path() == "/broken" { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    Ok(Response::builder().status(status).body(Body::default()).expect("its parts are valid"))
}

#[tokio::test]
async fn responses_are_counted_in_the_stats_of_the_fleet() {
    let telemetry = Telemetry::builder().build().unwrap();
    let recorders = telemetry.recorders();
    let stats = StatsCounters::new(recorders);
    let reporter = Reporter::new(stats.clone(), Arc::new(MemoryStats::new()), "replica-1");
    let metrics = MetricsLayer::new(&recorders.http).stats(&stats);
    let limiter = Limiter::builder(policies::document())
        .store(Arc::new(memory()))
        .recorders(recorders)
        .stats(&stats)
        .build();
    let limit = RateLimitLayer::new(limiter).identifier(by_key());
    let service = metrics.layer(limit.layer(service_fn(failing_on_one_path)));
    // Ten of alice's requests pass and two are denied; bob's request passes, and fails.
    for path in ["/orders"; 11].into_iter().chain(["/broken"]) {
        let request = empty(Request::get(path).header("x-api-key", "alice"));
        drop(service.clone().oneshot(request).await.unwrap().into_body().collect().await);
    }
    drop(
        service
            .oneshot(empty(Request::get("/broken").header("x-api-key", "bob")))
            .await
            .unwrap()
            .into_body()
            .collect()
            .await,
    );

    let fleet = reporter.read().await.unwrap();
    let totals = [Total::HttpRequests, Total::HttpClientErrors, Total::HttpServerErrors]
        .map(|total| fleet.totals.get(total));
    assert_eq!(totals, [13, 2, 1]);
    let text = telemetry.prometheus().render().unwrap();
    assert!(
        text.contains(r#"http_requests_total{endpoint="/orders",method="GET",status="429"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn the_layer_finds_the_address_in_the_connect_info_of_axum() {
    let mut request = empty(Request::get("/orders"));
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 9))));
    let response = layer().layer(service_fn(hello)).oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-remaining"], "9");
}

#[tokio::test]
async fn a_closure_can_find_the_key_of_the_client() {
    let service =
        layer().key(|request| request.uri.query().map(ToOwned::to_owned)).layer(service_fn(hello));
    for (uri, remaining) in [("/a?alice", "9"), ("/a?bob", "9"), ("/b?alice", "8")] {
        let response = service.clone().oneshot(empty(Request::get(uri))).await.unwrap();
        assert_eq!(response.headers()["x-ratelimit-remaining"], remaining, "{uri}");
    }
}
