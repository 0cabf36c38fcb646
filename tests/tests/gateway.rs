//! The gateway from end to end: the program in front of an API, alone, in a fleet and behind nginx.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use sluice_testkit::{Proxy, ProxyKind, RedisServer, ReservedPort, Sluice, eventually_async};
use sluice_tests::{
    echo::{Echo, FIRST_EVENT, LAST_EVENT, OWN_LIMIT, STREAMS},
    fleet::{Fleet, MAX_TIMEOUT, memory_replica},
    http::{Client, Connection, Request, Response},
    through_proxy,
};

const SLUICE: &str = include_str!("../../deploy/examples/gateway/sluice.yaml");
const NGINX: &str = include_str!("../../deploy/examples/gateway/nginx.conf");

const LONG: Duration = Duration::from_secs(20);

fn before(api: SocketAddr, more: &str) -> String {
    format!("gateway: {{ upstream: \"http://{api}\" }}\n{more}")
}

async fn gateway(more: &str) -> (Sluice, Echo) {
    let api = Echo::start().await;
    (memory_replica(&before(api.address(), more)), api)
}

#[track_caller]
fn assert_passed(response: &Response) {
    assert_eq!(
        (response.status, &response.json()["target"]),
        (200, &json!("/orders?page=2")),
        "{response}"
    );
}

#[tokio::test]
async fn the_gateway_forwards_requests_and_responses_unchanged() {
    let (sluice, api) = gateway("").await;
    through_proxy::assert_that_events_arrive_as_they_are_sent(sluice.http_addr(), &api).await;
    through_proxy::assert_that_a_slow_api_is_waited_for(sluice.http_addr(), &api).await;
    through_proxy::assert_that_a_failing_api_gets_each_request_once(sluice.http_addr(), &api).await;
}

