//! A store under test, its clock, and short names for what the truths do.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{
    Action, Algorithm, Bucket, BucketId, Check, Cost, Decision, Epoch, Limit, Partition, Rate,
    Record, RecordKey, RecordWrite, Source, Subject, Tag, Tagger, Timestamp,
};
use sluice_store::{
    Clock, ColdStart, Failover, ManualClock, MemoryStore, NodeId, RedisSettings, RedisStore,
    Replica, Store, StoreError, StoreFuture,
};
use sluice_testkit::{RedisCluster, RedisOptions, RedisServer};

/// A timeout that no call reaches, however slow the machine is.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A store, and what it needs.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    /// The store's clock; `None` for the clock of a server.
    clock: Option<Arc<ManualClock>>,
    next_client: AtomicUsize,
    redis: Option<RedisServer>,
    /// Held until the test has ended.
    _cluster: Option<Arc<RedisCluster>>,
    /// Whether the server's clock moves as the test says.
    moves_redis_clock: bool,
    /// What the store holds of a bucket that it does not know.
    pub epoch: Epoch,
}

impl Fixture {
    pub fn memory() -> Self {
        Self::in_process(MemoryStore::with_clock)
    }

    pub fn minimal() -> Self {
        Self::in_process(MinimalStore::with_clock)
    }

    /// A memory store that has just begun with empty buckets.
    pub fn cold_memory() -> Self {
        let fixture =
            Self::in_process(|clock| MemoryStore::with_clock(clock).cold_start(ColdStart::Empty));
        let start = fixture.clock.as_ref().expect("the store is in the process").now();
        Self { epoch: Epoch::at(start), ..fixture }
    }

    pub fn redis() -> Self {
        let server = RedisServer::start();
        Self::new(connect(&server), None, Some(server))
    }

    /// A cluster whose servers the tests that run now share, each under a prefix of its own.
    pub fn cluster() -> Self {
        static CLUSTER: Mutex<Weak<RedisCluster>> = Mutex::new(Weak::new());
        static PREFIXES: AtomicUsize = AtomicUsize::new(0);
        let cluster = {
            let mut shared = CLUSTER.lock();
            shared.upgrade().unwrap_or_else(|| {
                let cluster = Arc::new(RedisCluster::start(3));
                *shared = Arc::downgrade(&cluster);
                cluster
            })
        };
        let prefix = format!("conformance-{}", PREFIXES.fetch_add(1, Ordering::Relaxed));
        let settings = RedisSettings::new(cluster.url()).timeout(TIMEOUT).prefix(prefix);
        Self { _cluster: Some(cluster), ..Self::new(announced(&settings), None, None) }
    }

    /// A Redis that has just begun with empty buckets.
    pub fn cold_redis() -> Self {
        let server = RedisOptions::new().movable_clock().start();
        Self::cold(connect_with(&server, ColdStart::Empty), server)
    }

    pub fn redis_with_clock() -> Self {
        let server = RedisOptions::new().movable_clock().start();
        Self { moves_redis_clock: true, ..Self::new(connect(&server), None, Some(server)) }
    }

    pub fn failover() -> Self {
        let server = RedisServer::start();
        Self::new(Failover::over(connect(&server), TIMEOUT), None, Some(server))
    }

    pub fn failover_with_clock() -> Self {
        let server = RedisOptions::new().movable_clock().start();
        let store = Failover::over(connect(&server), TIMEOUT);
        Self { moves_redis_clock: true, ..Self::new(store, None, Some(server)) }
    }

    pub fn cold_failover() -> Self {
        let server = RedisOptions::new().movable_clock().start();
        let store = Failover::over(connect_with(&server, ColdStart::Empty), TIMEOUT);
        Self::cold(store, server)
    }

