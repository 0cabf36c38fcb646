//! Sentinels replace a primary by its replica.

use std::time::Duration;

use sluice_store::ColdStart;
use sluice_testkit::Sentinels;
use tokio::task::block_in_place;

use crate::{
    record::Effect,
    scale,
    scene::{only_place, under_load},
    stores::{LONG_TIMEOUT, Stores},
};

/// About what replicas have, as for a cluster.
const SHORT_TIMEOUT: Duration = Duration::from_millis(50);

async fn fail_over(
    (name, seed): (&str, u64),
    timeout: Duration,
    fault: impl FnOnce(&Sentinels),
) -> Effect {
    let sentinels = Sentinels::start(1, 3);
    let stores = Stores::connect(&sentinels.url(), timeout, ColdStart::Full).await;
    under_load((name, seed), &stores, &only_place(), async |scene| {
        block_in_place(|| fault(&sentinels));
        scene.wait_until_recovered().await;
    })
    .await
}

fn kill(sentinels: &Sentinels) {
    let primary = sentinels.primary();
    primary.kill();
    sentinels.wait_for_another(primary.port());
}

/// Pauses the primary and the Sentinel that is asked first, as if both were on a host that is gone.
fn pause(sentinels: &Sentinels) {
    let primary = sentinels.primary();
    primary.pause();
    sentinels.sentinels()[0].pause();
    sentinels.wait_for_another(primary.port());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_by_command() {
    for seed in scale::seeds() {
        let name = ("SENTINEL FAILOVER", seed);
        let effect = fail_over(name, LONG_TIMEOUT, Sentinels::failover).await;
        // The former primary admits tokens until it knows that it is none.
        effect.assert_promises(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_of_a_primary_that_is_killed() {
    for seed in scale::seeds() {
        let effect = fail_over(("primary of Sentinels killed", seed), LONG_TIMEOUT, kill).await;
        effect.assert_promises(1);
        assert!(effect.local_here > 0, "{effect:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_of_a_primary_that_hangs_with_a_sentinel() {
    for seed in scale::seeds() {
        let name = ("primary and a Sentinel paused", seed);
        let effect = fail_over(name, SHORT_TIMEOUT, pause).await;
        effect.assert_promises(1);
        assert!(effect.local_here > 0, "{effect:?}");
    }
}
