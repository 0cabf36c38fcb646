//! The basics of the store on every server that Sluice has to work with, alone, in a cluster and
//! behind Sentinels, as a user who may do nothing but what `docs/redis.md` lists.
#![cfg(feature = "redis")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Mode, Partition, Rate, Subject, Tag, Tagger,
};
use sluice_store::{
    ColdStart, RedisSettings, RedisStore, Replica, SentinelSettings, Store, StoreError,
};
use sluice_testkit::{
    ClusterOptions, RedisCluster, RedisOptions, RedisProgram, RedisServer, SentinelOptions,
    Sentinels, documented_user, eventually_async,
};

const PASSWORD: &str = "right:password";
/// The memory of a server counts as lost if it had lasted for longer than a step of a clock.
const LONGER_THAN_A_CLOCK_STEP: Duration = Duration::from_millis(1_100);

/// Makes a test of each function for a program.
macro_rules! tests {
    ($module:ident, $program:ident) => {
        tests! {
            $module, $program:
            a_server_alone, a_cluster, behind_sentinels, a_missing_permission, buckets_that_move
        }
    };
    ($module:ident, $program:ident: $($test:ident),+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(sluice_testkit::RedisProgram::$program).await;
                }
            )+
        }
    };
}

tests!(redis, Redis);
tests!(redis_6, Redis6);
tests!(valkey_8, Valkey8);
tests!(valkey_9, Valkey9);

async fn a_server_alone(program: RedisProgram) {
    let server = RedisOptions::new().program(program.path()).user("sluice", PASSWORD).start();
    restrict(&server);
    let store = store(&settings(server.url()));
    decides(&store).await;
    survives(&store, &[&server], &|| server.restart()).await;
    assert_eq!(refused(&server), [""; 0]);
}

async fn a_cluster(program: RedisProgram) {
    let options = ClusterOptions::new(3).program(program.path()).user("sluice", PASSWORD);
    let cluster = options.start();
    let nodes: Vec<&RedisServer> = cluster.nodes().iter().collect();
    nodes.iter().for_each(|node| restrict(node));
    let store = store(&settings(cluster.url()));
    decides(&store).await;
    follows_a_slot(&store, &cluster).await;
    let restart = || {
        nodes[0].restart();
        cluster.wait_until_ok();
    };
    survives(&store, &nodes, &restart).await;
    for node in nodes {
        assert_eq!(refused(node), [""; 0]);
    }
}

async fn behind_sentinels(program: RedisProgram) {
    let options = SentinelOptions::new(1, 1).program(program.path()).user("sluice", PASSWORD);
    let sentinels: Sentinels = options.sentinel_user("finder", PASSWORD).start();
    sentinels.servers().iter().for_each(restrict);
    let sentinel = &sentinels.sentinels()[0];
    sentinel.command(&documented_user("finder", PASSWORD));
    let login = SentinelSettings::new().user("finder".to_owned()).password(PASSWORD.to_owned());
    let store = store(&settings(sentinels.url()).sentinel(login));
    decides(&store).await;
    assert_eq!(refused(sentinels.primary()), [""; 0]);
    assert_eq!(refused(sentinel), [""; 0]);
}

/// Leaves the user what the document lists.
fn restrict(server: &RedisServer) {
    server.command(&documented_user("sluice", PASSWORD));
    server.command(&["ACL", "LOG", "RESET"]);
}

/// Returns what a server has not let its users do.
fn refused(server: &RedisServer) -> Vec<String> {
    let log = server.command(&["ACL", "LOG"]);
    let object = |entry: &sluice_testkit::Reply| entry.field("object").unwrap().text();
    log.items().iter().map(object).collect()
}

fn settings(url: String) -> RedisSettings {
    // A busy machine must not look like a server that is away.
    RedisSettings::new(url).timeout(Duration::from_secs(30)).cold_start(ColdStart::Full)
}

fn store(settings: &RedisSettings) -> RedisStore {
    RedisStore::new(settings, ()).unwrap()
}

fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    let rate = Rate::new(rate.parse().unwrap(), burst).unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate)).unwrap())
}

fn client(name: &str) -> Tag {
    Tagger::new(b"").tag(Subject::Client(name.as_bytes()))
}

fn of(action: Action, limit: &Arc<Limit>, name: &str, cost: u64) -> Check {
    Check::new(action).with(limit, client(name), Cost::new(cost).unwrap())
}

