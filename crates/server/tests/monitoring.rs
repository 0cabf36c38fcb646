//! The pages of `/monitoring`, over real sockets and a real Redis.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use http::{Request, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sluice_config::Loader;
use sluice_server::app::{App, Ports, RunError};
use sluice_testkit::{RedisServer, eventually_async};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

const STATS: &str = "/monitoring/rate-limit/stats";
const SUMMARY: &str = "/monitoring/metrics/summary";
const OVERVIEW: &str = "/monitoring/stats/overview";
const HEALTH: &str = "/monitoring/health/detailed";
/// A rate so low that no token is refilled during a test.
const SLOW_REFILL: (&str, &str) = ("SLUICE__DEFAULTS", "{ rate: 1/day, burst: 10 }");
const LONG_TIMEOUT: (&str, &str) = ("SLUICE__STORE__TIMEOUT", "5s");

struct Replica {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Replica {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let settings = Loader::new()
            .variables([("SLUICE__SHUTDOWN_DELAY", "0s")])
            .variables(variables.iter().copied())
            .load()
            .unwrap();
        let app = App::open(settings).unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = http.local_addr().unwrap();
        let admin = match app.admin() {
            Some(_) => Some(TcpListener::bind("127.0.0.1:0").await.unwrap()),
            None => None,
        };
        let admin_address = admin.as_ref().map(|admin| admin.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(async move {
            app.run(Ports { http, grpc: None, admin }, async { drop(stopped.await) }).await
        });
        Self { address, admin: admin_address, stop, running }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap();
    }

    /// Ends the replica without a last flush, like a crash.
    fn kill(self) {
        self.running.abort();
    }

