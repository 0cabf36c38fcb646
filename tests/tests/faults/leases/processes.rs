//! Replicas are killed, stopped and ended while they hold leases.

use std::time::Duration;

use sluice_testkit::{RedisCluster, RedisServer, eventually_async};
use sluice_tests::window_limit::Excess;
use tokio::task::block_in_place;

use super::{
    fleet::{REPLICAS, Replicas},
    mischief::{ALL, Event, GENTLE, Mischief},
    traffic::Traffic,
};
use crate::{random::Random, scale};

/// How long each three buckets are in use.
const TURN: Duration = Duration::from_millis(700);
/// The turns of a round, in CI and in the long form.
const TURNS: (u64, u64) = (4, 80);

/// Lets `events` happen to replicas under load. No window of any of `buckets` may admit one token
/// too many. Calls `look` while each three of them are in use.
async fn torment(
    (name, seed): (&str, u64),
    url: &str,
    buckets: usize,
    events: &'static [Event],
    mut look: impl FnMut(),
) {
    let mut random = Random::new(seed);
    let replicas = block_in_place(|| Replicas::start(url));
    let traffic = Traffic::start(&replicas, buckets, &mut random);
    let mischief = Mischief::start(&replicas, events, &mut random);
    for _ in 0..scale::either(TURNS) {
        // After a calm time with leases out, all that there is is taken at once.
        for is_calm in [random.below(2) == 0, false] {
            traffic.set_calm(is_calm);
            tokio::time::sleep(TURN / 2).await;
        }
        block_in_place(&mut look);
        traffic.turn();
    }
    let happened = block_in_place(|| mischief.stop());
    // Those that were restarted a moment ago count from zero.
    eventually_async("a replica decides with a lease", async || {
        replicas.decisions_from("lease").await > 0
    })
    .await;
    let mut seen = traffic.stop().await;
    let [fast, slow, still] = seen.tokens();
    seen.count_what_is_left(&replicas).await;

    let worst = seen.worst_excess();
    let beyond = worst.as_ref().map_or(0, |(_, excess)| excess.tokens());
    scale::report_leases(&format!(
        "| {name} | {seed} | {} | {fast} | {slow} | {still} | {beyond} | {} | {} + {} | {} |",
        seen.decisions,
        happened.times(Event::Kill),
        happened.times(Event::ShortStop),
        happened.times(Event::LongStop),
        happened.times(Event::End),
    ));
    assert!(seen.errors.is_empty(), "{} errors: {}", seen.errors.len(), seen.errors[0]);
    assert!(worst.is_none(), "{seed}: {}", described(worst));
    let mut first = events.iter().take(REPLICAS);
    assert!(first.all(|event| happened.times(*event) > 0), "{happened:?}");
    assert_eq!(replicas.decisions_from("local").await, 0, "Redis was there all the time");
}

fn described(worst: Option<(String, Excess)>) -> String {
    worst.map(|(bucket, excess)| format!("{bucket}: {excess}")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_processes_that_are_killed_and_stopped_never_exceed_a_limit() {
    for seed in scale::seeds() {
        let redis = RedisServer::start();
        torment(("replicas, one Redis", seed), &redis.url(), 6, ALL, || ()).await;
    }
}

/// What is returned twice is admitted twice. Each kill loses more than that, and would hide it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_processes_that_end_are_returned_once() {
    for seed in scale::seeds() {
        let redis = RedisServer::start();
        torment(("replicas that end, one Redis", seed), &redis.url(), 6, GENTLE, || ()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_processes_from_a_cluster_never_exceed_a_limit() {
    for seed in scale::seeds() {
        let cluster = RedisCluster::start(3);
        let mut has_buckets = [false; 3];
        torment(("replicas, a cluster", seed), &cluster.url(), 42, ALL, || {
            for (has_buckets, primary) in has_buckets.iter_mut().zip(cluster.primaries()) {
                *has_buckets |= !primary.command(&["KEYS", "sluice:{*}*/*"]).items().is_empty();
            }
        })
        .await;
        assert_eq!(has_buckets, [true; 3], "every primary has some of the buckets");
    }
}
