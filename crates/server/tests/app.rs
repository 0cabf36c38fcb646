//! One replica in this process, over a real socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use sluice_config::{Loader, Settings};
use sluice_server::app::{App, RunError};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

struct Replica {
    app: App,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    Loader::new()
        .variables([("SLUICE__SHUTDOWN_DELAY", "0s")])
        .variables(variables.iter().copied())
        .load()
        .unwrap()
}

impl Replica {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let app = App::open(settings(variables)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = app.clone();
        let running =
            tokio::spawn(async move { running.run(listener, async { drop(stopped.await) }).await });
        Self { app, address, stop, running }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let io = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::get(path).header("host", "x").body(Full::<Bytes>::default()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn responses_are_counted_by_pattern_and_never_by_raw_path() {
    let replica =
        Replica::start(&[("SLUICE__DEFAULTS", "{ requests_per_minute: 1, burst_size: 1 }")]).await;
    let secret = "d41d8cd98f00b204e9800998ecf8427e";
    let path = format!("/files/{secret}/parts/17");
    let statuses = [replica.get(&path).await.0, replica.get("/files/18/parts/19").await.0];
    assert_eq!(statuses, [200, 429]);
    assert_eq!(replica.get("/denied-before-it-was-found").await.0, 429);
    replica.get("/api/v1/blueprints/7").await;
    replica.get("/a%2fb").await;
    let (status, metrics) = replica.get("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"http_requests_total{endpoint="/files/:id/parts/:id",method="GET",status="200"} 1"#,
        r#"http_requests_total{endpoint="/files/:id/parts/:id",method="GET",status="429"} 1"#,
        r#"http_requests_total{endpoint="other",method="GET",status="429"} 1"#,
        r#"http_requests_total{endpoint="other",method="GET",status="400"} 1"#,
        r#"http_requests_total{endpoint="/api/v1/blueprints",method="GET",status="200"} 1"#,
        r#"rate_limit_hits_total{endpoint="other"} 2"#,
        r#"sluice_decisions_total{limit="default",outcome="denied",source="store"} 2"#,
        r#"active_connections{kind="http",scope="replica"} "#,
    ] {
        assert!(metrics.lines().any(|known| known.starts_with(line)), "{line}\n{metrics}");
    }
    assert!(!metrics.contains(secret), "{metrics}");
    let (_, metrics) = replica.get("/metrics").await;
    let scrapes = r#"http_requests_total{endpoint="/metrics",method="GET",status="200"} 1"#;
    let lines: Vec<&str> = metrics.lines().filter(|line| line.ends_with(scrapes)).collect();
    assert_eq!(lines, [format!("sluice_{scrapes}")], "{metrics}");
}

#[tokio::test]
async fn requests_to_own_endpoints_are_not_among_those_to_the_api() {
    let replica = Replica::start(&[]).await;
    for path in ["/health", "/ready", "/v1/check", "/v1/no-such", "/v1/events", "/json"] {
        replica.get(path).await;
    }
    let (_, metrics) = replica.get("/metrics").await;
    let of_api = |line: &&str| line.starts_with("http_requests_total{");
    assert_eq!(metrics.lines().find(of_api), None);
    for line in [
        r#"sluice_http_requests_total{endpoint="/health",method="GET",status="200"} 1"#,
        r#"sluice_http_requests_total{endpoint="/v1/check",method="GET",status="405"} 1"#,
        r#"sluice_http_requests_total{endpoint="other",method="GET",status="404"} 1"#,
        r#"sluice_http_request_duration_seconds_count{endpoint="/v1/events",method="GET"} 1"#,
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn listed_endpoints_label_requests_and_change_with_the_configuration() {
    const LISTED: &str = "SLUICE__METRICS__ENDPOINTS";
    let replica = Replica::start(&[(LISTED, "/users/{name}")]).await;
    assert_eq!(replica.get("/users/ann").await.0, 200);
    replica.app.replace(settings(&[(LISTED, "/users/{name}/orders,/users")]));
    for path in ["/users/ann", "/users/ann/orders/17"] {
        assert_eq!(replica.get(path).await.0, 200);
    }
    let (_, metrics) = replica.get("/metrics").await;
    for endpoint in ["/users/{name}", "/users", "/users/{name}/orders"] {
        let line = format!(
            "http_requests_total{{endpoint=\"{endpoint}\",method=\"GET\",status=\"200\"}} 1"
        );
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_valid_configuration_is_activated_and_an_invalid_one_is_not() {
    let replica =
        Replica::start(&[("SLUICE__DEFAULTS", "{ requests_per_minute: 1, burst_size: 1 }")]).await;
    assert_eq!([replica.get("/").await.0, replica.get("/").await.0], [200, 429]);
    replica
        .app
        .reject(&Loader::new().variables([("SLUICE__DEFAULTS", "nothing")]).load().unwrap_err());
    assert_eq!(replica.get("/").await.0, 429);
    assert!(replica.get("/ready").await.1.contains(r#""status":"degraded""#));
    assert!(replica.get("/metrics").await.1.contains("\nsluice_config_refused 1\n"));
    replica.app.replace(settings(&[("SLUICE__DEFAULTS", "off")]));
    assert_eq!(replica.get("/").await.0, 200);
    let (_, metrics) = replica.get("/metrics").await;
    for line in [
        r#"sluice_config_reloads_total{result="applied"} 1"#,
        r#"sluice_config_reloads_total{result="refused"} 1"#,
        "\nsluice_config_refused 0\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn a_replica_stops_when_requested() {
    let replica = Replica::start(&[]).await;
    assert_eq!(replica.get("/health").await, (200, r#"{"status":"alive"}"#.to_owned()));
    replica.stop.send(()).unwrap();
    replica.running.await.unwrap().unwrap();
    assert!(TcpStream::connect(replica.address).await.is_err());
}
