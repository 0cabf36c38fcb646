//! A primary of a cluster is replaced by its replica.

use std::time::Duration;

use sluice_store::ColdStart;
use sluice_testkit::{ClusterOptions, RedisCluster};
use tokio::task::block_in_place;

use crate::{
    scale,
    scene::{places_in, slot, under_load},
    stores::{LONG_TIMEOUT, Stores},
};

/// About what replicas have: so short that all attempts to connect have ended before a replica
/// takes over. A busy machine exceeds it, so that stores may decide locally at any time.
const SHORT_TIMEOUT: Duration = Duration::from_millis(50);

/// Three primaries, each with a replica; those that remain serve their clients.
fn start() -> RedisCluster {
    ClusterOptions::new(3).replicas(1).args(&["--cluster-require-full-coverage", "no"]).start()
}

async fn connect(cluster: &RedisCluster, timeout: Duration) -> Stores {
    Stores::connect(&cluster.url(), timeout, ColdStart::Full).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_from_a_primary_that_is_killed() {
    for seed in scale::seeds() {
        let cluster = start();
        let stores = connect(&cluster, LONG_TIMEOUT).await;
        let (places, primary) = places_in(&stores, &cluster);
        let effect = under_load(("primary killed", seed), &stores, &places, async |scene| {
            block_in_place(|| primary.kill());
            scene.wait_for_local_decisions().await;
            scene.wait_until_recovered().await;
        })
        .await;
        // What the primary had not passed on is lost.
        effect.assert_promises(1);
        assert_eq!(stores.unanswered(), 0, "a refused connection needs no timeout");
        assert_ne!(cluster.primary_of(slot(&cluster)).port(), primary.port());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_from_a_primary_that_hangs_and_comes_back() {
    for seed in scale::seeds() {
        let cluster = start();
        let stores = connect(&cluster, SHORT_TIMEOUT).await;
        let (places, primary) = places_in(&stores, &cluster);
        let effect = under_load(("primary paused", seed), &stores, &places, async |scene| {
            block_in_place(|| primary.pause());
            block_in_place(|| cluster.wait_until_ok());
            scene.wait_until_recovered().await;
            block_in_place(|| primary.resume());
            block_in_place(|| cluster.wait_until_ok());
            scene.wait_until_recovered().await;
        })
        .await;
        effect.assert_promises(1);
        assert_ne!(cluster.primary_of(slot(&cluster)).port(), primary.port());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_a_planned_failover() {
    for seed in scale::seeds() {
        let cluster = start();
        let stores = connect(&cluster, LONG_TIMEOUT).await;
        let (places, _) = places_in(&stores, &cluster);
        let effect = under_load(("CLUSTER FAILOVER", seed), &stores, &places, async |scene| {
            // There and back again.
            for _ in 0..2 {
                let primary = block_in_place(|| cluster.primary_of(slot(&cluster)));
                block_in_place(|| cluster.failover(cluster.replicas_of(primary)[0]));
                scene.wait_until_recovered().await;
            }
        })
        .await;
        effect.assert_nobody_noticed();
    }
}
