//! `examples/python`: the middleware in front of a Python application, on a real server.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::{net::IpAddr, path::Path, time::Duration};

use serde_json::json;
use sluice_testkit::{AsgiApp, ReservedPort, Sluice, eventually_async};
use sluice_tests::{
    fleet::memory_replica,
    http::{Client, Connection, Request, Response},
    metrics::Metrics,
};
use tokio::task::JoinSet;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python");
/// A path without a limit.
const EXEMPT: &str = "/health";
const ON_EVERY_ANSWER: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
];
/// A timeout in seconds that even a busy machine does not exceed.
const LONG_TIMEOUT: (&str, &str) = ("SLUICE_TIMEOUT", "60");
/// Identifies clients by their keys.
const BY_KEY: (&str, &str) = ("SLUICE_KEYS_ARE_VERIFIED", "1");

/// Starts the example's application and its own Sluice.
fn start(limits: &str, env: &[(&str, &str)]) -> (Sluice, AsgiApp) {
    let sluice = memory_replica(limits);
    let url = sluice.url("/");
    let app = tokio::task::block_in_place(|| {
        AsgiApp::start(Path::new(EXAMPLE), &[&[("SLUICE_URL", url.as_str())], env].concat(), EXEMPT)
    });
    (sluice, app)
}

/// A request of `alice`, with a body.
fn order() -> Request {
    Request::post("/orders?page=2", &json!({ "item": "book" })).header("x-api-key", "alice")
}

