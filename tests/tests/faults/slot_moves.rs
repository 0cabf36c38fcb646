//! A slot moves to another primary of a cluster.

use std::time::Duration;

use sluice_store::ColdStart;
use sluice_testkit::{ClusterOptions, RedisCluster, RedisServer};
use tokio::task::block_in_place;

use crate::{
    scale,
    scene::{places_in, slot, under_load},
    stores::{LONG_TIMEOUT, Stores},
};

/// A pause between the keys of a slot, in which checks find some here and some there.
const BETWEEN_KEYS: Duration = Duration::from_millis(20);

/// Moves the slot to another primary and back, each time by `to_next`.
async fn move_under_load(
    name: &str,
    cluster: &RedisCluster,
    seed: u64,
    to_next: impl AsyncFn(u16, &RedisServer),
) {
    let stores = Stores::connect(&cluster.url(), LONG_TIMEOUT, ColdStart::Full).await;
    let (places, first) = places_in(&stores, cluster);
    let slot = slot(cluster);
    let other = cluster.primaries().into_iter().find(|one| one.port() != first.port());
    let other = other.expect("there are three primaries");
    let effect = under_load((name, seed), &stores, &places, async |scene| {
        for target in [other, first] {
            to_next(slot, target).await;
            scene.wait_until_recovered().await;
            assert_eq!(cluster.primary_of(slot).port(), target.port());
        }
    })
    .await;
    effect.assert_nobody_noticed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_a_slot_that_moves_key_by_key() {
    for seed in scale::seeds() {
        let cluster = RedisCluster::start(3);
        move_under_load("slot moved by MIGRATE", &cluster, seed, async |slot, target| {
            block_in_place(|| cluster.begin_move(slot, target));
            while block_in_place(|| cluster.move_keys(slot, 1)) > 0 {
                tokio::time::sleep(BETWEEN_KEYS).await;
            }
            block_in_place(|| cluster.finish_move(slot));
        })
        .await;
    }
}

mod valkey_9 {
    use sluice_testkit::RedisProgram;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_notices_slots_that_move_atomically() {
        for seed in scale::seeds() {
            let cluster = ClusterOptions::new(3).program(RedisProgram::Valkey9.path()).start();
            let name = "slot moved by MIGRATESLOTS";
            move_under_load(name, &cluster, seed, async |slot, target| {
                block_in_place(|| cluster.move_slots_atomically(slot..=slot, target));
            })
            .await;
        }
    }
}