    async fn get(&self, path: &str) -> Value {
        let (status, text) = get(self.address, path, None).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Checks a request of `client` to `path`, and returns whether it is allowed.
    async fn check(&self, client: &str, path: &str) -> bool {
        let body = json!({ "client": client, "path": path }).to_string();
        let (status, text) =
            send(self.address, Request::post("/v1/check"), "application/json", body).await;
        assert!(status == 200 || status == 429, "{text}");
        status == 200
    }

    async fn report(&self, events: &Value) {
        let (status, text) =
            send(self.address, Request::post("/v1/events"), "application/json", events.to_string())
                .await;
        assert_eq!(status, 202, "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["refused"], json!([]));
    }

    /// Returns the value of this series in the replica's metrics.
    async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = get(self.address, "/metrics", None).await;
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?.parse().ok()
    }
}

async fn get(address: SocketAddr, path: &str, authorization: Option<&str>) -> (u16, String) {
    let mut request = Request::get(path);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    send(address, request, "text/plain", String::new()).await
}

async fn send(
    address: SocketAddr,
    request: http::request::Builder,
    content_type: &str,
    body: String,
) -> (u16, String) {
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = request
        .header("host", "x")
        .header("content-type", content_type)
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    (
        status,
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec())
            .unwrap(),
    )
}

#[tokio::test]
async fn the_path_above_all_pages_lists_them() {
    let replica = Replica::start(&[]).await;
    let index = replica.get("/monitoring").await;
    assert_eq!(replica.get("/monitoring/").await, index);
    let paths = index["pages"].as_array().unwrap().iter().map(|page| page["path"].as_str());
    let paths: Vec<_> = paths.map(Option::unwrap).collect();
    for page in [STATS, SUMMARY, OVERVIEW, HEALTH] {
        assert!(paths.contains(&page), "{page} is not in {index}");
    }
    for path in paths {
        replica.get(path).await;
    }
    replica.stop().await;
}

#[tokio::test]
async fn the_pages_of_one_process_have_the_documented_members() {
    let replica = Replica::start(&[
        SLOW_REFILL,
        ("SLUICE__ENDPOINTS", "{ /api/v1/tools: { rate: 40/minute, burst: 10 }, /free: off }"),
    ])
    .await;
    for client in ["alice", "bob"] {
        let allowed = allowed(&replica, client, 12).await;
        assert_eq!(allowed, 10);
    }
    replica.check("carol", "/api/v1/tools/x").await;
    replica
        .report(&json!([
            { "type": "llm_request", "model": "qwen", "operation": "chat", "status": "success",
              "tokens_generated": 300, "tokens_consumed": 40 },
            { "type": "llm_request", "model": "qwen", "operation": "chat", "status": "failure",
              "tokens_generated": 600, "duration_seconds": 2 },
            { "type": "blueprint_operation", "operation": "create", "status": "success",
              "blueprint": "a", "resources": 8 },
            { "type": "blueprint_operation", "operation": "create", "status": "success",
              "blueprint": "b", "resources": 9 },
            { "type": "blueprint_validation", "errors": 12 },
            { "type": "deployment", "operation": "create", "phase": "start", "id": "d-1" },
            { "type": "tool_execution", "tool_name": "scale", "status": "success",
              "duration_seconds": 0.25 },
            { "type": "connections", "kind": "websocket", "count": 5 },
            { "type": "http_request", "method": "GET", "endpoint": "/orders/17", "status": 200,
              "duration_seconds": 0.25 },
            { "type": "http_request", "method": "GET", "endpoint": "/orders/18", "status": 503,
              "duration_seconds": 0.75 },
            { "type": "http_request", "method": "GET", "endpoint": "/health", "status": 200,
              "duration_seconds": 9 },
        ]))
        .await;

    let stats = replica.get(STATS).await;
    assert_eq!(
        (&stats["total_clients"], &stats["rate_limited_clients"]),
        (&json!(3), &json!(2)),
        "{stats}"
    );
    let other = json!({
        "limit": 10, "rate": "1/day, burst 10",
        "active_clients": 2, "total_requests": 24, "rejected_requests": 4,
    });
    assert_eq!(stats["endpoint_stats"]["other"], other);
    let tools = json!({
        "limit": 40, "rate": "40/minute, burst 10",
        "active_clients": 1, "total_requests": 1, "rejected_requests": 0,
    });
    assert_eq!(stats["endpoint_stats"]["/api/v1/tools"], tools);
    assert_eq!(
        stats["endpoint_stats"].get("/health"),
        None,
        "an endpoint that is not limited is not listed"
    );
    let top = stats["top_limited_clients"].as_array().unwrap();
    assert_eq!(
        top.iter().map(|client| client["rejected_requests"].as_u64().unwrap()).collect::<Vec<_>>(),
        [2, 2]
    );
    assert!(!stats.to_string().contains("alice"), "{stats}");

    let summary = replica.get(SUMMARY).await;
    assert_eq!(summary["llm"]["total_generations"], 2);
    assert_eq!(
        (&summary["llm"]["avg_tokens_per_request"], &summary["llm"]["total_tokens_generated"]),
        (&json!(450), &json!(900))
    );
    assert_eq!(summary["llm"]["avg_generation_ms"], 2_000);
    let blueprints = json!({
        "total_created": 2, "avg_resources": 8.5, "validation_errors": 12, "total_operations": 2,
    });
    assert_eq!(summary["blueprints"], blueprints);
    assert_eq!(summary["tools"], json!({ "total_executions": 1, "avg_duration_ms": 250 }));
    assert_eq!(summary["deployments"]["active"], 1);
    let http = &summary["http"];
    assert_eq!(
        (&http["total_requests"], &http["avg_latency_ms"], &http["error_rate"]),
        (&json!(2), &json!(500), &json!(0.5)),
        "requests to the API alone, and not to exempt paths: {summary}"
    );

    let overview = replica.get(OVERVIEW).await;
    assert_eq!(overview["fleet"]["replicas"], 1);
    assert_eq!(
        (&overview["active_deployments"], &overview["active_connections"]["websocket"]),
        (&json!(1), &json!(5))
    );
    assert_eq!(
        (
            &overview["rate_limiting"]["rejected_requests"],
            &overview["rate_limiting"]["rejection_rate"]
        ),
        (&json!(4), &json!(0.16))
    );

    let health = replica.get(HEALTH).await;
    assert_eq!(
        (&health["status"], &health["store"]["name"], &health["store"]["status"]),
        (&json!("ready"), &json!("memory"), &json!("up"))
    );
    assert!(health["store"]["latency_ms"].is_number() && health["breaker"].is_null(), "{health}");
    assert_eq!(
        (&health["configuration"]["version"], &health["configuration"]["last_reload_error"]),
        (&json!(1), &Value::Null)
    );
    let live = health["replicas"].as_array().unwrap();
    assert_eq!(
        (live.len(), &live[0]["this"], &live[0]["version"]),
        (1, &json!(true), &json!(env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(get(replica.address, "/monitoring/nothing", None).await.0, 404);
    replica.stop().await;
}

/// Sends `count` requests of `client`, and returns how many are allowed.
async fn allowed(replica: &Replica, client: &str, count: usize) -> usize {
    let mut allowed = 0;
    for _ in 0..count {
        allowed += usize::from(replica.check(client, "/").await);
    }
    allowed
}

#[tokio::test]
async fn every_replica_shows_the_whole_fleet_also_after_restarts() {
    let redis = RedisServer::start();
    let url = redis.url();
    let variables = [SLOW_REFILL, LONG_TIMEOUT, ("SLUICE__STORE__URL", url.as_str())];
    let [first, second] = [Replica::start(&variables).await, Replica::start(&variables).await];
    assert_eq!(allowed(&first, "alice", 7).await + allowed(&second, "alice", 7).await, 10);
    allowed(&second, "bob", 1).await;
    second
        .report(
            &json!({ "type": "deployment", "operation": "create", "phase": "start", "id": "d-1" }),
        )
        .await;
    eventually_async("both replicas show the fleet", async || {
        let mut same = true;
        for replica in [&first, &second] {
            let stats = replica.get(STATS).await;
            let other = &stats["endpoint_stats"]["other"];
            same &= stats["total_clients"] == 2 && stats["rate_limited_clients"] == 1;
            same &= other["total_requests"] == 15
                && other["rejected_requests"] == 4
                && other["active_clients"] == 2;
            same &= replica.get(OVERVIEW).await["fleet"]["replicas"] == 2;
            same &= replica.metric("active_deployments").await == Some(1.0);
        }
        same
    })
    .await;
    let live = first.get(HEALTH).await["replicas"].as_array().unwrap().len();
    assert_eq!(live, 2);
    eventually_async("connections to the store are counted", async || {
        let own = first.metric(r#"database_connections{scope="replica"}"#).await;
        own > Some(0.0) && first.get(OVERVIEW).await["database_connections"].as_f64() > own
    })
    .await;

    // A replica that stops flushes what it has just counted.
    allowed(&second, "carol", 1).await;
    second.stop().await;
    eventually_async("the last flush was added", async || {
        first.get(STATS).await["total_requests"] == 16
    })
    .await;
    eventually_async("the stopped replica is no longer listed", async || {
        first.get(OVERVIEW).await["fleet"]["replicas"] == 1
    })
    .await;
    first.kill();
    let third = Replica::start(&variables).await;
    let stats = third.get(STATS).await;
    assert_eq!(
        (&stats["total_requests"], &stats["rejected_requests"], &stats["total_clients"]),
        (&json!(16), &json!(4), &json!(3)),
        "{stats}"
    );
    third
        .report(&json!({
            "type": "deployment", "operation": "create", "phase": "finish", "id": "d-1",
            "status": "success",
        }))
        .await;
    eventually_async("the deployment is no longer active", async || {
        third.get(OVERVIEW).await["active_deployments"] == 0
    })
    .await;
}

#[tokio::test]
async fn counts_of_an_outage_are_flushed_after_it() {
    let redis = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = redis.url();
    let replica = Replica::start(&[
        SLOW_REFILL,
        ("SLUICE__STORE__TIMEOUT", "100ms"),
        ("SLUICE__STORE__URL", url.as_str()),
    ])
    .await;
    replica.report(&json!({ "type": "blueprint_validation", "errors": 1 })).await;
    eventually_async("the page is available", async || {
        get(replica.address, SUMMARY, None).await.0 == 200
    })
    .await;
    redis.kill();
    replica.report(&json!({ "type": "blueprint_validation", "errors": 2 })).await;
    eventually_async("the page reports that the store is unavailable", async || {
        let (status, text) = get(replica.address, SUMMARY, None).await;
        status == 503 && text.contains("urn:sluice:problem:store-unavailable")
    })
    .await;
    let health = replica.get(HEALTH).await;
    assert_eq!(
        (&health["status"], &health["store"]["status"]),
        (&json!("degraded"), &json!("away")),
        "{health}"
    );
    assert!(
        health["store"]["latency_ms"].is_null() && health["figures"]["error"].is_string(),
        "{health}"
    );
    assert_eq!(health["replicas"].as_array().unwrap().len(), 1);
    redis.restart();
    eventually_async("the counts of the outage are flushed", async || {
        let (status, text) = get(replica.address, SUMMARY, None).await;
        status == 200
            && serde_json::from_str::<Value>(&text).unwrap()["blueprints"]["validation_errors"] == 3
    })
    .await;
    replica.stop().await;
}

#[tokio::test]
async fn the_admin_port_serves_metrics_and_monitoring_to_authorized_clients_only() {
    let replica = Replica::start(&[
        ("SLUICE__ADMIN__LISTEN", "127.0.0.1:0"),
        ("SLUICE__ADMIN__BEARER__TOKEN", "t0ken"),
        ("SLUICE__ADMIN__BASIC__USER", "prometheus"),
        ("SLUICE__ADMIN__BASIC__PASSWORD", "secret"),
    ])
    .await;
    let admin = replica.admin.unwrap();
    for path in ["/metrics", STATS, SUMMARY, OVERVIEW, HEALTH] {
        assert_eq!(get(replica.address, path, Some("Bearer t0ken")).await.0, 404, "{path}");
        assert_eq!(get(admin, path, None).await.0, 401, "{path}");
        assert_eq!(get(admin, path, Some("Bearer token")).await.0, 401, "{path}");
        assert_eq!(get(admin, path, Some("Bearer t0ken")).await.0, 200, "{path}");
        // `prometheus:secret`
        assert_eq!(get(admin, path, Some("Basic cHJvbWV0aGV1czpzZWNyZXQ=")).await.0, 200, "{path}");
    }
    for address in [admin, replica.address] {
        assert_eq!(get(address, "/health", None).await.0, 200);
        assert_eq!(get(address, "/ready", None).await.0, 200);
    }
    assert_eq!(
        get(admin, "/", Some("Bearer t0ken")).await.0,
        404,
        "the admin port does not decide about other paths"
    );
    assert_eq!(get(replica.address, "/", None).await.0, 200);
    replica.stop().await;
}

#[tokio::test]
async fn counts_equal_those_of_the_client_exactly() {
    let redis = RedisServer::start();
    let url = redis.url();
    let variables = [SLOW_REFILL, LONG_TIMEOUT, ("SLUICE__STORE__URL", url.as_str())];
    let replicas = [Replica::start(&variables).await, Replica::start(&variables).await];
    let (mut passed, mut denied) = (0.0, 0.0);
    for round in 0..40 {
        let client = format!("client-{}", round % 3);
        if replicas[round % 2].check(&client, "/").await { passed += 1.0 } else { denied += 1.0 }
    }
    assert!(passed > 0.0 && denied > 0.0);
    let mut counted = [0.0; 4];
    for replica in &replicas {
        for (sum, series) in counted.iter_mut().zip([
            r#"sluice_http_requests_total{endpoint="/v1/check",method="POST",status="200"}"#,
            r#"sluice_http_requests_total{endpoint="/v1/check",method="POST",status="429"}"#,
            r#"sluice_decisions_total{limit="default",outcome="allowed",source="store"}"#,
            r#"rate_limit_hits_total{endpoint="other"}"#,
        ]) {
            *sum += replica.metric(series).await.unwrap_or(0.0);
        }
    }
    assert_eq!(
        counted.map(|count| count.to_string()),
        [passed, denied, passed, denied].map(|count: f64| count.to_string())
    );
    eventually_async("the fleet has the same counts", async || {
        let stats = replicas[0].get(STATS).await;
        stats["total_requests"] == 40 && stats["rejected_requests"].as_f64() == Some(denied)
    })
    .await;
}
