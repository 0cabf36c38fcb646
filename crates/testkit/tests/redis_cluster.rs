//! `RedisCluster` with every server that Sluice has to work with.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use sluice_testkit::{ClusterOptions, CommandError, RedisProgram, RedisServer};

/// A key in each third of the slots, with its slot.
const KEYS: [(&str, u16); 3] = [("b", 3_300), ("c", 7_365), ("a", 15_495)];

/// Makes a test of each function for a program.
macro_rules! tests {
    ($module:ident, $program:ident: $($test:ident),+ $(,)?) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    super::$test(&super::options(sluice_testkit::RedisProgram::$program));
                }
            )+
        }
    };
}

tests!(redis, Redis:
    primaries_share_the_slots_evenly,
    a_slot_moves_with_its_keys_in_steps,
    a_replica_takes_over_from_a_killed_primary,
    a_replica_takes_over_on_command,
    users_log_in_and_nodes_log_in_to_each_other,
    users_log_in_over_tls,
);
tests!(redis_6, Redis6:
    primaries_share_the_slots_evenly,
    a_slot_moves_with_its_keys_in_steps,
    a_replica_takes_over_from_a_killed_primary,
);
tests!(valkey_8, Valkey8:
    primaries_share_the_slots_evenly,
    a_slot_moves_with_its_keys_in_steps,
    a_replica_takes_over_from_a_killed_primary,
);
tests!(valkey_9, Valkey9:
    primaries_share_the_slots_evenly,
    a_slot_moves_with_its_keys_in_steps,
    slots_move_at_once,
    a_replica_takes_over_from_a_killed_primary,
);

fn options(program: RedisProgram) -> ClusterOptions {
    ClusterOptions::new(3).program(program.path())
}

fn ports(nodes: &[&RedisServer]) -> Vec<u16> {
    nodes.iter().map(|node| node.port()).collect()
}

/// The reply to a command that a node refuses.
fn refusal(node: &RedisServer, command: &[&str]) -> String {
    match node.try_command(command) {
        Err(CommandError::Refused(message)) => message,
        other => panic!("{command:?} was not refused: {other:?}"),
    }
}

fn primaries_share_the_slots_evenly(options: &ClusterOptions) {
    let cluster = options.clone().start();
    let ports = ports(&cluster.primaries());
    let addresses = ports.iter().map(|port| format!("127.0.0.1:{port}"));
    let addresses: Vec<_> = addresses.collect();
    assert_eq!(cluster.url(), format!("redis+cluster://{}", addresses.join(",")));
    for ((key, slot), node) in KEYS.into_iter().zip(cluster.nodes()) {
        assert_eq!(cluster.slot_of(key), slot);
        assert_eq!(cluster.primary_of(slot).port(), node.port());
        node.command(&["SET", key, key]);
    }
    for slot in [0, 5_460, 5_461, 5_462, 10_921, 10_922, 10_923, 16_383] {
        let third = usize::from(slot) * 3 / 16_384;
        let boundary = [5_461, 10_922].contains(&slot);
        assert!(boundary || cluster.primary_of(slot).port() == ports[third], "{slot}");
    }
    let known = |node: &RedisServer| node.command(&["CLUSTER", "NODES"]).text().lines().count();
    assert_eq!(cluster.nodes().iter().map(known).collect::<Vec<_>>(), [3, 3, 3]);
    assert_eq!(cluster.command_everywhere(&["DBSIZE"]).len(), 3);
}

fn a_slot_moves_with_its_keys_in_steps(options: &ClusterOptions) {
    let cluster = options.clone().start();
    let (from, to) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    let keys = ["{b}1", "{b}2", "{b}3"];
    for key in keys {
        from.command(&["SET", key, key]);
    }
    cluster.begin_move(3_300, to);
    assert_eq!(cluster.move_keys(3_300, 2), 2);
    let asked = keys.map(|key| from.try_command(&["GET", key]).is_err());
    assert_eq!(asked.into_iter().filter(|asked| *asked).count(), 2);
    let ask = format!("ASK 3300 127.0.0.1:{}", to.port());
    assert_eq!(refusal(from, &["GET", "{b}4"]), ask);

    assert_eq!([cluster.move_keys(3_300, 2), cluster.move_keys(3_300, 2)], [1, 0]);
    cluster.finish_move(3_300);
    assert_eq!(cluster.primary_of(3_300).port(), to.port());
    assert_eq!(keys.map(|key| to.command(&["GET", key]).text()), keys);
    let moved = format!("MOVED 3300 127.0.0.1:{}", to.port());
    assert_eq!(refusal(from, &["GET", "{b}1"]), moved);

    cluster.move_slot(3_300, &cluster.nodes()[2]);
    assert_eq!(keys.map(|key| cluster.nodes()[2].command(&["GET", key]).text()), keys);
}

fn slots_move_at_once(options: &ClusterOptions) {
    let cluster = options.clone().start();
    let to = &cluster.nodes()[2];
    cluster.nodes()[0].command(&["SET", "b", "value"]);
    cluster.move_slots_atomically(3_000..=4_000, to);
    assert_eq!(cluster.primary_of(3_000).port(), to.port());
    assert_eq!(to.command(&["GET", "b"]).text(), "value");
}

fn a_replica_takes_over_from_a_killed_primary(options: &ClusterOptions) {
    let cluster = options.clone().replicas(1).start();
    let primary = cluster.primary_of(3_300);
    let replicas = cluster.replicas_of(primary);
    assert_eq!(replicas.len(), 1);
    primary.command(&["SET", "b", "value"]);
    primary.command(&["WAIT", "1", "10000"]);
    primary.kill();
    let heir = cluster.primary_of(3_300);
    assert_eq!(ports(&[heir]), ports(&replicas));
    cluster.wait_until_ok();
    assert_eq!(heir.command(&["GET", "b"]).text(), "value");
    primary.restart();
    cluster.wait_until_ok();
    assert_eq!(ports(&cluster.replicas_of(heir)), [primary.port()]);
}

fn a_replica_takes_over_on_command(options: &ClusterOptions) {
    let cluster = options.clone().replicas(2).start();
    let primary = cluster.primary_of(3_300);
    let replicas = cluster.replicas_of(primary);
    assert_eq!(replicas.len(), 2);
    cluster.failover(replicas[1]);
    assert_eq!(cluster.primary_of(3_300).port(), replicas[1].port());
    assert_eq!(cluster.replicas_of(replicas[1]).len(), 2);
    assert!(cluster.replicas_of(primary).is_empty());
}

fn users_log_in_and_nodes_log_in_to_each_other(options: &ClusterOptions) {
    let cluster = options.clone().replicas(1).user("sluice", "p@ss").start();
    assert!(cluster.url().starts_with("redis+cluster://sluice:p%40ss@127.0.0.1:"));
    cluster.nodes()[0].command(&["SET", "b", "value"]);
    cluster.move_slot(3_300, &cluster.nodes()[1]);
    assert_eq!(cluster.nodes()[1].command(&["GET", "b"]).text(), "value");
}

fn users_log_in_over_tls(options: &ClusterOptions) {
    let cluster = options.clone().replicas(1).user("default", "secret").tls().start();
    assert!(cluster.url().starts_with("rediss+cluster://:secret@127.0.0.1:"));
    assert!(cluster.ca_file().is_file());
    cluster.nodes()[0].command(&["SET", "b", "value"]);
    cluster.move_slot(3_300, &cluster.nodes()[1]);
    assert_eq!(cluster.nodes()[1].command(&["GET", "b"]).text(), "value");
}
