//! `RedisCluster` with real servers.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

use sluice_testkit::{ClusterOptions, RedisCluster, RedisServer};

/// A key in each third of the slots, with its slot.
const KEYS: [(&str, u16); 3] = [("b", 3300), ("c", 7365), ("a", 15495)];

fn ports(nodes: &[&RedisServer]) -> Vec<u16> {
    nodes.iter().map(|node| node.port()).collect()
}

#[test]
fn primaries_share_the_slots_evenly() {
    let cluster = RedisCluster::start(3);
    assert_eq!(cluster.nodes().len(), 3);
    for ((key, slot), node) in KEYS.into_iter().zip(cluster.nodes()) {
        assert_eq!(cluster.slot_of(key), slot);
        assert_eq!(cluster.primary_of(slot).port(), node.port());
        node.command(&["SET", key, key]);
    }
    let known = |node: &RedisServer| node.command(&["CLUSTER", "NODES"]).text().lines().count();
    assert_eq!(cluster.nodes().iter().map(known).collect::<Vec<_>>(), [3, 3, 3]);
}

#[test]
fn a_replica_takes_over_from_a_killed_primary() {
    let cluster = ClusterOptions::new(3).replicas(1).start();
    let primary = cluster.primary_of(3300);
    let replicas = cluster.replicas_of(primary);
    assert_eq!(replicas.len(), 1);
    primary.command(&["SET", "b", "value"]);
    primary.command(&["WAIT", "1", "10000"]);
    primary.kill();
    let heir = cluster.primary_of(3300);
    assert_eq!(ports(&[heir]), ports(&replicas));
    cluster.wait_until_ok();
    assert_eq!(heir.command(&["GET", "b"]).text(), "value");
    primary.restart();
    cluster.wait_until_ok();
    assert_eq!(ports(&cluster.replicas_of(heir)), [primary.port()]);
}
