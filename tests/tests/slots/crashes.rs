//! What becomes of the slots of a replica that ends.

use std::time::Duration;

use sluice_testkit::RedisServer;
use sluice_tests::{
    echo::Echo,
    fleet::{Fleet, MAX_TIMEOUT},
};

use crate::setting::{Stream, asks, before, frees_a_slot, two_at_a_time};

async fn two_replicas(term: &str) -> (Fleet, Echo) {
    let api = Echo::start().await;
    let limits = format!("shutdown_delay: 0s\n{}", two_at_a_time(term, ""));
    let fleet = Fleet::start(2, RedisServer::start(), MAX_TIMEOUT, &before(api.address(), &limits));
    (fleet, api)
}

#[tokio::test]
async fn the_slots_of_a_killed_replica_return_by_themselves() {
    let (fleet, _api) = two_replicas("2s").await;
    let [one, two] = [0, 1].map(|index| fleet.addresses()[index]);
    let _held = [Stream::begin(one).await, Stream::begin(one).await];
    fleet.replicas[0].sigkill();
    assert_eq!(asks(two).await.status, 429, "nobody knows yet that their requests have ended");
    frees_a_slot(two).await;
    let keys = fleet.redis.command(&["KEYS", "sluice:{??}[^:]*"]).texts();
    for key in keys {
        let ttl = fleet.redis.command(&["PTTL", &key]).integer();
        assert!(ttl <= 4_000, "{key} lasts {ttl} ms");
    }
}

#[tokio::test]
async fn a_replica_that_stops_gives_back_the_slots_of_the_requests_that_it_finishes() {
    let (fleet, api) = two_replicas("1h").await;
    let [one, two] = [0, 1].map(|index| fleet.addresses()[index]);
    let (first, second) = (Stream::begin(one).await, Stream::begin(one).await);
    fleet.replicas[0].sigterm();
    assert_eq!(asks(two).await.status, 429, "its requests go on");
    first.end(&api).await;
    second.end(&api).await;
    assert_eq!(fleet.replicas[0].wait_exit(Duration::from_secs(20)).code(), Some(0));
    assert_eq!(asks(two).await.status, 200, "their slots are free");
}