#[tokio::test]
async fn the_default_limits_protect_an_api_that_has_none() {
    let (sluice, api) = gateway("").await;
    let mut client = Client::of(sluice.http_addr());
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(client.get("/api/v1/conversation/chat-stream").await.status);
    }
    assert_eq!(statuses[..10], [200; 10]);
    let denied = client.get("/api/v1/conversation/chat-stream").await;
    assert_eq!((denied.status, denied.problem().as_deref()), (429, Some("rate-limited")));
    assert_eq!((denied.number("x-ratelimit-limit"), denied.number("retry-after")), (20, 3));
    let passed = statuses.iter().filter(|&&status| status == 200).count();
    assert_eq!(api.requests(), passed, "a denied request does not reach the API");

    let theirs = client.get(OWN_LIMIT).await;
    assert_eq!(
        theirs.header("ratelimit"),
        Some("\"default\";r=9;t=1"),
        "the API's own limit is not the client's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_of_a_fleet_share_one_limit() {
    let api = Echo::start().await;
    let fleet = Fleet::start(
        3,
        RedisServer::start(),
        MAX_TIMEOUT,
        &before(api.address(), "defaults: { rate: 1/day, burst: 40 }"),
    );
    let asking: Vec<_> = (0..30)
        .map(|number| {
            let address = fleet.addresses()[number % 3];
            tokio::spawn(async move {
                let mut client = Client::of(address);
                let mut passed = 0;
                for _ in 0..5 {
                    passed += usize::from(client.get("/orders").await.status == 200);
                }
                passed
            })
        })
        .collect();
    let mut passed = 0;
    for task in asking {
        passed += task.await.unwrap();
    }
    assert_eq!((passed, api.requests()), (40, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_behind_nginx_identifies_clients_and_streams() {
    let api = Echo::start().await;
    let (address, admin) = (ReservedPort::new(), ReservedPort::new());
    let placed = |file: &str, from: &str, to: &str| {
        assert_eq!(file.matches(from).count(), 1, "{from} is in the file once");
        file.replace(from, to)
    };
    let yaml = placed(SLUICE, "http://127.0.0.1:9000", &format!("http://{}", api.address()));
    let yaml = placed(&yaml, "127.0.0.1:9100", &format!("127.0.0.1:{}", admin.number()));
    let sluice = memory_replica(&format!(
        "{yaml}\ndefaults: {{ rate: 1/day, burst: 2 }}\nendpoints: {{ {STREAMS}: off }}"
    ));
    let config =
        placed(NGINX, "server 127.0.0.1:8000;", &format!("server {};", sluice.http_addr()));
    let config = placed(&config, "127.0.0.1:8080", &format!("127.0.0.1:{}", address.number()));
    let nginx =
        tokio::task::block_in_place(|| Proxy::start(ProxyKind::Nginx, &config, address, "/health"));

    let order = Request::get("/orders?page=2").header("x-forwarded-for", "203.0.113.9");
    for client in ["127.0.0.2", "127.0.0.3"] {
        let mut connection =
            Connection::open_from(client.parse().unwrap(), nginx.addr()).await.unwrap();
        for left in [1, 0] {
            let response = connection.send(&order).await.unwrap();
            assert_passed(&response);
            assert_eq!(response.number("x-ratelimit-remaining"), left, "{client}");
        }
        assert_eq!(
            connection.send(&order).await.unwrap().status,
            429,
            "{client} cannot hide behind an address of its own making"
        );
    }
    through_proxy::assert_that_events_arrive_as_they_are_sent(nginx.addr(), &api).await;
    let metrics = Client::of(([127, 0, 0, 1], admin.number()).into()).get("/metrics").await;
    assert!(metrics.text().contains("sluice_upstream_healthy{"), "{metrics}");
}

#[tokio::test]
async fn a_restarted_api_is_reached_again() {
    let address = ReservedPort::new();
    let address = SocketAddr::from(([127, 0, 0, 1], address.number()));
    let sluice = memory_replica(&before(address, ""));
    let mut client = Client::of(sluice.http_addr());
    let response = client.get("/orders?page=2").await;
    assert_eq!((response.status, response.problem().as_deref()), (502, Some("upstream-failed")));
    assert_eq!(client.get("/ready").await.status, 200, "it decides all the same");
    let api = Echo::at(address).await;
    assert_passed(&client.get("/orders?page=2").await);
    assert_eq!(api.requests(), 1);
}

#[tokio::test]
async fn on_shutdown_streams_end_and_no_request_is_forwarded_twice() {
    let (sluice, api) = gateway("shutdown_delay: 100ms").await;
    let mut stream = Connection::open(sluice.http_addr()).await.unwrap();
    stream.write(&Request::get(STREAMS).to_bytes()).await.unwrap();
    stream.receive_until(FIRST_EVENT.as_bytes()).await.unwrap();
    sluice.sigterm();
    eventually_async("new connections are refused", async || {
        Connection::open(sluice.http_addr()).await.is_err()
    })
    .await;
    assert!(sluice.is_running());
    api.send_last_event();
    stream.receive_until(LAST_EVENT.as_bytes()).await.unwrap();
    assert_eq!(sluice.wait_exit(LONG).code(), Some(0));
    assert_eq!(api.requests(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_leaves_its_http2_connections_loses_no_request() {
    // nginx leaves a connection with a GOAWAY after a number of requests.
    let port = ReservedPort::new();
    let upstream = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let config = format!(
        "server {{ listen {upstream}; http2 on; keepalive_requests 50; \
         location / {{ default_type text/plain; return 200 ok; }} }}"
    );
    let _nginx = tokio::task::block_in_place(|| Proxy::start(ProxyKind::Nginx, &config, port, "/"));
    let sluice = memory_replica(&format!(
        "gateway: {{ upstream: \"http://{upstream}\", protocol: http2 }}\ndefaults: off"
    ));
    let asking: Vec<_> = (0..32)
        .map(|_| {
            let address = sluice.http_addr();
            tokio::spawn(async move {
                let mut client = Client::of(address);
                let mut failed = 0;
                for _ in 0..100 {
                    failed += usize::from(client.get("/orders").await.status != 200);
                }
                failed
            })
        })
        .collect();
    let mut failed = 0;
    for task in asking {
        failed += task.await.unwrap();
    }
    assert_eq!(failed, 0);
}

#[tokio::test]
async fn requests_without_a_response_are_logged_with_their_cause_and_not_each() {
    let nowhere = ReservedPort::new();
    let sluice =
        memory_replica(&before(([127, 0, 0, 1], nowhere.number()).into(), "defaults: off"));
    let mut client = Client::of(sluice.http_addr());
    for _ in 0..200 {
        assert_eq!(client.get("/orders").await.status, 502);
    }
    let more = "more requests got no response from the upstream";
    eventually_async("the number of failures is logged", async || sluice.log().contains(more))
        .await;
    let log = sluice.log();
    let first = log.lines().find(|line| line.contains("a request got no response")).unwrap();
    assert!(first.contains(&nowhere.number().to_string()), "{first}");
    assert!(log.contains("cannot connect to the upstream"), "{log}");
    let lines = log.lines().filter(|line| line.contains("no response from the upstream")).count();
    assert!(lines < 100, "{lines} lines for 200 requests: {log}");
}