fn outcome(decision: &Decision) -> (bool, u64) {
    (decision.is_allowed(), decision.verdicts()[0].remaining)
}

async fn act(store: &RedisStore, check: Check) -> (bool, u64) {
    outcome(&store.decide(&check).await.unwrap())
}

/// Every kind of call once.
async fn decides(store: &RedisStore) {
    let fleet = store.announce(&Replica::new("one", "1")).await.unwrap();
    assert_eq!(fleet.replicas.len(), 1);
    store.probe().await.unwrap();
    store.probe_node(store.node(Partition::FIRST)).await.unwrap();
    let memories = store.server_memory().await.unwrap();
    assert!(!memories.is_empty() && memories.iter().all(|(_, memory)| memory.evicted_keys == 0));

    // Simple checks, rates with fractions, and a bucket in debt.
    for (name, rate) in [("simple", "1/day"), ("fractional", "7/day")] {
        let limit = limit(name, rate, 5);
        for (action, cost, expected) in [
            (Action::Take, 3, (true, 2)),
            (Action::Take, 3, (false, 2)),
            (Action::Peek, 2, (true, 2)),
            (Action::GiveBack, 1, (true, 3)),
            (Action::Charge, 4, (true, 0)),
            (Action::Take, 1, (false, 0)),
            (Action::Reset, 0, (true, 5)),
            (Action::Take, 5, (true, 0)),
        ] {
            let result = act(store, of(action, &limit, "alice", cost)).await;
            assert_eq!(result, expected, "{action:?} {cost} of {name}");
        }
    }
    let shadow = Arc::new((*limit("shadow", "1/day", 2)).clone().with_mode(Mode::Shadow));
    for _ in 0..2 {
        assert_eq!(act(store, of(Action::Take, &shadow, "alice", 2)).await, (true, 0));
    }

    // Clients in all partitions, and checks of two clients.
    let daily = limit("daily", "1/day", 2);
    let names: Vec<String> = (0..200).map(|number| format!("client {number}")).collect();
    for round in 0..3 {
        let batch: Vec<Check> =
            names.iter().map(|name| of(Action::Take, &daily, name, 1)).collect();
        for decision in store.decide_all(&batch).await {
            assert_eq!(decision.unwrap().is_allowed(), round < 2);
        }
    }
    for number in 0..20 {
        let (first, second) = (format!("first {number}"), format!("second {number}"));
        let both = of(Action::Take, &daily, &first, 2).with(&daily, client(&second), Cost::ONE);
        assert_eq!(act(store, both.clone()).await, (true, 0));
        assert_eq!(act(store, of(Action::Take, &daily, &second, 1)).await, (true, 0));
        assert!(!act(store, both).await.0);
    }
    store.depart(&Replica::new("one", "1")).await.unwrap();
}

/// The keys of a slot are found while they move, and afterwards.
async fn follows_a_slot(store: &RedisStore, cluster: &RedisCluster) {
    let daily = limit("moving", "1/day", 2);
    let key = |name: &str| {
        let rest = &client(name).to_string()[1..];
        let pattern = format!("sluice:{{??}}{rest}{}", daily.key().as_str());
        let found = cluster.command_everywhere(&["KEYS", &pattern]);
        found.iter().flat_map(sluice_testkit::Reply::texts).next().unwrap()
    };
    assert_eq!(act(store, of(Action::Take, &daily, "mover", 1)).await, (true, 1));
    let slot = cluster.slot_of(&key("mover"));
    let from = cluster.primary_of(slot).port();
    let primaries = cluster.primaries();
    let to = primaries.iter().find(|node| node.port() != from).unwrap();
    cluster.begin_move(slot, to);
    while cluster.move_keys(slot, 100) > 0 {}
    assert_eq!(act(store, of(Action::Take, &daily, "mover", 1)).await, (true, 0));
    cluster.finish_move(slot);
    assert_eq!(act(store, of(Action::Take, &daily, "mover", 1)).await, (false, 0));
}

