//! The store in a real cluster.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Partition, Rate, Subject, Tag, Tagger,
};
use sluice_store::{RedisHandle, RedisSettings, RedisStore, Replica, Store, StoreError};
use sluice_testkit::{ClusterOptions, RedisCluster, RedisServer, Reply, eventually_async};

/// Much less than the store's own timeouts.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(200);

fn settings(cluster: &RedisCluster) -> RedisSettings {
    // A busy machine must not look like a cluster that is away.
    RedisSettings::new(cluster.url()).timeout(Duration::from_secs(10))
}

fn store(cluster: &RedisCluster) -> RedisStore {
    RedisStore::new(&settings(cluster), ()).unwrap()
}

fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let rate = Rate::new(rate.parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate)).unwrap())
}

fn client(name: &str) -> Tag {
    Tagger::new(b"").tag(Subject::Client(name.as_bytes()))
}

/// A client in this partition.
fn client_in(partition: Partition, number: usize) -> Tag {
    let clients = (0..).map(|n: u32| client(&n.to_string()));
    clients.filter(|client| client.partition() == partition).nth(number).unwrap()
}

fn take(limit: &Arc<Limit>, client: Tag, cost: u64) -> Check {
    Check::new(Action::Take).with(limit, client, Cost::new(cost).unwrap())
}

async fn decide(store: &RedisStore, check: &Check) -> Decision {
    store.decide(check).await.unwrap()
}

async fn remaining(store: &RedisStore, limit: &Arc<Limit>, client: Tag) -> u64 {
    let peek = Check::new(Action::Peek).with(limit, client, Cost::ONE);
    decide(store, &peek).await.verdicts()[0].remaining
}

#[tokio::test]
async fn clients_of_every_partition_have_their_limits() {
    let cluster = RedisCluster::start(3);
    let store = store(&cluster);
    let daily = limit("daily", "1/day", 2);
    let clients: Vec<Tag> = Partition::all().map(|partition| client_in(partition, 0)).collect();
    let batch: Vec<Check> = clients.iter().map(|&client| take(&daily, client, 1)).collect();
    for round in 0..3 {
        for decision in store.decide_all(&batch).await {
            assert_eq!(decision.unwrap().is_allowed(), round < 2);
        }
    }
    for &client in &clients {
        assert!(decide(&store, &take(&daily, client, 1)).await.is_denied());
    }
    let keys: Vec<i64> =
        cluster.command_everywhere(&["DBSIZE"]).iter().map(Reply::integer).collect();
    assert_eq!(keys.iter().sum::<i64>(), 64);
    assert!(keys.iter().all(|&keys| (21..=22).contains(&keys)), "{keys:?}");
}

/// Returns how often a server has run a script.
fn script_calls(server: &RedisServer) -> u64 {
    let info = server.command(&["INFO", "commandstats"]).text();
    let line = info.lines().find(|line| line.starts_with("cmdstat_evalsha:calls="));
    line.map_or(0, |line| {
        line["cmdstat_evalsha:calls=".len()..].split(',').next().unwrap().parse().unwrap()
    })
}

#[tokio::test]
async fn a_batch_is_one_call_for_each_of_its_partitions() {
    let cluster = RedisCluster::start(3);
    let store = store(&cluster);
    let daily = limit("daily", "1/day", 100);
    store.probe().await.unwrap();
    let calls = || cluster.primaries().into_iter().map(script_calls).sum::<u64>();
    let batch: Vec<Check> =
        (0..500).map(|number| take(&daily, client(&number.to_string()), 1)).collect();
    // The servers get to know the scripts first.
    let mut before = 0;
    for _ in 0..2 {
        before = calls();
        for decision in store.decide_all(&batch).await {
            assert!(decision.unwrap().is_allowed());
        }
    }
    assert_eq!(calls() - before, 64);
}

/// The slot of the clients' partition, and their limit.
struct Moved {
    slot: u16,
    partition: Partition,
}

fn moved(cluster: &RedisCluster) -> (Moved, &RedisServer, &RedisServer) {
    let partition = Partition::of(7);
    // The key of any bucket of this partition has its hash tag.
    let slot = cluster.slot_of("{Z5}");
    let source = cluster.primary_of(slot);
    let target = cluster.primaries().into_iter().find(|one| one.port() != source.port()).unwrap();
    (Moved { slot, partition }, source, target)
}

