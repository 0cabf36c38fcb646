//! One of three primaries is gone for good.

use std::time::Duration;

use sluice_core::Source;
use sluice_store::ColdStart;
use sluice_testkit::{ClusterOptions, RedisCluster, RedisServer};
use tokio::task::block_in_place;

use crate::{
    record::Place,
    scale,
    scene::{assert_waits_are_few, places_in, under_load},
    stores::{LONG_TIMEOUT, STORES, Stores},
};

/// Long enough that a busy machine does not look like a node that hangs.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Milliseconds after which nodes agree that one is away.
const NODE_TIMEOUT: u32 = 3_000;
/// Many more than the three for which a caller waits.
const DECISIONS: u64 = 300;

/// Three primaries without replicas; those that remain serve their clients.
fn start() -> RedisCluster {
    ClusterOptions::new(3)
        .node_timeout(NODE_TIMEOUT)
        .args(&["--cluster-require-full-coverage", "no"])
        .start()
}

/// Lets a primary go away by `fault`, and returns how many calls waited for it in vain.
async fn lose(name: &str, seed: u64, timeout: Duration, fault: impl FnOnce(&RedisServer)) -> u64 {
    let cluster = start();
    let stores = Stores::connect(&cluster.url(), timeout, ColdStart::Full).await;
    let (places, primary) = places_in(&stores, &cluster);
    let before = (stores.unanswered(), stores.opened());
    let effect = under_load((name, seed), &stores, &places, async |scene| {
        block_in_place(|| fault(primary));
        scene.load.wait_for(Place::Here, Source::Local, DECISIONS).await;
        scene.load.wait_for(Place::Elsewhere, Source::Store, DECISIONS).await;
    })
    .await;
    effect.assert_promises(0);
    assert_eq!(effect.local_elsewhere, 0, "clients of the others notice nothing: {effect:?}");
    assert_eq!(stores.opened() - before.1, STORES as u64, "each store gave up that node alone");
    stores.unanswered() - before.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_clients_of_a_primary_that_is_gone_are_decided_locally() {
    for seed in scale::seeds() {
        let waits = lose("primary gone for good", seed, LONG_TIMEOUT, RedisServer::kill).await;
        assert_eq!(waits, 0, "a refused connection needs no timeout");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_waits_for_more_than_three_timeouts_for_a_primary_that_hangs_for_good() {
    for seed in scale::seeds() {
        let waits = lose("primary hangs for good", seed, TIMEOUT, RedisServer::pause).await;
        assert_waits_are_few(waits, STORES as u64);
    }
}
