//! Sentinels replace a primary by its replica.

use sluice_store::ColdStart;
use sluice_testkit::Sentinels;
use tokio::task::block_in_place;

use crate::{
    record::Effect,
    scale,
    scene::{only_place, under_load},
    stores::{LONG_TIMEOUT, Stores},
};

async fn fail_over(name: &str, seed: u64, fault: impl FnOnce(&Sentinels)) -> Effect {
    let sentinels = Sentinels::start(1, 3);
    let stores = Stores::connect(&sentinels.url(), LONG_TIMEOUT, ColdStart::Full).await;
    let effect = under_load((name, seed), &stores, &only_place(), async |scene| {
        block_in_place(|| fault(&sentinels));
        scene.wait_until_recovered().await;
    })
    .await;
    assert_eq!(stores.unanswered(), 0, "a refused connection needs no timeout");
    effect
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_by_command() {
    for seed in scale::seeds() {
        let effect = fail_over("SENTINEL FAILOVER", seed, Sentinels::failover).await;
        // The former primary admits tokens until it knows that it is none.
        effect.assert_promises(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_of_a_primary_that_is_killed() {
    for seed in scale::seeds() {
        let effect = fail_over("primary under Sentinels killed", seed, |sentinels| {
            let primary = sentinels.primary();
            primary.kill();
            sentinels.wait_for_another(primary.port());
        })
        .await;
        effect.assert_promises(1);
        assert!(effect.local_here > 0, "{effect:?}");
    }
}
