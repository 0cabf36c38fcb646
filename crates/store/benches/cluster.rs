//! Measures the processor time of a decision on a node of a cluster, as a ratio to a single server
//! that decides batches of the same size.
//!
//! On a node of three, a batch has keys of 21 or 22 partitions, and is as many script calls in one
//! write; on a single server it is one call. The processor time of Redis is read from `INFO`, so
//! the client's speed and core do not matter.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and fails by panicking"
)]

use std::{sync::Arc, time::Duration};

use sluice_core::{Action, Algorithm, Check, Cost, Limit, Partition, Rate, Subject, Tag, Tagger};
use sluice_store::{NodeId, RedisSettings, RedisStore, Replica, Store};
use sluice_testkit::{RedisCluster, RedisServer};

/// The buckets on the measured server.
const BUCKETS: usize = 33_000;
/// The checks of one measurement.
const DECISIONS: usize = 150_000;
const ROUNDS: usize = 5;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let single = Single::start().await;
        let cluster = Cluster::start().await;
        println!(
            "{:>10} {:>14} {:>14} {:>8}   medians of {ROUNDS}",
            "in a batch", "single us", "cluster us", "ratio"
        );
        for batch in [32, 128, 512] {
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                let alone = cost(&single.store, &single.server, &single.clients, batch).await;
                let node = cost(&cluster.store, cluster.node(), &cluster.clients, batch).await;
                rounds.push((alone, node, node / alone));
            }
            rounds.sort_by(|a, b| a.2.total_cmp(&b.2));
            let (alone, node, ratio) = rounds[ROUNDS / 2];
            println!("{batch:>10} {alone:>14.2} {node:>14.2} {ratio:>8.2}");
        }
    });
}

struct Single {
    server: RedisServer,
    store: RedisStore,
    clients: Vec<Tag>,
}

impl Single {
    async fn start() -> Self {
        let server = RedisServer::start();
        let store = connect(server.url()).await;
        Self { server, store, clients: tags().take(BUCKETS).collect() }
    }
}

struct Cluster {
    cluster: RedisCluster,
    store: RedisStore,
    /// The clients of one node.
    clients: Vec<Tag>,
}

impl Cluster {
    async fn start() -> Self {
        let cluster = RedisCluster::start(3);
        let store = connect(cluster.url()).await;
        let node = store.node(Partition::FIRST);
        let clients = tags().filter(|tag| store.node(tag.partition()) == node);
        let clients = clients.take(BUCKETS).collect();
        Self { cluster, store, clients }
    }

    /// The node that has the clients: the first partition's.
    fn node(&self) -> &RedisServer {
        self.cluster.primary_of(self.cluster.slot_of("{mm}"))
    }
}

async fn connect(url: String) -> RedisStore {
    let settings = RedisSettings::new(url).timeout(Duration::from_secs(5));
    let store = RedisStore::new(&settings, ()).unwrap();
    store.announce(&Replica::new("bench", "1")).await.unwrap();
    assert!(Partition::all().any(|partition| store.node(partition) == NodeId::ONLY));
    store
}

fn tags() -> impl Iterator<Item = Tag> {
    let tagger = Tagger::new(b"");
    (0_u32..).map(move |number| tagger.tag(Subject::Client(&number.to_be_bytes())))
}

/// Returns the processor time of a decision, in us, with batches of `size` different buckets.
async fn cost(store: &RedisStore, server: &RedisServer, clients: &[Tag], size: usize) -> f64 {
    let rate = Rate::new("1000000/minute".parse().unwrap(), 1_000_000).unwrap();
    let limit = Arc::new(Limit::new("default", Algorithm::TokenBucket(rate)).unwrap());
    let take = |client: &Tag| Check::new(Action::Take).with(&limit, *client, Cost::ONE);
    // A step that shares no factor with the number of clients makes every batch another one.
    let batch = |number: usize| -> Vec<Check> {
        let index = |at| (number * size + at) * 7_919 % clients.len();
        (0..size).map(|at| take(&clients[index(at)])).collect()
    };
    let batches = DECISIONS / size;
    for number in 0..batches / 4 {
        store.decide_all(&batch(number)).await;
    }
    let before = cpu_seconds(server);
    for number in 0..batches {
        for decision in store.decide_all(&batch(number)).await {
            assert!(decision.unwrap().is_allowed());
        }
    }
    (cpu_seconds(server) - before) * 1e6 / (batches * size) as f64
}

fn cpu_seconds(server: &RedisServer) -> f64 {
    let field = |name| server.info(name).parse::<f64>().unwrap();
    field("used_cpu_user") + field("used_cpu_sys")
}
