//! Sentinels replace a primary by its replica.

use std::time::Duration;

use sluice_store::ColdStart;
use sluice_testkit::{SentinelOptions, Sentinels};
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
    options: SentinelOptions,
    timeout: Duration,
    fault: impl FnOnce(&Sentinels),
) -> Effect {
    let sentinels = options.start();
    let stores = Stores::connect(&sentinels.url(), timeout, ColdStart::Full).await;
    let effect = under_load((name, seed), &stores, &only_place(), async |scene| {
        block_in_place(|| fault(&sentinels));
        scene.wait_until_recovered().await;
    })
    .await;
    let scripts = block_in_place(|| sentinels.primary().info("cmdstat_evalsha"));
    assert!(scripts.starts_with("calls="), "the new primary decides: {scripts}");
    effect
}

/// Fails over, and waits until the former primary knows that it is none: until then it serves on.
fn command(sentinels: &Sentinels) {
    sentinels.failover();
    sentinels.wait_until_ok();
}

/// One replica, and three Sentinels.
fn one_replica() -> SentinelOptions {
    SentinelOptions::new(1, 3)
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
        let effect = fail_over(name, one_replica(), LONG_TIMEOUT, command).await;
        // The former primary serves on until it knows that it is none, and what it admits is lost.
        // The stores leave it within about a second, in which a bucket refills by one burst; on a
        // busy machine they may need two.
        effect.assert_promises(2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it differs from the one above in its figures alone: run `cargo xtask faults`"]
async fn sentinels_promote_a_replica_of_a_primary_that_must_have_one() {
    for seed in scale::seeds() {
        let name = ("SENTINEL FAILOVER, min-replicas-to-write 1", seed);
        let options = SentinelOptions::new(2, 3).args(&["--min-replicas-to-write", "1"]);
        let effect = fail_over(name, options, LONG_TIMEOUT, command).await;
        effect.assert_promises(1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_of_a_primary_that_is_killed() {
    for seed in scale::seeds() {
        let name = ("primary of Sentinels killed", seed);
        let effect = fail_over(name, one_replica(), LONG_TIMEOUT, kill).await;
        effect.assert_promises(1);
        assert!(effect.local_here > 0, "{effect:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_promote_a_replica_of_a_primary_that_hangs_with_a_sentinel() {
    for seed in scale::seeds() {
        let name = ("primary and a Sentinel paused", seed);
        let effect = fail_over(name, one_replica(), SHORT_TIMEOUT, pause).await;
        effect.assert_promises(1);
        assert!(effect.local_here > 0, "{effect:?}");
    }
}
