//! A store to hold to the truths, and short words for what the truths say.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_core::{Action, Algorithm, Check, Cost, Decision, Limit, Rate, Subject, Tag, Tagger};
use sluice_store::{Failover, MemoryStore, RedisSettings, RedisStore, Store};
use sluice_testkit::RedisServer;

/// The truths are about answers; how long they may take is another matter, and this machine may be
/// busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store, and the server that it needs.
pub struct Fixture {
    pub store: Arc<dyn Store>,
    next_client: AtomicUsize,
    _redis: Option<RedisServer>,
}

impl Fixture {
    pub fn memory() -> Self {
        Self::over(MemoryStore::new(), None)
    }

    pub fn redis() -> Self {
        let server = RedisServer::start();
        Self::over(connect(&server), Some(server))
    }

    pub fn failover() -> Self {
        let server = RedisServer::start();
        Self::over(Failover::over(connect(&server), PATIENCE), Some(server))
    }

    pub fn over(store: impl Store, redis: Option<RedisServer>) -> Self {
        Self { store: Arc::new(store), next_client: AtomicUsize::new(0), _redis: redis }
    }

    /// The tag of a client that nobody else has.
    pub fn client(&self) -> Tag {
        let number = self.next_client.fetch_add(1, Ordering::Relaxed);
        Tagger::new(b"conformance").tag(Subject::Client(&number.to_le_bytes()))
    }

    pub async fn decide(&self, check: Check) -> Decision {
        self.store.decide(&check).await.expect("the store decides")
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

    /// Whole tokens in the bucket.
    pub async fn remaining(&self, limit: &Arc<Limit>, client: Tag) -> u64 {
        self.act(Action::Peek, limit, client, 0).await.verdicts()[0].remaining
    }
}

fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::new(&RedisSettings::new(server.url()).timeout(PATIENCE), ()).unwrap()
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

/// So slow a limit that no token comes back while a test runs: one a day unless `rate` says
/// otherwise.
pub fn limit(name: &str, rate: &str, burst: u64) -> Arc<Limit> {
    Arc::new(Limit::new(name, algorithm(rate, burst)).unwrap())
}
