//! Many callers at once.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sluice_testkit::RedisServer;
use sluice_tests::{
    fleet::{Fleet, LONG_TIMEOUT, memory_replica},
    http::{Client, Response},
};
use tokio::task::JoinSet;

use crate::desk::{BUDGET, Desk, estimate, reservation, settlement, with_secret};

/// Sends all requests at once, each on a connection of its own.
async fn at_once(path: &'static str, requests: Vec<(SocketAddr, Value)>) -> Vec<Response> {
    let mut tasks = JoinSet::new();
    for (address, body) in requests {
        tasks.spawn(async move { Client::of(address).post(path, &body).await });
    }
    tasks.join_all().await
}

fn with_status(responses: &[Response], status: u16) -> usize {
    responses.iter().filter(|response| response.status == status).count()
}

/// Reserves a third of the budget thirty times.
async fn race(addresses: &[SocketAddr]) {
    let requests = (0..30).map(|index| (addresses[index % addresses.len()], estimate(1_000)));
    let responses = at_once("/v1/reserve", requests.collect()).await;
    assert_eq!((with_status(&responses, 200), with_status(&responses, 429)), (3, 27));
    assert_eq!(Desk::of(addresses[0]).left().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thirty_requests_for_a_budget_of_three_exactly_three_pass() {
    race(&[memory_replica(BUDGET).http_addr()]).await;
    let one = Fleet::start(1, RedisServer::start(), LONG_TIMEOUT, BUDGET);
    race(&one.addresses()).await;
    let three = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, BUDGET);
    race(&three.addresses()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_settlements_at_once_exactly_one_wins() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, &limits);
    let addresses = fleet.addresses();
    let mut desk = Desk::of(addresses[0]);
    let mut used = 0;
    for round in 0..5 {
        let held = desk.reserve(100).await;
        let requests = (0..12).map(|index| {
            let address = addresses[index % 3];
            // Some use less than was held, and some more.
            (address, settlement(&held, 95 + u64::try_from(index).unwrap()))
        });
        let responses = at_once("/v1/settle", requests.collect()).await;
        let mut settled = responses.iter().filter(|response| response.status == 200);
        let winner = settled.next().unwrap_or_else(|| panic!("{round}: none was settled"));
        assert_eq!(winner.json()["state"], "settled");
        assert!(settled.next().is_none(), "{round}: more than one");
        assert_eq!(with_status(&responses, 409), 11);
        used += winner.json()["charged"]["tokens"].as_u64().unwrap();
        assert_eq!(desk.left().await, 3_000 - used, "{round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_sent_a_hundred_times_at_once_is_one_hold() {
    let limits = with_secret("a secret of the fleet", BUDGET);
    let fleet = Fleet::start(3, RedisServer::start(), LONG_TIMEOUT, &limits);
    let addresses = fleet.addresses();
    let mut body = estimate(100);
    body["id"] = json!("request-7");
    let requests = (0..99).map(|index| (addresses[index % 3], body.clone()));
    let responses = at_once("/v1/reserve", requests.collect()).await;
    let states: Vec<_> = responses.iter().map(|held| held.json()["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| **state == "held").count(), 1);
    assert_eq!(states.iter().filter(|state| **state == "repeated").count(), 98);
    let mut desk = Desk::of(addresses[0]);
    assert_eq!(desk.left().await, 2_900);

    let requests = responses.iter().map(|held| (addresses[1], settlement(&reservation(held), 40)));
    let responses = at_once("/v1/settle", requests.collect()).await;
    let states: Vec<_> = responses.iter().map(|held| held.json()["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| **state == "settled").count(), 1);
    assert_eq!(states.iter().filter(|state| **state == "repeated").count(), 98);
    assert_eq!(desk.left().await, 2_960);
}
