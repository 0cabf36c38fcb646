//! The gateway from end to end: the built program before an API, alone, in a fleet, and behind
//! nginx.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use sluice_testkit::{Proxy, ProxyKind, RedisServer, ReservedPort, Sluice, eventually_async};
use sluice_tests::{
    behind,
    echo::{Echo, FIRST_EVENT, LAST_EVENT, OWN_LIMIT, STREAMS},
    fleet::{Fleet, STOIC, alone},
    http::{Answer, Client, Connection, Request},
};

const SLUICE: &str = include_str!("../../deploy/examples/gateway/sluice.yaml");
const NGINX: &str = include_str!("../../deploy/examples/gateway/nginx.conf");

const LONG: Duration = Duration::from_secs(20);

fn before(api: SocketAddr, more: &str) -> String {
    format!("gateway: {{ upstream: \"http://{api}\" }}\n{more}")
}

async fn gateway(more: &str) -> (Sluice, Echo) {
    let api = Echo::start().await;
    (alone(&before(api.address(), more)), api)
}

#[track_caller]
fn assert_passed(answer: &Answer) {
    assert_eq!(
        (answer.status, &answer.json()["target"]),
        (200, &json!("/orders?page=2")),
        "{answer}"
    );
}

#[tokio::test]
async fn an_api_behind_it_is_as_without_it() {
    let (sluice, api) = gateway("").await;
    behind::assert_that_events_arrive_as_they_are_sent(sluice.http_addr(), &api).await;
    behind::assert_that_a_slow_api_is_waited_for(sluice.http_addr(), &api).await;
    behind::assert_that_an_api_that_fails_is_asked_once(sluice.http_addr(), &api).await;
}

#[tokio::test]
async fn the_document_is_obeyed_before_an_api_that_knows_nothing_of_it() {
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
    assert_eq!(api.asked(), passed, "what was denied has reached nobody");

    let theirs = client.get(OWN_LIMIT).await;
    assert_eq!(
        theirs.header("ratelimit"),
        Some("\"default\";r=9;t=1"),
        "the API's own limit is not the client's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_of_a_fleet_let_exactly_one_limit_through() {
    let api = Echo::start().await;
    let fleet = Fleet::start(
        3,
        RedisServer::start(),
        STOIC,
        &before(api.address(), "defaults: { rate: 1/day, burst: 40 }"),
    );
    let asking: Vec<_> = (0..30)
        .map(|number| {
            let door = fleet.addresses()[number % 3];
            tokio::spawn(async move {
                let mut client = Client::of(door);
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
    assert_eq!((passed, api.asked()), (40, 40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_with_nginx_before_it_tells_clients_apart_and_streams() {
    let api = Echo::start().await;
    let (door, admin) = (ReservedPort::new(), ReservedPort::new());
    let placed = |file: &str, from: &str, to: &str| {
        assert_eq!(file.matches(from).count(), 1, "{from} is in the file once");
        file.replace(from, to)
    };
    let yaml = placed(SLUICE, "http://127.0.0.1:9000", &format!("http://{}", api.address()));
    let yaml = placed(&yaml, "127.0.0.1:9100", &format!("127.0.0.1:{}", admin.number()));
    let sluice = alone(&format!(
        "{yaml}\ndefaults: {{ rate: 1/day, burst: 2 }}\nendpoints: {{ {STREAMS}: off }}"
    ));
    let config =
        placed(NGINX, "server 127.0.0.1:8000;", &format!("server {};", sluice.http_addr()));
    let config = placed(&config, "127.0.0.1:8080", &format!("127.0.0.1:{}", door.number()));
    let nginx =
        tokio::task::block_in_place(|| Proxy::start(ProxyKind::Nginx, &config, door, "/health"));

    let order = Request::get("/orders?page=2").header("x-forwarded-for", "203.0.113.9");
    for client in ["127.0.0.2", "127.0.0.3"] {
        let mut connection =
            Connection::open_from(client.parse().unwrap(), nginx.addr()).await.unwrap();
        for left in [1, 0] {
            let answer = connection.ask(&order).await.unwrap();
            assert_passed(&answer);
            assert_eq!(answer.number("x-ratelimit-remaining"), left, "{client}");
        }
        assert_eq!(
            connection.ask(&order).await.unwrap().status,
            429,
            "{client} cannot hide behind an address of its own making"
        );
    }
    behind::assert_that_events_arrive_as_they_are_sent(nginx.addr(), &api).await;
    let metrics = Client::of(([127, 0, 0, 1], admin.number()).into()).get("/metrics").await;
    assert!(metrics.text().contains("sluice_upstream_healthy{"), "{metrics}");
}

#[tokio::test]
async fn an_api_that_is_restarted_is_found_again() {
    let door = ReservedPort::new();
    let address = SocketAddr::from(([127, 0, 0, 1], door.number()));
    let sluice = alone(&before(address, ""));
    let mut client = Client::of(sluice.http_addr());
    let answer = client.get("/orders?page=2").await;
    assert_eq!((answer.status, answer.problem().as_deref()), (502, Some("upstream-failed")));
    assert_eq!(client.get("/ready").await.status, 200, "it decides all the same");
    let api = Echo::at(address).await;
    assert_passed(&client.get("/orders?page=2").await);
    assert_eq!(api.asked(), 1);
}

#[tokio::test]
async fn a_stop_lets_streams_end_and_hands_nothing_on_twice() {
    let (sluice, api) = gateway("shutdown_delay: 100ms").await;
    let mut stream = Connection::open(sluice.http_addr()).await.unwrap();
    stream.send(&Request::get(STREAMS).to_bytes()).await.unwrap();
    stream.receive_until(FIRST_EVENT.as_bytes()).await.unwrap();
    sluice.sigterm();
    eventually_async("nobody is let in any more", async || {
        Connection::open(sluice.http_addr()).await.is_err()
    })
    .await;
    assert!(sluice.is_running());
    api.go_on();
    stream.receive_until(LAST_EVENT.as_bytes()).await.unwrap();
    assert_eq!(sluice.wait_exit(LONG).code(), Some(0));
    assert_eq!(api.asked(), 1);
}