    fn cold(store: impl Store, server: RedisServer) -> Self {
        let epoch = server.command(&["GET", "sluice:{mm}:epoch"]).text().parse().unwrap();
        let epoch = Epoch::at(Timestamp::from_unix_micros(epoch));
        Self { moves_redis_clock: true, epoch, ..Self::new(store, None, Some(server)) }
    }

    /// A failover over a store of several nodes, so that most checks of several buckets are decided
    /// in parts.
    pub fn several_nodes() -> Self {
        Self::in_process(|clock| {
            let nodes = Nodes(MinimalStore::with_clock(clock.clone()));
            Failover::with_clock(nodes, TIMEOUT, clock)
        })
    }

    fn in_process<S: Store>(store: impl FnOnce(Arc<ManualClock>) -> S) -> Self {
        let start = Timestamp::from_unix_micros(1_800_000_000_000_000);
        let clock = Arc::new(ManualClock::new(start));
        Self::new(store(Arc::clone(&clock)), Some(clock), None)
    }

    fn new(store: impl Store, clock: Option<Arc<ManualClock>>, redis: Option<RedisServer>) -> Self {
        Self {
            store: Arc::new(store),
            clock,
            next_client: AtomicUsize::new(0),
            redis,
            _cluster: None,
            moves_redis_clock: false,
            epoch: Epoch::NONE,
        }
    }

    /// Returns the tag of a new client.
    pub fn client(&self) -> Tag {
        let number = self.next_client.fetch_add(1, Ordering::Relaxed);
        Tagger::new(b"conformance").tag(Subject::Client(&number.to_le_bytes()))
    }

    pub async fn decide(&self, check: Check) -> Decision {
        self.store.decide(&check).await.expect("the store decides")
    }

    /// Decides `checks` in one batch. In Redis this is one call, so no time passes between them;
    /// the clock of a store in this process stands still anyway.
    pub async fn decide_at_once<const N: usize>(&self, checks: [Check; N]) -> [Decision; N] {
        let results = self.store.decide_all(&checks).await;
        let decisions: Vec<_> =
            results.into_iter().map(|result| result.expect("the store decides")).collect();
        decisions.try_into().expect("each check has a decision")
    }

    pub async fn take(&self, limit: &Arc<Limit>, client: Tag, cost: u64) -> Decision {
        self.act(Action::Take, limit, client, cost).await
    }

    pub async fn act(
        &self,
        action: Action,
        limit: &Arc<Limit>,
        client: Tag,
        cost: u64,
    ) -> Decision {
        self.decide(check(action).with(limit, client, tokens(cost))).await
    }

    /// Returns the whole tokens in the bucket.
    pub async fn remaining(&self, limit: &Arc<Limit>, client: Tag) -> u64 {
        self.act(Action::Peek, limit, client, 0).await.verdicts()[0].remaining
    }

    /// Returns the time of the store's clock.
    pub async fn now(&self) -> Timestamp {
        let limit = Rate::new("1/second".parse().unwrap(), 1).unwrap();
        let limit = Arc::new(Limit::new("clock", Algorithm::TokenBucket(limit)).unwrap());
        let nobody = Tagger::new(b"conformance").tag(Subject::Client(b"clock"));
        self.act(Action::Peek, &limit, nobody, 0).await.at()
    }

    /// Waits until the store's own clock shows at least `instant`.
    pub async fn wait_until(&self, instant: Timestamp) {
        loop {
            let now = self.now().await;
            if now >= instant {
                return;
            }
            let rest = instant.since(now);
            if !self.advance(rest) {
                tokio::time::sleep(rest).await;
            }
        }
    }

    /// Lets time pass where that takes no time. Returns whether it does.
    pub fn advance(&self, span: Duration) -> bool {
        self.step_clock(i64::try_from(span.as_micros()).unwrap())
    }

    /// Moves the store's clock back, where a test can. Returns whether it can.
    pub fn step_back(&self, span: Duration) -> bool {
        self.step_clock(-i64::try_from(span.as_micros()).unwrap())
    }

