//! Properties of the statistics in Redis only: keys, expiry, and failures of the server.

use std::time::Duration;

use sluice_stats::{
    Deltas, DeploymentChange, DeploymentPhase, Flush, OpenConnections, RedisStats, StatsStore,
    Total,
    history::{Hour, Series},
};
use sluice_store::{RedisSettings, StoreError};
use sluice_testkit::{RedisOptions, RedisServer, Reply, eventually_async};

use crate::fixture::{amount, client, connect, limited, requests, total};

/// A flush of one HTTP request.
fn flush(number: u64) -> Flush {
    flush_of("one", number, total(Total::HttpRequests, 1))
}

fn flush_of(replica: &str, number: u64, deltas: Deltas) -> Flush {
    Flush::new(replica.into(), number, OpenConnections::default(), deltas)
}

async fn http_requests(stats: &RedisStats) -> u64 {
    stats.read().await.unwrap().totals.get(Total::HttpRequests)
}

#[tokio::test]
async fn totals_survive_every_replica() {
    let server = RedisServer::start();
    for replica in ["first", "second", "third"] {
        let stats = connect(&server);
        stats.flush(&flush_of(replica, 1, total(Total::HttpRequests, 1))).await.unwrap();
        stats.depart(replica).await.unwrap();
    }
    assert_eq!(http_requests(&connect(&server)).await, 3);
}

#[tokio::test]
async fn keys_and_replies_contain_no_client_and_all_keys_share_a_slot() {
    let server = RedisServer::start();
    let stats = connect(&server);
    let mut deltas = requests("/api/{v1}", ["sk-live-0123456789"]);
    deltas.limited = limited([("sk-live-0123456789", 1)]).limited;
    stats.flush(&flush_of("one", 1, deltas)).await.unwrap();
    let keys = server.command(&["KEYS", "*"]).texts();
    assert!(keys.len() >= 6, "{keys:?}");
    assert!(
        keys.iter().all(|key| key.starts_with("sluice:{mm}:stats:") && !key.contains("0123456789")),
        "{keys:?}"
    );
    let shown = format!("{:?}", stats.read().await.unwrap());
    assert!(
        shown.contains(&client("sk-live-0123456789").to_string()) && !shown.contains("0123456789"),
        "{shown}"
    );
}

#[tokio::test]
async fn keys_of_time_slices_expire() {
    let server = RedisServer::start();
    let stats = connect(&server);
    let mut deltas = requests("/api", ["alice"]);
    deltas.limited = limited([("alice", 1)]).limited;
    stats.flush(&flush_of("one", 1, deltas)).await.unwrap();
    for kind in ["clients", "limited", "active", "top"] {
        let keys = server.command(&["KEYS", &format!("sluice:{{mm}}:stats:{kind}:*")]).texts();
        assert_eq!(keys.len(), 1, "{kind}");
        let left = server.command(&["TTL", &keys[0]]).integer();
        assert!((3_600..=3_900).contains(&left), "{kind} has {left} s left");
    }
}

