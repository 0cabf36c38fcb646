//! Responses that take long.

use std::time::Duration;

use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    echo::{BREAKS_OFF, Echo, FAILS, HANGS_UP},
    fleet::{Fleet, MAX_TIMEOUT, memory_replica},
    http::{Client, Connection, Request},
    metrics::Metrics,
};

use crate::setting::{Stream, asks, before, frees_a_slot, stream_of, two_at_a_time};

#[tokio::test]
async fn slots_are_held_to_the_last_byte_and_the_next_request_is_denied() {
    let api = Echo::start().await;
    let sluice = memory_replica(&before(api.address(), &two_at_a_time("1s", "")));
    let first = Stream::begin(sluice.http_addr()).await;
    let second = Stream::begin(sluice.http_addr()).await;
    let denied = asks(sluice.http_addr()).await;
    assert_eq!((denied.status, denied.problem().as_deref()), (429, Some("rate-limited")));
    assert_eq!((denied.number("retry-after"), denied.number("x-ratelimit-limit")), (1, 2));
    assert_eq!(denied.number("x-ratelimit-remaining"), 0);
    assert_eq!(denied.header("x-ratelimit-reset"), None, "nobody knows when a stream ends");
    let mut client = Client::of(sluice.http_addr());
    let other = Request::get("/orders").header("x-api-key", "bob");
    assert_eq!(client.send(&other).await.status, 200, "another client has slots of its own");

    let held = |metrics: Metrics| metrics.count("sluice_slots_held", &[("limit", "streams")]);
    assert_eq!(held(Metrics::of(&mut client).await), 2);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(asks(sluice.http_addr()).await.status, 429, "their slots are renewed");

    first.end(&api).await;
    frees_a_slot(sluice.http_addr()).await;
    second.end(&api).await;
    frees_a_slot(sluice.http_addr()).await;
    assert_eq!(held(Metrics::of(&mut client).await), 0);
}

#[tokio::test]
async fn a_client_that_goes_and_an_api_that_fails_leave_no_slot_behind() {
    let api = Echo::start().await;
    let sluice = memory_replica(&before(api.address(), &two_at_a_time("1h", "")));
    let _first = Stream::begin(sluice.http_addr()).await;
    for path in [HANGS_UP, BREAKS_OFF, FAILS, "/orders"] {
        for _ in 0..3 {
            eventually_async("the slot of the request before is free", async || {
                let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
                let request = Request::get(path).header("x-api-key", "alice");
                // A response that breaks off is none.
                let response = connection.send(&request).await.map(|response| response.status);
                if response.is_ok_and(|status| status == 429) { Err(path) } else { Ok(()) }
            })
            .await;
        }
    }
    frees_a_slot(sluice.http_addr()).await;
    let second = Stream::begin(sluice.http_addr()).await;
    assert_eq!(asks(sluice.http_addr()).await.status, 429);
    drop(second);
    frees_a_slot(sluice.http_addr()).await;
}

#[tokio::test]
async fn replicas_share_the_slots() {
    let api = Echo::start().await;
    let limits = before(api.address(), &two_at_a_time("1s", ""));
    let fleet = Fleet::start(2, RedisServer::start(), MAX_TIMEOUT, &limits);
    let [one, two] = [0, 1].map(|index| fleet.addresses()[index]);
    let first = Stream::begin(one).await;
    let _second = Stream::begin(two).await;
    for _ in 0..10 {
        for replica in [one, two] {
            assert_eq!(asks(replica).await.status, 429);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    first.end(&api).await;
    frees_a_slot(one).await;
    frees_a_slot(two).await;
}

#[tokio::test]
async fn a_check_of_another_program_takes_no_slot() {
    let api = Echo::start().await;
    let sluice = memory_replica(&before(api.address(), &two_at_a_time("1h", "")));
    let mut client = Client::of(sluice.http_addr());
    for _ in 0..4 {
        let check = serde_json::json!({ "client": "alice", "method": "GET", "path": "/streams" });
        assert_eq!(client.post("/v1/check", &check).await.status, 200);
    }
    let mut connection = Connection::open(sluice.http_addr()).await.unwrap();
    connection.write(&stream_of("alice").to_bytes()).await.unwrap();
    assert_eq!(connection.response_head().await.unwrap().status, 200);
}
