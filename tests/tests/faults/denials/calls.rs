//! What a client that is denied and keeps asking costs Redis.

use std::time::{Duration, Instant};

use sluice_testkit::RedisServer;
use sluice_tests::redis_monitor::RedisMonitor;

use super::fleet::{Fleet, LIMIT};
use crate::scale;

/// The answers, in CI and in the long form.
const ANSWERS: (usize, usize) = (3_000, 100_000);
/// A replica asks again after this time.
const LONGEST_DENIAL: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_keeps_asking_costs_one_call_in_a_thousand_answers() {
    let redis = RedisServer::start();
    let mut fleet = Fleet::start(&redis.url(), None).await;
    fleet.drain().await;
    fleet.wait_for_cached_denials().await;
    let (monitor, start) = (RedisMonitor::start(&redis), Instant::now());
    let calls_before = script_calls(&redis);
    let answers = scale::either(ANSWERS);
    let replicas = fleet.replicas.len();
    for number in 0..answers {
        assert!(!fleet.take(number % replicas).await, "there is no token");
    }
    // Commands are shown in their order, so nothing is missing.
    redis.command(&["PING"]);
    let commands = monitor.commands();
    let names_the_bucket = |keys: &[String]| keys.iter().any(|key| key.ends_with(LIMIT));
    let calls =
        commands.iter().filter(|command| command.script_keys().is_some_and(names_the_bucket));
    let calls = calls.count();
    let all_calls = script_calls(&redis) - calls_before;
    let replicas = u32::try_from(replicas).unwrap();
    // On a machine that is so slow that this takes minutes, each denial is looked at again and
    // again.
    let looks = (start.elapsed().as_secs() / LONGEST_DENIAL.as_secs() + 1) * u64::from(replicas);
    scale::report_denials(&format!(
        "| a client that keeps asking | - | {answers} answers | {calls} calls about the bucket, \
         {all_calls} calls of scripts in all | - |"
    ));
    assert!(calls as u64 <= (answers as u64 / 1_000).max(looks), "{calls} calls, {looks} looks");
    assert!(all_calls >= calls as u64, "{all_calls} in all, of which {calls} name the bucket");
}

/// Returns how often scripts were called, those that announce replicas among them.
fn script_calls(redis: &RedisServer) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).text();
    let calls = stats.lines().filter_map(|line| {
        let line = line.strip_prefix("cmdstat_eval")?;
        let (_, calls) = line.split_once("calls=")?;
        calls.split(',').next()?.parse::<u64>().ok()
    });
    calls.sum()
}