/// How many hashes `server` was asked for since the last call.
fn hashes_read(server: &RedisServer) -> u64 {
    let stats = text_of(&server.command(&["INFO", "commandstats"]));
    server.command(&["CONFIG", "RESETSTAT"]);
    let calls =
        stats.split("cmdstat_hgetall:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn a_read_of_hourly_sums_costs_the_server_two_or_three_hashes() {
    let server = RedisServer::start();
    let (stats, series) = (connect(&server), Series::slo("checkout", "good"));
    let now = std::time::Instant::now();
    stats.flush(&flush_of("one", 1, amount(&series, 1, now))).await.unwrap();
    hashes_read(&server);
    let history = stats.read_history().await.unwrap();
    assert_eq!(hashes_read(&server), 36, "the first read requests every day");
    let day = Hour::at(history.now()).day();
    let past = Hour::first_of_day(day - 20);
    // Nothing writes to such a day; a process that keeps it does not read it again.
    let key = format!("sluice:{{mm}}:stats:day:{}", day - 20);
    let field = format!("{} slo\u{1f}checkout\u{1f}good", past.number());
    server.command(&["HSET", &key, &field, "7"]);
    let again = stats.read_history().await.unwrap();
    let hashes = hashes_read(&server);
    assert!((2..=3).contains(&hashes), "{hashes}");
    assert_eq!(again.sum(&series, past..past.next()), 0);
    let other = connect(&server).read_history().await.unwrap();
    assert_eq!(other.sum(&series, past..past.next()), 7);
}

#[tokio::test]
async fn hourly_sums_that_the_server_has_lost_are_not_shown() {
    let server = RedisServer::start();
    let (stats, series) = (connect(&server), Series::slo("checkout", "good"));
    let now = std::time::Instant::now();
    stats.flush(&flush_of("one", 1, amount(&series, 5, now))).await.unwrap();
    let day = Hour::at(stats.read_history().await.unwrap().now()).day();
    let all = Hour::first_of_day(day - 35)..Hour::first_of_day(day + 2);
    // A past day, so that the process keeps it.
    let stats = connect(&server);
    let key = format!("sluice:{{mm}}:stats:day:{}", day - 20);
    let field = format!("{} slo\u{1f}checkout\u{1f}good", Hour::first_of_day(day - 20).number());
    server.command(&["HSET", &key, &field, "7"]);
    assert_eq!(stats.read_history().await.unwrap().sum(&series, all.clone()), 12);
    server.command(&["FLUSHALL"]);
    stats.flush(&flush_of("one", 2, amount(&series, 3, now))).await.unwrap();
    assert_eq!(stats.read_history().await.unwrap().sum(&series, all), 3);
}

#[tokio::test]
async fn hours_are_those_of_the_server_whatever_the_clock_of_this_machine_shows() {
    let server = RedisOptions::new().movable_clock().start();
    let (stats, series) = (connect(&server), Series::slo("checkout", "good"));
    let flush =
        |number, added| flush_of("one", number, amount(&series, added, std::time::Instant::now()));
    stats.flush(&flush(1, 1)).await.unwrap();
    server.step_clock(30 * 3_600_000_000);
    // The reply to a flush brings the server's time. The flush itself was made before.
    stats.flush(&flush(2, 10)).await.unwrap();
    stats.flush(&flush(3, 100)).await.unwrap();
    let other = connect(&server);
    other.flush(&flush_of("two", 1, flush(4, 1_000).deltas)).await.unwrap();
    for stats in [&stats, &other] {
        let history = stats.read_history().await.unwrap();
        let sums: Vec<_> = history.by_hour(&series).collect();
        let all: u64 = sums.iter().map(|(_, sum)| sum).sum();
        let [(before, _), .., (after, _)] = sums[..] else { panic!("{sums:?}") };
        let stepped = after.number() - before.number();
        assert!((29..=31).contains(&stepped), "{sums:?}");
        assert_eq!((all, Hour::at(history.now()).number() - after.number() <= 1), (1_111, true));
    }
}

#[tokio::test]
async fn hourly_sums_expire_after_35_days() {
    let server = RedisServer::start();
    let (stats, series) = (connect(&server), Series::slo("checkout", "good"));
    stats.flush(&flush_of("one", 1, amount(&series, 1, std::time::Instant::now()))).await.unwrap();
    let keys = server.command(&["KEYS", "sluice:{mm}:stats:day:*"]).texts();
    assert_eq!(keys.len(), 1);
    let days = server.command(&["TTL", &keys[0]]).integer() / (24 * 3_600);
    assert!((35..=36).contains(&days), "{days} days left");
}

#[tokio::test]
async fn a_server_that_lost_the_script_is_sent_it_again() {
    let server = RedisServer::start();
    let stats = connect(&server);
    for number in 1..=3 {
        server.command(&["SCRIPT", "FLUSH"]);
        stats.flush(&flush(number)).await.unwrap();
    }
    assert_eq!(http_requests(&stats).await, 3);
}

#[tokio::test]
async fn a_flush_that_was_added_without_a_reply_is_not_added_again() {
    let server = RedisServer::start();
    let hasty = RedisStats::new(&RedisSettings::new(server.url())).unwrap();
    hasty.flush(&flush(1)).await.unwrap();
    server.pause();
    let error = hasty.flush(&flush(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Timeout { .. } | StoreError::Unreachable(_)), "{error:?}");
    server.resume();
    // The server now executes the commands that it received while it was paused.
    eventually_async("the server accepts flushes again", async || {
        hasty.flush(&flush(2)).await.is_ok()
    })
    .await;
    hasty.flush(&flush(3)).await.unwrap();
    assert_eq!(http_requests(&hasty).await, 3);
}

#[tokio::test]
async fn flushes_fail_while_the_server_is_down_and_succeed_when_it_is_back() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let stats =
        RedisStats::new(&RedisSettings::new(server.url()).timeout(Duration::from_millis(100)))
            .unwrap();
    stats.flush(&flush(1)).await.unwrap();
    server.kill();
    assert!(stats.flush(&flush(2)).await.is_err());
    assert!(stats.read().await.is_err());
    server.restart();
    eventually_async("the server accepts flushes again", async || {
        stats.flush(&flush(2)).await.is_ok()
    })
    .await;
    assert_eq!(http_requests(&stats).await, 2);
}

#[tokio::test]
async fn a_sum_at_its_maximum_does_not_affect_others() {
    let server = RedisServer::start();
    let stats = connect(&server);
    for number in 1..=2 {
        let mut deltas = total(Total::LlmTokensGenerated, u64::MAX);
        deltas.totals.add(Total::ToolExecutions, 1);
        stats.flush(&flush_of("one", number, deltas)).await.unwrap();
    }
    let totals = stats.read().await.unwrap().totals;
    assert_eq!(totals.get(Total::LlmTokensGenerated), i64::MAX as u64);
    assert_eq!(totals.get(Total::ToolExecutions), 2);
}

/// Returns all texts in a reply.
fn text_of(reply: &Reply) -> String {
    match reply {
        Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Reply::Array(replies) => replies.iter().map(text_of).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    }
}

/// Managed services refuse a call with more than 3,999 arguments.
#[tokio::test]
async fn no_command_of_a_large_flush_has_more_than_3900_arguments() {
    let server = RedisServer::start();
    let stats = connect(&server);
    server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    server.command(&["CONFIG", "SET", "slowlog-max-len", "10000"]);
    let names: Vec<String> = (0..5_000).map(|number| format!("{number}")).collect();
    let mut deltas = requests("/api", names.iter().map(String::as_str));
    deltas.deployments = names
        .iter()
        .take(2_000)
        .map(|name| {
            DeploymentChange::new(Some(name), DeploymentPhase::Started, std::time::Instant::now())
        })
        .collect();
    stats.flush(&flush_of("one", 1, deltas)).await.unwrap();
    assert_eq!(stats.read().await.unwrap().gauges.active_deployments, 2_000);
    let log = text_of(&server.command(&["SLOWLOG", "GET", "10000"]));
    assert!(log.contains("EVALSHA") || log.contains("evalsha"), "the flush is in the log");
    for (end, _) in log.match_indices(" more arguments)") {
        let start = log[..end].rfind('(').unwrap() + 1;
        let arguments = 31 + log[start..end].parse::<usize>().unwrap();
        assert!(arguments <= 3_900, "{arguments} arguments");
    }
}