/// Returns how often a server has said that a slot is elsewhere.
fn redirections(server: &RedisServer) -> String {
    let info = server.command(&["INFO", "errorstats"]).text();
    info.lines().find(|line| line.starts_with("errorstat_MOVED")).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_slot_that_moves_loses_and_makes_no_tokens() {
    let cluster = RedisCluster::start(3);
    let store = store(&cluster);
    let (daily, hourly) = (limit("daily", "1/day", 10), limit("hourly", "1/hour", 10));
    let (Moved { slot, partition }, source, target) = moved(&cluster);
    let clients: Vec<Tag> = (0..12).map(|number| client_in(partition, number)).collect();
    // The first six have buckets before the slot begins to move, the others get them on the way.
    let take_from = async |clients: &[Tag]| {
        let singly: Vec<Check> = clients.iter().map(|&client| take(&daily, client, 1)).collect();
        let together: Vec<Check> = clients
            .iter()
            .map(|&client| take(&daily, client, 1).with(&hourly, client, Cost::ONE))
            .collect();
        for decision in store.decide_all(&[singly, together].concat()).await {
            assert!(decision.unwrap().is_allowed());
        }
    };
    take_from(&clients[..6]).await;
    cluster.begin_move(slot, target);
    take_from(&clients[..3]).await;
    take_from(&clients[6..9]).await;
    assert_eq!(cluster.move_keys(slot, 5), 5, "some buckets of a client here, some there");
    take_from(&clients).await;
    while cluster.move_keys(slot, 100) > 0 {}
    take_from(&clients).await;
    cluster.finish_move(slot);
    take_from(&clients).await;
    let redirected = redirections(source);
    assert!(decide(&store, &take(&daily, clients[0], 0)).await.is_allowed());
    assert_eq!(redirections(source), redirected, "the next check knows the way");
    for (number, &client) in clients.iter().enumerate() {
        let rounds = match number {
            0..3 => 5,
            3..9 => 4,
            _ => 3,
        };
        assert_eq!(remaining(&store, &daily, client).await, 10 - 2 * rounds, "client {number}");
        assert_eq!(remaining(&store, &hourly, client).await, 10 - rounds, "client {number}");
    }
    assert_eq!(cluster.primary_of(slot).port(), target.port());
}

#[tokio::test]
async fn many_checks_follow_a_slot_that_moves_under_them() {
    let cluster = RedisCluster::start(3);
    let store = Arc::new(store(&cluster));
    let daily = limit("daily", "1/day", 10_000);
    let (Moved { slot, partition }, source, target) = moved(&cluster);
    let clients: Arc<Vec<Tag>> =
        Arc::new((0..40).map(|number| client_in(partition, number)).collect());
    let load: Vec<_> = (0..4)
        .map(|worker: usize| {
            let (store, daily, clients) =
                (Arc::clone(&store), Arc::clone(&daily), Arc::clone(&clients));
            tokio::spawn(async move {
                for round in 0..150 {
                    let client = clients[(round * 7 + worker) % clients.len()];
                    assert!(decide(&store, &take(&daily, client, 1)).await.is_allowed());
                }
            })
        })
        .collect();
    for to in [target, source, target] {
        cluster.begin_move(slot, to);
        while cluster.move_keys(slot, 3) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        cluster.finish_move(slot);
    }
    for worker in load {
        worker.await.unwrap();
    }
    let mut left = 0;
    for &client in &*clients {
        left += remaining(&store, &daily, client).await;
    }
    assert_eq!(left, 40 * 10_000 - 600, "each check took one token");
}

#[tokio::test]
async fn a_check_over_several_partitions_takes_all_or_nothing() {
    let cluster = RedisCluster::start(3);
    let store = store(&cluster);
    let (own, everyone) = (limit("own", "1/day", 5), limit("everyone", "1/day", 8));
    let shared = Tagger::new(b"").tag(Subject::Everyone { limit: "everyone" });
    let clients = [client_in(Partition::of(1), 0), client_in(Partition::of(60), 0)];
    let check = |client| take(&own, client, 1).with(&everyone, shared, Cost::ONE);
    let mut allowed = Vec::new();
    for client in clients {
        let mut count = 0;
        for _ in 0..7 {
            count += usize::from(decide(&store, &check(client)).await.is_allowed());
        }
        allowed.push(count);
    }
    assert_eq!(allowed, [5, 3], "the first client's limit, then everyone's");
    assert_eq!(remaining(&store, &own, clients[1]).await, 2, "what was denied was given back");
    assert_eq!(remaining(&store, &everyone, shared).await, 0);
    let give_back = Check::new(Action::GiveBack).with(&own, clients[0], Cost::ONE).with(
        &everyone,
        shared,
        Cost::ONE,
    );
    decide(&store, &give_back).await;
    assert_eq!(remaining(&store, &own, clients[0]).await, 1);
    assert!(decide(&store, &check(clients[0])).await.is_allowed());
}

#[tokio::test]
async fn a_promoted_replica_takes_over() {
    let cluster =
        ClusterOptions::new(3).replicas(1).args(&["--cluster-require-full-coverage", "no"]).start();
    let store = store(&cluster);
    let daily = limit("daily", "1/day", 5);
    let (Moved { slot, partition }, source, _) = moved(&cluster);
    let client = client_in(partition, 0);
    assert!(decide(&store, &take(&daily, client, 1)).await.is_allowed());
    let node = store.node(partition);
    source.command(&["WAIT", "1", "1000"]);
    source.kill();
    let others = Partition::all().filter(|&other| store.node(other) != node);
    let elsewhere = client_in(others.last().unwrap(), 0);
    store.probe().await.expect("a replica that starts now serves the clients of the others");
    let probed = store.probe_nodes(Duration::from_secs(10)).await;
    assert_eq!(probed.iter().filter(|probe| probe.is_ok()).count(), 2, "{probed:?}");
    assert_eq!(probed.len(), 3);
    assert!(store.probe_node(node).await.is_err());
    let mut away = 0;
    // The cluster elects within seconds; until then only this node's clients have no store.
    loop {
        assert!(
            decide(&store, &take(&limit("other", "1/second", 9), elsewhere, 0)).await.is_allowed()
        );
        match store.decide(&take(&daily, client, 0)).await {
            Ok(_) => break,
            Err(_) => away += 1,
        }
        assert!(away < 3_000, "no replica was promoted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(away > 0);
    assert_ne!(cluster.primary_of(slot).port(), source.port());
    assert_eq!(remaining(&store, &daily, client).await, 4, "the replica had the bucket");
    assert_eq!(store.node(partition), node, "a node keeps its id");
}

#[tokio::test]
async fn a_promoted_replica_is_found_by_calls_that_nobody_waits_for_to_the_end() {
    let cluster =
        ClusterOptions::new(3).replicas(1).args(&["--cluster-require-full-coverage", "no"]).start();
    let store = store(&cluster);
    let (Moved { slot, partition }, source, _) = moved(&cluster);
    store.probe().await.unwrap();
    let node = store.node(partition);
    // A connection stays open, and nothing is refused: only time says that the server is away.
    source.pause();
    let given_up_early =
        async || tokio::time::timeout(GIVEN_UP_AFTER, store.probe_node(node)).await;
    assert!(given_up_early().await.is_err());
    eventually_async("the probes reach the promoted replica", async || {
        given_up_early().await.is_ok_and(|probe| probe.is_ok())
    })
    .await;
    assert_ne!(cluster.primary_of(slot).port(), source.port());
}

#[tokio::test]
async fn announcements_and_statistics_have_their_place_in_a_cluster() {
    let cluster = RedisCluster::start(3);
    let store = store(&cluster);
    let replica = Replica::new("one", "1.0");
    assert_eq!(store.announce(&replica).await.unwrap().size(), 1);
    assert_eq!(store.announce(&Replica::new("two", "1.0")).await.unwrap().size(), 2);
    store.depart(&replica).await.unwrap();
    let fleet = store.announce(&Replica::new("two", "1.0")).await.unwrap();
    assert_eq!(fleet.replicas[0].replica.id, "two");
    let handle = RedisHandle::new(&settings(&cluster), Duration::ZERO).unwrap();
    let key = handle.key("stats:test");
    let mut pipeline = redis::pipe();
    pipeline.cmd("INCR").arg(&key).cmd("INCR").arg(&key);
    handle.run(&pipeline).await.unwrap();
    let target = cluster.primary_of(cluster.slot_of(&key));
    assert_eq!(target.command(&["GET", &key]).text(), "2");
    // Both find their slot again.
    let slot = cluster.slot_of(&key);
    let other = cluster.primaries().into_iter().find(|one| one.port() != target.port()).unwrap();
    cluster.begin_move(slot, other);
    let mut mixed = redis::pipe();
    mixed.cmd("INCR").arg(&key).cmd("INCR").arg(handle.key("stats:new")).cmd("INCR").arg(&key);
    let replies = handle.run(&mixed).await.unwrap();
    assert_eq!(replies, [3, 1, 4].map(redis::Value::Int), "each command ran once");
    let held = other.command(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()]).integer();
    assert_eq!(held, 1, "a new key is made where the slot is moved to");
    store.probe().await.unwrap();
    while cluster.move_keys(slot, 100) > 0 {}
    cluster.finish_move(slot);
    handle.run(&pipeline).await.unwrap();
    assert_eq!(other.command(&["GET", &key]).text(), "6");
    assert_eq!(store.announce(&Replica::new("two", "1.0")).await.unwrap().size(), 1);
}

#[tokio::test]
async fn a_cluster_that_cannot_be_reached_is_an_error() {
    let cluster = RedisCluster::start(3);
    let url = cluster.url();
    drop(cluster);
    let settings = RedisSettings::new(url).timeout(Duration::from_millis(200));
    let store = RedisStore::new(&settings, ()).unwrap();
    let error = store.decide(&take(&limit("daily", "1/day", 5), client("alice"), 1)).await;
    let Err(StoreError::Unreachable(cause)) = &error else { panic!("{error:?}") };
    assert!(cause.to_string().starts_with("127.0.0.1:"), "the server is named: {cause}");
    // The reason is known now, so nobody has to wait for it again.
    let probed = store.probe_nodes(Duration::ZERO).await;
    assert!(matches!(&*probed, [Err(StoreError::Unreachable(_))]), "{probed:?}");
}

#[tokio::test]
async fn a_cluster_is_reached_over_tls_and_with_a_login() {
    let cluster = ClusterOptions::new(3).tls().user("sluice", "s3cret").start();
    let settings = settings(&cluster).ca_file(cluster.ca_file().to_owned());
    let store = RedisStore::new(&settings, ()).unwrap();
    let daily = limit("daily", "1/day", 2);
    for partition in [0, 20, 40, 63].map(Partition::of) {
        assert!(decide(&store, &take(&daily, client_in(partition, 0), 1)).await.is_allowed());
    }
    store.probe().await.unwrap();
    let stranger = RedisSettings::new(cluster.url()).timeout(Duration::from_secs(10));
    let error = RedisStore::new(&stranger, ()).unwrap().probe().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "the authority is not trusted: {error:?}");
}

#[tokio::test]
async fn a_node_that_hangs_does_not_hide_the_others_from_a_probe() {
    let cluster = RedisCluster::start(3);
    let store = store(&cluster);
    store.probe().await.unwrap();
    cluster.primaries()[1].pause();
    let probed = store.probe_nodes(Duration::from_secs(2)).await;
    let hanging = probed.iter().filter(|probe| matches!(probe, Err(StoreError::Timeout { .. })));
    assert_eq!((hanging.count(), probed.len()), (1, 3), "{probed:?}");
    assert_eq!(probed.iter().filter(|probe| probe.is_ok()).count(), 2);
    cluster.primaries()[1].resume();
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_is_sent_them_again() {
    let cluster = RedisCluster::start(3);
    let store = store(&cluster);
    let daily = limit("daily", "1/day", 100);
    let batch: Vec<Check> =
        (0..200).map(|number| take(&daily, client(&number.to_string()), 1)).collect();
    for _ in 0..3 {
        for decision in store.decide_all(&batch).await {
            assert!(decision.unwrap().is_allowed());
        }
        cluster.command_everywhere(&["SCRIPT", "FLUSH"]);
    }
    for check in &batch[..10] {
        let client = check.parts()[0].tag;
        assert_eq!(remaining(&store, &daily, client).await, 97, "each was decided once");
    }
}
