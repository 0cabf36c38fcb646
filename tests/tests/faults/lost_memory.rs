//! A Redis forgets all buckets.

use sluice_core::Partition;
use sluice_store::ColdStart;
use sluice_testkit::{RedisServer, eventually_async_within};
use tokio::task::block_in_place;

use crate::{
    record::Effect,
    scale,
    scene::{Scene, only_place, under_load},
    stores::{LONG_TIMEOUT, NEVER, Stores},
};

/// Lets a Redis forget everything by `fault`.
async fn forget(
    name: &str,
    seed: u64,
    cold_start: ColdStart,
    fault: impl AsyncFnOnce(&Scene<'_>, &RedisServer),
) -> Effect {
    let redis = RedisServer::start();
    let stores = Stores::connect(&redis.url(), LONG_TIMEOUT, cold_start).await;
    // A memory of less than a second is none.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    under_load((name, seed), &stores, &only_place(), async |scene| {
        fault(scene, &redis).await;
        let everything = u64::from(Partition::COUNT);
        eventually_async_within(NEVER, "every store knows of the loss", async || {
            let known = stores.lost_partitions();
            if known == everything { Ok(()) } else { Err(format!("{known} partitions")) }
        })
        .await;
        scene.wait_until_recovered().await;
    })
    .await
}

async fn flush(_: &Scene<'_>, redis: &RedisServer) {
    block_in_place(|| redis.command(&["FLUSHALL"]));
}

async fn restart(scene: &Scene<'_>, redis: &RedisServer) {
    block_in_place(|| redis.kill());
    scene.wait_for_local_decisions().await;
    block_in_place(|| redis.restart());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_gives_every_client_one_burst_more() {
    for seed in scale::seeds() {
        let effect = forget("FLUSHALL, cold_start full", seed, ColdStart::Full, flush).await;
        effect.assert_promises(1);
        assert_eq!(effect.local_here, 0, "{effect:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_is_noticed_too_late_for_clients_that_make_requests_meanwhile() {
    for seed in scale::seeds() {
        let effect = forget("FLUSHALL, cold_start empty", seed, ColdStart::Empty, flush).await;
        effect.assert_promises(1);
        assert_eq!(effect.local_here, 0, "{effect:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_data_gives_every_client_one_burst_more() {
    for seed in scale::seeds() {
        let effect = forget("restart, cold_start full", seed, ColdStart::Full, restart).await;
        effect.assert_promises(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_without_data_gives_nobody_a_burst_with_an_empty_cold_start() {
    for seed in scale::seeds() {
        let effect = forget("restart, cold_start empty", seed, ColdStart::Empty, restart).await;
        effect.assert_promises(0);
    }
}