/// Servers that forget the scripts, the buckets, or both.
async fn survives(store: &RedisStore, servers: &[&RedisServer], restart: &dyn Fn()) {
    let daily = limit("forgotten", "1/day", 2);
    let spend = async |name: &str| act(store, of(Action::Take, &daily, name, 2)).await;
    assert_eq!((spend("alice").await, spend("alice").await), ((true, 0), (false, 0)));
    for server in servers {
        server.command(&["SCRIPT", "FLUSH"]);
    }
    assert_eq!(spend("alice").await, (false, 0));
    store.announce(&Replica::new("one", "1")).await.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.lost_partitions(), 0);

    tokio::time::sleep(LONGER_THAN_A_CLOCK_STEP).await;
    for server in servers {
        server.command(&["FLUSHALL"]);
    }
    store.probe().await.unwrap();
    assert_eq!(store.lost_partitions(), u64::from(Partition::COUNT));
    assert_eq!(spend("alice").await, (true, 0));

    tokio::time::sleep(LONGER_THAN_A_CLOCK_STEP).await;
    restart();
    restrict(servers[0]);
    eventually_async("the store uses the restarted server", async || store.probe().await).await;
    let lost = store.lost_partitions() - u64::from(Partition::COUNT);
    let expected = usize::from(Partition::COUNT).div_ceil(servers.len());
    assert!(lost.abs_diff(expected as u64) <= 1, "{lost} partitions were lost");
    for name in ["alice", "bob", "carol", "dave"] {
        spend(name).await;
        assert_eq!(spend(name).await, (false, 0));
    }
}

/// Without one of the commands that a decision needs, the error names it.
async fn a_missing_permission(program: RedisProgram) {
    let server = RedisOptions::new().program(program.path()).user("sluice", PASSWORD).start();
    restrict(&server);
    let store = store(&settings(server.url()));
    let daily = limit("daily", "1/day", 2);
    // The first check of a client reads and writes; a batch has another script.
    let one = async |name: &str| store.decide(&of(Action::Take, &daily, name, 1)).await;
    let two = async |name: &str| {
        let check = of(Action::Take, &daily, name, 1);
        store.decide_all(&[check.clone(), check]).await.remove(0)
    };
    let announce = async |_: &str| {
        let announced = store.announce(&Replica::new("one", "1")).await;
        announced.map(|_| Decision::unlimited(sluice_core::Timestamp::from_unix_micros(0)))
    };
    one("alice").await.unwrap();
    two("alice").await.unwrap();
    for command in ["evalsha", "time", "get", "set", "mget", "hgetall", "pexpire"] {
        server.command(&["ACL", "SETUSER", "sluice", &format!("-{command}")]);
        let result = match command {
            "mget" => two(command).await,
            "hgetall" | "pexpire" => announce(command).await,
            _ => one(command).await,
        };
        let error = result.unwrap_err();
        let StoreError::WrongSettings(cause) = &error else { panic!("{command}: {error:?}") };
        let text = cause.to_string().to_lowercase();
        assert!(text.contains(&format!("`{command}`")) || text.contains(&format!("'{command}'")));
        server.command(&["ACL", "SETUSER", "sluice", &format!("+{command}")]);
        one(command).await.unwrap();
    }
}

/// A cluster finds the buckets that were moved from a server alone, and the other way round.
async fn buckets_that_move(program: RedisProgram) {
    let server = RedisOptions::new().program(program.path()).start();
    let cluster = ClusterOptions::new(3).program(program.path()).start();
    let alone = store(&settings(server.url()));
    let spread = store(&settings(cluster.url()));
    let daily = limit("daily", "1/day", 5);
    let names: Vec<String> = (0..100).map(|number| format!("client {number}")).collect();
    let take = async |store: &RedisStore, left: u64| {
        let batch: Vec<Check> =
            names.iter().map(|name| of(Action::Take, &daily, name, 2)).collect();
        for decision in store.decide_all(&batch).await {
            assert_eq!(outcome(&decision.unwrap()), (true, left));
        }
    };
    take(&alone, 3).await;
    for key in server.command(&["KEYS", "*"]).texts() {
        let owner = cluster.primary_of(cluster.slot_of(&key));
        migrate(&server, &key, owner);
    }
    take(&spread, 1).await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
    for node in cluster.nodes() {
        for key in node.command(&["KEYS", "*"]).texts() {
            migrate(node, &key, &server);
        }
    }
    let mut left = 0;
    for name in &names {
        left += act(&alone, of(Action::Take, &daily, name, 1)).await.1;
    }
    assert_eq!(left, 0, "each had one token left");
}

fn migrate(from: &RedisServer, key: &str, to: &RedisServer) {
    let port = to.port().to_string();
    from.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "10000", "REPLACE"]);
}
