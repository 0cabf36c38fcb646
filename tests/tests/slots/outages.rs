//! A store that is away for longer than slots count.

use std::time::Duration;

use sluice_testkit::{RedisServer, eventually_async};
use sluice_tests::{echo::Echo, fleet::Fleet, http::Client, metrics::Metrics};

use crate::setting::{Stream, asks, before, frees_a_slot, two_at_a_time};

async fn replica(more: &str) -> (Fleet, Echo) {
    let api = Echo::start().await;
    let limits = before(api.address(), &two_at_a_time("1s", more));
    let timeout = Duration::from_millis(200);
    (Fleet::start(1, RedisServer::start(), timeout, &limits), api)
}

async fn lost(fleet: &Fleet, on_lost: &str) -> u64 {
    let metrics = Metrics::of(&mut Client::of(fleet.addresses()[0])).await;
    metrics.count("sluice_slots_lost_total", &[("limit", "streams"), ("on_lost", on_lost)])
}

#[tokio::test]
async fn a_stream_that_loses_its_slot_is_cut_off_where_the_limit_says_so() {
    let (fleet, _api) = replica(", on_lost: cut").await;
    let mut stream = Stream::begin(fleet.addresses()[0]).await;
    fleet.redis.kill();
    assert!(stream.is_cut().await, "the client must not take it for complete");
    assert_eq!(lost(&fleet, "cut").await, 1);
    fleet.redis.restart();
    fleet.wait_for_breakers("closed").await;
    frees_a_slot(fleet.addresses()[0]).await;
    let log = fleet.replicas[0].log();
    assert!(log.contains("they are cut off"), "{log}");
}

#[tokio::test]
async fn a_stream_that_loses_its_slot_goes_on_and_counts_again() {
    let (fleet, api) = replica("").await;
    let replica = fleet.addresses()[0];
    let (first, second) = (Stream::begin(replica).await, Stream::begin(replica).await);
    fleet.redis.kill();
    eventually_async("the slots are lost", async || lost(&fleet, "finish").await >= 2).await;
    fleet.redis.restart();
    fleet.wait_for_breakers("closed").await;
    eventually_async("they count again", async || asks(replica).await.status == 429).await;
    first.end(&api).await;
    frees_a_slot(replica).await;
    second.end(&api).await;
}

#[tokio::test]
async fn a_limit_in_shadow_mode_cuts_nothing_off() {
    let (fleet, api) = replica(", on_lost: cut, mode: shadow").await;
    let stream = Stream::begin(fleet.addresses()[0]).await;
    fleet.redis.kill();
    eventually_async("the slot is lost", async || {
        lost(&fleet, "cut").await + lost(&fleet, "finish").await >= 1
    })
    .await;
    stream.end(&api).await;
}
