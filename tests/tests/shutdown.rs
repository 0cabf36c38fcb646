//! SIGTERM: a replica becomes unready, finishes the requests in flight, and loses none.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use std::time::Duration;

use serde_json::json;
use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{
    audit::Audit,
    buckets,
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Connection, Request},
    load::Load,
    metrics::Metrics,
};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_stopping_replica_is_not_ready_and_still_decides() {
    let sluice = memory_replica("shutdown_delay: 4s");
    let mut client = Client::of(sluice.http_addr());
    assert_eq!(client.get("/ready").await.status, 200);
    sluice.sigterm();
    let response = eventually_async("readiness fails", async || {
        let response = client.get("/ready").await;
        if response.status == 503 { Ok(response) } else { Err(response.to_string()) }
    })
    .await;
    assert_eq!(response.json()["status"], "stopping");
    assert_eq!(client.get("/health").await.status, 200);
    let response = client.get("/").await;
    assert_eq!(
        (response.status, response.header("connection")),
        (200, Some("close")),
        "a load balancer that has not noticed yet gets a response"
    );
    assert_eq!(sluice.wait_exit(LONG).code(), Some(0));
}

#[tokio::test]
async fn requests_in_flight_are_finished_before_the_process_ends() {
    let sluice = memory_replica("shutdown_delay: 100ms");
    let request = Request::post("/v1/check", &json!({ "client": "alice" }))
        .header("expect", "100-continue")
        .to_bytes();
    let (head, body) = request.split_at(request.len() - 5);
    let mut slow = Connection::open(sluice.http_addr()).await.unwrap();
    slow.write(head).await.unwrap();
    slow.receive_until(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    let mut idle = Connection::open(sluice.http_addr()).await.unwrap();
    assert_eq!(idle.send(&Request::get("/health")).await.unwrap().status, 200);

    sluice.sigterm();
    assert!(
        idle.response_or_end().await.unwrap().is_none(),
        "an idle connection is closed, since nothing can be lost with it"
    );
    eventually_async("new connections are refused", async || {
        Connection::open(sluice.http_addr()).await.is_err()
    })
    .await;
    assert!(sluice.is_running());

    slow.write(body).await.unwrap();
    let response = slow.response().await.unwrap();
    assert_eq!((response.status, &response.json()["remaining"]), (200, &json!(9)));
    assert!(slow.response_or_end().await.unwrap().is_none());
    assert_eq!(sluice.wait_exit(LONG).code(), Some(0));
}

#[tokio::test]
async fn requests_that_do_not_end_are_cut_off_after_the_grace_period() {
    let sluice = memory_replica("shutdown_delay: 0s\nshutdown_grace: 200ms");
    let mut endless = Connection::open(sluice.http_addr()).await.unwrap();
    let request = Request::post("/v1/check", &json!({ "client": "alice" }))
        .header("expect", "100-continue")
        .to_bytes();
    endless.write(&request[..request.len() - 1]).await.unwrap();
    endless.receive_until(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
    sluice.sigterm();
    assert_eq!(sluice.wait_exit(LONG).code(), Some(0));
    assert!(sluice.log().contains("closing their connections"), "{}", sluice.log());
}

#[tokio::test]
async fn a_second_signal_stops_the_process_at_once() {
    let sluice = memory_replica("shutdown_delay: 1m");
    sluice.sigterm();
    let mut client = Client::of(sluice.http_addr());
    eventually_async("readiness fails", async || client.get("/ready").await.status == 503).await;
    sluice.sigterm();
    assert_eq!(sluice.wait_exit(LONG).code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_no_request_and_no_token() {
    let fleet = Fleet::start(
        3,
        RedisServer::start(),
        LONG_TIMEOUT,
        &format!("shutdown_delay: 1500ms\n{}", buckets::LIMITS),
    );
    let audit = Audit::begin(fleet.addresses()[0]).await;
    let load = Load::start(60, &fleet.addresses(), buckets::all());
    for (number, replica) in fleet.replicas.iter().enumerate() {
        replica.sigterm();
        let mut balancer = Client::of(replica.http_addr());
        eventually_async("readiness fails", async || balancer.get("/ready").await.status == 503)
            .await;
        load.set_available(number, false);
        assert_eq!(replica.wait_exit(LONG).code(), Some(0));
        replica.restart();
        let mut balancer = Client::of(replica.http_addr());
        eventually_async("the replica is ready again", async || {
            balancer.get("/ready").await.status == 200
        })
        .await;
        load.set_available(number, true);
    }
    let record = load.stop().await;

    assert!(
        record.failed.is_empty(),
        "{} requests failed: {:?}",
        record.failed.len(),
        record.failed[0]
    );
    buckets::assert_every_window_keeps_its_limit(&record);
    audit.assert_that_tokens_add_up(&record).await;
    let replicas = eventually_async("the last restarted replica sees its fleet", async || {
        let replicas = Metrics::of(&mut Client::of(fleet.addresses()[2]))
            .await
            .count("sluice_replicas_live", &[]);
        (replicas > 0).then_some(replicas)
    })
    .await;
    assert_eq!(replicas, 3, "a stopped replica leaves the fleet");
}