    fn step_clock(&self, micros: i64) -> bool {
        if let Some(clock) = &self.clock {
            clock.set(Timestamp::from_unix_micros(clock.now().unix_micros() + micros));
        } else if self.moves_redis_clock {
            self.redis.as_ref().expect("the clock is a server's").step_clock(micros);
        }
        self.clock.is_some() || self.moves_redis_clock
    }
}

fn connect(server: &RedisServer) -> RedisStore {
    connect_with(server, ColdStart::Full)
}

fn connect_with(server: &RedisServer, cold_start: ColdStart) -> RedisStore {
    announced(&RedisSettings::new(server.url()).timeout(TIMEOUT).cold_start(cold_start))
}

/// Returns a store that writes the newest layouts, since its fleet has announced to read them.
fn announced(settings: &RedisSettings) -> RedisStore {
    let store = RedisStore::new(settings, ()).unwrap();
    let replica = Replica::new("fixture", "1");
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(async {
            store.announce(&replica).await.unwrap();
            store.depart(&replica).await.unwrap();
        });
    });
    store
}

/// A store that implements nothing but [`Store::decide`].
#[derive(Debug)]
struct MinimalStore {
    kept: Mutex<Kept>,
    clock: Arc<ManualClock>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each bucket with the instant at which it is full.
    buckets: HashMap<BucketId, (Bucket, Timestamp)>,
    /// Each record with the instant at which it is forgotten.
    records: HashMap<RecordKey, (Record, Timestamp)>,
}

impl MinimalStore {
    fn with_clock(clock: Arc<ManualClock>) -> Self {
        Self { kept: Mutex::default(), clock }
    }
}

impl Store for MinimalStore {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let Kept { buckets: kept, records } = &mut *self.kept.lock();
        let now = self.clock.now();
        let before: Vec<Bucket> = check
            .parts()
            .iter()
            .map(|part| match kept.get(&part.bucket()) {
                Some((bucket, full_at)) if now < *full_at => *bucket,
                _ => Bucket::full(part.limit.algorithm(), now),
            })
            .collect();
        let mut after = before.clone();
        records.retain(|_, (_, until)| now < *until);
        let key = check.record_key();
        let record = key.and_then(|key| records.get(&key)).map(|(record, _)| *record);
        let (decision, write) = check.decide_hold(&mut after, record, now, Source::Store);
        if let (Some(key), Some(RecordWrite { record, until })) = (key, write) {
            match record {
                Some(record) => drop(records.insert(key, (record, until))),
                None => drop(records.remove(&key)),
            }
        }
        for (part, (before, after)) in check.parts().iter().zip(before.into_iter().zip(after)) {
            if before != after {
                let full_at = after.settled(part.limit.algorithm(), now).full_at();
                kept.insert(part.bucket(), (after, full_at));
            }
        }
        StoreFuture::ready(Ok(decision))
    }
}

/// A store of several nodes, none of which decides on buckets of another one.
#[derive(Debug)]
struct Nodes(MinimalStore);

impl Store for Nodes {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        let mut nodes = check.parts().iter().map(|part| self.node(part.tag.partition()));
        let first = nodes.next();
        assert!(nodes.all(|node| Some(node) == first), "no check is for several nodes: {check:?}");
        self.0.decide(check)
    }

    fn node(&self, partition: Partition) -> NodeId {
        NodeId::all().nth(partition.index() % 5).unwrap()
    }
}

pub fn check(action: Action) -> Check {
    Check::new(action)
}

pub fn tokens(cost: u64) -> Cost {
    Cost::new(cost).unwrap()
}

pub fn algorithm(rate: &str, burst: u64) -> Algorithm {
    Algorithm::TokenBucket(Rate::new(rate.parse().unwrap(), burst).unwrap())
}

pub fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    Arc::new(Limit::new(name, algorithm(rate, burst)).unwrap())
}