#[track_caller]
fn assert_passed(response: &Response) {
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(
        response.json(),
        json!({ "method": "POST", "target": "/orders?page=2", "body": "{\"item\":\"book\"}" })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_reach_the_application_until_the_limit_is_spent() {
    let (sluice, app) = start("defaults: { rate: 10/day, burst: 3 }", &[LONG_TIMEOUT, BY_KEY]);
    let mut client = Client::of(app.addr());
    for left in [2, 1] {
        let allowed = client.send(&order()).await;
        assert_passed(&allowed);
        assert_eq!(allowed.number("x-ratelimit-remaining"), left);
        for name in ON_EVERY_ANSWER {
            assert!(allowed.header(name).is_some(), "{name}: {allowed}");
        }
    }
    let behind_a_proxy = Request::get("/v1/forward-auth")
        .header("x-api-key", "alice")
        .header("x-forwarded-uri", "/orders");
    assert_eq!(
        Client::of(sluice.http_addr()).send(&behind_a_proxy).await.number("x-ratelimit-remaining"),
        0,
        "one client, one bucket"
    );

    let denied = client.send(&order()).await;
    assert_eq!(
        (denied.status, denied.problem().as_deref()),
        (429, Some("rate-limited")),
        "{denied}"
    );
    assert!((1..=8640).contains(&denied.number("retry-after")), "a tenth of a day: {denied}");
    for name in ON_EVERY_ANSWER {
        assert!(denied.header(name).is_some(), "{name}: {denied}");
    }

    let bearer = Request::get("/orders").header("authorization", "Bearer bob");
    assert_eq!(
        client.send(&bearer).await.number("x-ratelimit-remaining"),
        2,
        "another client, another bucket"
    );
    let unreadable = client.send(&Request::get("/a%2fb")).await;
    assert_eq!(
        (unreadable.status, unreadable.problem().as_deref()),
        (400, Some("invalid-request")),
        "{unreadable}"
    );
    let exempt = client.get(EXEMPT).await;
    assert_eq!((exempt.status, exempt.header("x-ratelimit-limit")), (200, None), "{exempt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_an_invented_key_is_no_new_client_and_a_repeated_one_is_refused() {
    let limits = "defaults: { rate: 10/day, burst: 3 }";
    let (_sluice, app) = start(limits, &[LONG_TIMEOUT]);
    let mut client = Client::of(app.addr());
    let mut statuses = Vec::new();
    for number in 0..6 {
        let request = Request::get("/orders").header("x-api-key", &format!("invented-{number}"));
        statuses.push(client.send(&request).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);

    let (_sluice, app) = start(limits, &[LONG_TIMEOUT, BY_KEY]);
    let mut client = Client::of(app.addr());
    let two = Request::get("/orders").header("x-api-key", "a").header("x-api-key", "b");
    let refused = client.send(&two).await;
    assert_eq!((refused.status, refused.problem().as_deref()), (400, Some("invalid-request")));
    let equal = Request::get("/orders").header("x-api-key", "a").header("x-api-key", "a");
    assert_eq!(client.send(&equal).await.number("x-ratelimit-remaining"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_get_exactly_the_limit_and_forged_addresses_no_more() {
    const BURST: usize = 30;
    let (_sluice, app) =
        start(&format!("defaults: {{ rate: 1/day, burst: {BURST} }}"), &[LONG_TIMEOUT]);
    let mut load = JoinSet::new();
    for member in 0..6 {
        let server = app.addr();
        load.spawn(async move {
            let mut connection =
                Connection::open_from("127.0.0.2".parse::<IpAddr>().unwrap(), server)
                    .await
                    .unwrap();
            let mut statuses = Vec::new();
            for turn in 0..10 {
                let forged = format!("192.0.2.{}", member * 10 + turn);
                statuses.push(
                    connection
                        .send(&Request::get("/orders").header("x-forwarded-for", &forged))
                        .await
                        .unwrap()
                        .status,
                );
            }
            statuses
        });
    }
    let statuses = load.join_all().await.concat();
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!((count(200), count(429)), (BURST, 60 - BURST));
}

/// Returns the requests to the API that Sluice has counted with these labels.
async fn counted(sluice: &Sluice, labels: &[(&str, &str)]) -> u64 {
    let metrics = Metrics::of(&mut Client::of(sluice.http_addr())).await;
    metrics.count("http_requests_total", labels)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_is_reported_by_the_route_that_matched() {
    let limits = "defaults: { rate: 1/day, burst: 6 }\n\
                  endpoints: { /shop/orders: { rate: 1/day, burst: 2 } }";
    let (sluice, app) = start(limits, &[LONG_TIMEOUT]);
    let mut client = Client::of(app.addr());
    for (path, status) in [
        ("/shop/orders/17/items", 200),
        ("/shop/orders/18/items?page=2", 200),
        ("/shop/orders/19/items", 429),
        ("/stock/items/17", 200),
    ] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
    assert_passed(&client.send(&order()).await);
    // The server closes the connection after a failure.
    assert_eq!(client.get("/failing").await.status, 500);
    for (endpoint, method, status, count) in [
        // A limit's pattern covers the pattern of the route, and the path of a denied request.
        ("/shop/orders", "GET", "200", 2),
        ("/shop/orders", "GET", "429", 1),
        ("/stock/items/{id}", "GET", "200", 1),
        ("/{path}", "POST", "200", 1),
        ("/failing", "GET", "500", 1),
    ] {
        let labels = [("endpoint", endpoint), ("method", method), ("status", status)];
        eventually_async(endpoint, async || {
            let found = counted(&sluice, &labels).await;
            if found == count { Ok(()) } else { Err(format!("{labels:?}: {found}")) }
        })
        .await;
    }
    let metrics = Metrics::of(&mut Client::of(sluice.http_addr())).await;
    let posts = [("endpoint", "/{path}"), ("method", "POST")];
    let sent = order().to_bytes();
    let body = sent.split(|byte| *byte == b'\n').next_back().unwrap().len();
    assert_eq!(metrics.count("http_request_size_bytes_sum", &posts), body as u64);
    assert!(metrics.count("http_response_size_bytes_sum", &posts) > body as u64);
    assert_eq!(metrics.count("http_request_duration_seconds_count", &posts), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_responses_are_reported_at_shutdown_and_none_behind_a_gateway() {
    let limits = "defaults: { rate: 1/day, burst: 1000 }";
    for (env, expected) in [(vec![], 20), (vec![("SLUICE_IS_IN_FRONT", "1")], 0)] {
        let (sluice, app) = start(limits, &[vec![LONG_TIMEOUT], env].concat());
        let mut client = Client::of(app.addr());
        for _ in 0..20 {
            assert_passed(&client.send(&order()).await);
        }
        drop(client);
        tokio::task::block_in_place(|| app.stop());
        assert_eq!(counted(&sluice, &[("method", "POST")]).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_are_reported_once_sluice_can_be_reached_again() {
    let limits = "defaults: { rate: 1/day, burst: 1000 }";
    let (sluice, app) = start(limits, &[("SLUICE_ON_FAILURE", "allow")]);
    sluice.sigkill();
    let _ended = sluice.wait_exit(Duration::from_secs(10));
    let mut client = Client::of(app.addr());
    for _ in 0..20 {
        assert_passed(&client.send(&order()).await);
    }
    sluice.restart();
    eventually_async("the responses of the outage are counted", async || {
        let count = counted(&sluice, &[("method", "POST"), ("status", "200")]).await;
        if count == 20 { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}

/// Makes Sluice unavailable in three ways, one after the other, and calls `check` with every
/// response of that time.
async fn while_sluice_is_unavailable(on_failure: &str, check: fn(&Response)) {
    let limits = "defaults: { rate: 1/day, burst: 1 }";
    let (sluice, app) = start(limits, &[("SLUICE_ON_FAILURE", on_failure)]);
    let send = async || Client::of(app.addr()).send(&order()).await;
    let decided = async || send().await.status == 429;
    eventually_async("the limit is spent", decided).await;

    sluice.pause();
    eventually_async("Sluice hangs", async || !decided().await).await;
    check(&send().await);
    sluice.resume();
    eventually_async("Sluice decides again after it hung", decided).await;

    sluice.sigkill();
    let _ended = sluice.wait_exit(Duration::from_secs(10));
    check(&send().await);

    let no_redis = ReservedPort::new();
    sluice.rewrite_config(&format!(
        "{limits}\nstore: {{ url: \"redis://127.0.0.1:{}\", on_failure: error }}",
        no_redis.number()
    ));
    sluice.restart();
    check(&send().await);

    sluice.rewrite_config(limits);
    sluice.restart();
    eventually_async("a restarted Sluice decides again", decided).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_pass_while_sluice_is_down() {
    while_sluice_is_unavailable("allow", assert_passed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_rejected_while_sluice_is_down_if_so_chosen() {
    while_sluice_is_unavailable("deny", |response| {
        assert_eq!(
            (response.status, response.problem().as_deref()),
            (503, Some("store-unavailable")),
            "{response}"
        );
    })
    .await;
}
