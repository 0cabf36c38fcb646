//! Replicas hold leases while the bucket refills, and then spend them with all that it holds.
//!
//! This is the moment at which a bucket that refills in the place of leases admits too much. Chance
//! hardly finds it, so it is made: a surge gets large leases, hardly any requests keep them alive,
//! and then everything is taken at once.

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, Limit, Precision, Rate, Source, Subject, Tagger,
};
use sluice_store::{ColdStart, Store};
use sluice_testkit::RedisServer;
use sluice_tests::window_limit::{Admitted, WindowLimit, now};
use tokio::task::JoinSet;

use crate::{
    scale,
    stores::{AllLayers, LONG_TIMEOUT, Stores},
};

const PER_SECOND: u64 = 4_000;
const BURST: u64 = 6_000;
/// What each store takes first. It then gets half as much as a lease, which is the demand of 50 ms.
const SURGE: [u64; 5] = [100; 5];
/// In this time the bucket refills both, and leases are not yet returned because they end.
const TRICKLES: usize = 16;
/// Shorter than the time after which a lease that no request uses is returned.
const BETWEEN: Duration = Duration::from_millis(40);
/// The reply with a lease is on its way while a few checks ask Redis. More than the bucket holds.
const MOST_ASKED: u64 = 2 * BURST;
/// The cost of the first checks when all is taken.
const STRIKE: u64 = 200;
const ROUNDS: (u64, u64) = (1, 10);

/// Takes tokens of the one bucket, and notes when they were admitted.
struct Taker {
    store: Arc<AllLayers>,
    limit: Arc<Limit>,
    admitted: Vec<Admitted>,
}

impl Taker {
    fn new(store: &Arc<AllLayers>) -> Self {
        let rate = Rate::new(format!("{PER_SECOND}/second").parse().unwrap(), BURST).unwrap();
        let limit = Limit::new("held", Algorithm::TokenBucket(rate)).unwrap();
        let limit = Arc::new(limit.with_precision(Precision::Leased));
        Self { store: Arc::clone(store), limit, admitted: Vec::new() }
    }

    /// Returns by what the tokens were admitted, if they were.
    async fn take(&mut self, tokens: u64) -> Option<Source> {
        let everyone = Tagger::new(b"").tag(Subject::Everyone { limit: "held" });
        let cost = Cost::new(tokens).unwrap();
        let take = Check::new(Action::Take).with(&self.limit, everyone, cost);
        let sent = now();
        let decision = self.store.decide(&take).await.unwrap();
        assert_ne!(decision.source(), Source::Local, "Redis is there all the time");
        if !decision.is_allowed() {
            return None;
        }
        self.admitted.push(Admitted { tokens, sent, received: now() });
        Some(decision.source())
    }

    /// Gets a large lease, and keeps it while the bucket refills.
    async fn hold(mut self) -> Self {
        for tokens in SURGE {
            self.take(tokens).await;
        }
        let mut asked = 0;
        while self.take(1).await != Some(Source::Lease) {
            asked += 1;
            assert!(asked < MOST_ASKED, "there is no lease after {asked} checks");
        }
        for _ in 0..TRICKLES {
            tokio::time::sleep(BETWEEN).await;
            self.take(1).await;
        }
        self
    }

    /// Takes all that there is.
    async fn strike(mut self) -> Self {
        let mut tokens = STRIKE;
        while tokens > 0 {
            if self.take(tokens).await.is_none() {
                tokens /= 2;
            }
        }
        self
    }
}

async fn all<F: Future<Output = Taker> + Send + 'static>(
    takers: Vec<Taker>,
    what: impl Fn(Taker) -> F,
) -> Vec<Taker> {
    takers.into_iter().map(what).collect::<JoinSet<_>>().join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_are_held_count_against_the_burst() {
    let redis = RedisServer::start();
    let stores: Stores<AllLayers> =
        Stores::connect(&redis.url(), LONG_TIMEOUT, ColdStart::Full).await;
    let mut takers: Vec<_> = stores.all().iter().map(Taker::new).collect();
    for _ in 0..scale::either(ROUNDS) {
        takers = all(takers, Taker::hold).await;
        takers = all(takers, Taker::strike).await;
        // The bucket is full again, and no lease is out.
        tokio::time::sleep(Duration::from_millis(BURST * 1_000 / PER_SECOND)).await;
    }
    let admitted: Vec<_> = takers.into_iter().flat_map(|taker| taker.admitted).collect();
    WindowLimit::new(PER_SECOND, Duration::from_secs(1), BURST).assert_kept("held", &admitted);
}
