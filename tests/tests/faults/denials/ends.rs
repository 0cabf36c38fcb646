//! What ends denials on every replica, before they end by themselves.

use std::time::{Duration, Instant};

use sluice_testkit::{RedisServer, SentinelOptions};
use tokio::task::block_in_place;

use super::fleet::{Fleet, Returns};

/// A denial ends by itself after ten seconds. What ends it earlier, ends it before this time.
const BEFORE_ITS_END: Duration = Duration::from_secs(9);
/// A machine that is too slow for that has some more attempts.
const ATTEMPTS: usize = 4;

/// Ends the denials of all replicas by `end`, and proves that they did not end by themselves.
async fn ends_denials(fleet: &mut Fleet, returns: &Returns, end: impl AsyncFn(&Fleet)) {
    for _ in 0..ATTEMPTS {
        let start = Instant::now();
        returns.reset().await;
        // What a replica knows after it has admitted a token is younger than the start.
        fleet.wait_for_admissions().await;
        fleet.drain().await;
        fleet.wait_for_cached_denials().await;
        end(fleet).await;
        fleet.wait_for_admissions().await;
        if start.elapsed() < BEFORE_ITS_END {
            return;
        }
    }
    panic!("in {ATTEMPTS} attempts, no denial ended before it would have ended by itself");
}

/// A token for each replica is given back, and the bucket is filled.
async fn returned_tokens_end_denials(fleet: &mut Fleet, returns: &Returns) {
    let tokens = fleet.replicas.len() as u64;
    ends_denials(fleet, returns, async |_| returns.give_back(tokens).await).await;
    ends_denials(fleet, returns, async |_| returns.reset().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returned_tokens_end_denials_on_every_replica() {
    let redis = RedisServer::start();
    let mut fleet = Fleet::start(&redis.url(), None).await;
    returned_tokens_end_denials(&mut fleet, &Returns::to(&redis.url(), None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returned_tokens_end_denials_over_tls() {
    let redis = RedisServer::start_tls();
    let mut fleet = Fleet::start(&redis.url(), Some(redis.ca_file())).await;
    let returns = Returns::to(&redis.url(), Some(redis.ca_file()));
    returned_tokens_end_denials(&mut fleet, &returns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returned_tokens_end_denials_after_sentinels_promoted_a_replica() {
    let sentinels = block_in_place(|| SentinelOptions::new(1, 3).start());
    let mut fleet = Fleet::start(&sentinels.url(), None).await;
    let returns = Returns::to(&sentinels.url(), None);
    fleet.drain().await;
    fleet.wait_for_cached_denials().await;
    // A check in between may fail.
    fleet.repeat_errors();
    block_in_place(|| sentinels.failover());
    block_in_place(|| sentinels.wait_until_ok());
    returned_tokens_end_denials(&mut fleet, &returns).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_limit_ends_denials_on_every_replica() {
    for _ in 0..ATTEMPTS {
        let redis = RedisServer::start();
        let mut fleet = Fleet::start(&redis.url(), None).await;
        let start = Instant::now();
        fleet.drain().await;
        fleet.wait_for_cached_denials().await;
        fleet.change_rate("1000/second");
        fleet.wait_for_admissions().await;
        if start.elapsed() < BEFORE_ITS_END {
            return;
        }
    }
    panic!("in {ATTEMPTS} attempts, no denial ended before it would have ended by itself");
}
