//! Callers of stores as replicas have them, which note by what each token was admitted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Limit, OnStoreFailure, Precision, Rate, Source, Subject, Tagger,
};
use sluice_store::Store;
use sluice_testkit::eventually_async_within;
use sluice_tests::window_limit::{Admitted, Excess, Instant, WindowLimit, now};
use tokio::task::JoinSet;

use crate::{
    random::Random,
    stores::{AllLayers, NEVER, STORES, Stores},
};

const PER_SECOND: u64 = 1_500;
pub(super) const BURST: u64 = 3_000;
const CALLERS: usize = 3;
/// The longest pause between two checks of a caller while the limit is not used up.
const CALM_US: u64 = 12_000;

/// Running callers of all stores.
pub(super) struct Callers {
    shared: Arc<Shared>,
    tasks: JoinSet<Vec<Token>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_calm: AtomicBool,
    stopped: AtomicBool,
    decisions: AtomicU64,
    /// The decisions of each store with leases, and its denials without Redis.
    by_lease: [AtomicU64; STORES],
    local_denials: [AtomicU64; STORES],
    errors: AtomicU64,
}

/// A token that was admitted.
#[derive(Debug, Clone, Copy)]
struct Token {
    store: usize,
    source: Source,
    sent: Instant,
    received: Instant,
}

/// All tokens that were admitted.
#[derive(Debug)]
pub(super) struct Tokens {
    all: Vec<Token>,
    left: Vec<Admitted>,
    pub(super) decisions: u64,
    pub(super) errors: u64,
}

/// Returns a check that takes one token of the one bucket of these tests.
pub(super) fn take(on_store_failure: OnStoreFailure) -> Check {
    check(on_store_failure, Cost::ONE)
}

fn check(on_store_failure: OnStoreFailure, cost: Cost) -> Check {
    let rate = Rate::new(format!("{PER_SECOND}/second").parse().unwrap(), BURST).unwrap();
    let limit = Limit::new("hot", Algorithm::TokenBucket(rate)).unwrap();
    let limit = limit.with_precision(Precision::Leased).with_on_store_failure(on_store_failure);
    let everyone = Tagger::new(b"").tag(Subject::Everyone { limit: "hot" });
    Check::new(Action::Take).with(&Arc::new(limit), everyone, cost)
}

// === impl Callers ===

impl Callers {
    pub(super) fn start(stores: &Stores<AllLayers>, take: &Check, random: &mut Random) -> Self {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for (number, store) in stores.all().iter().enumerate() {
            for _ in 0..CALLERS {
                let random = Random::new(random.below(u64::MAX));
                let call =
                    Arc::clone(&shared).call(number, Arc::clone(store), take.clone(), random);
                tasks.spawn(call);
            }
        }
        Self { shared, tasks }
    }

    /// Sets whether callers leave tokens in the bucket.
    pub(super) fn set_calm(&self, is_calm: bool) {
        self.shared.is_calm.store(is_calm, Ordering::SeqCst);
    }

    /// Waits until each store has made so many more decisions with leases.
    pub(super) async fn wait_for_leases(&self, more: u64) {
        wait("with leases", &self.shared.by_lease, more).await;
    }

    /// Waits until each store has denied so many more checks without Redis: its share is used up.
    pub(super) async fn wait_for_local_denials(&self, more: u64) {
        wait("to deny locally", &self.shared.local_denials, more).await;
    }

    /// Waits for the last decisions, and returns what was admitted.
    pub(super) async fn stop(mut self) -> Tokens {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        while let Some(tokens) = self.tasks.join_next().await {
            all.append(&mut tokens.expect("no caller panics"));
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let (decisions, errors) = (count(&self.shared.decisions), count(&self.shared.errors));
        Tokens { all, left: Vec::new(), decisions, errors }
    }
}

async fn wait(how: &str, counters: &[AtomicU64; STORES], more: u64) {
    let counts = || counters.each_ref().map(|counter| counter.load(Ordering::SeqCst));
    let before = counts();
    eventually_async_within(NEVER, &format!("each store decides {more} times {how}"), async || {
        let mut made = counts().into_iter().zip(before).map(|(now, before)| now - before);
        if made.all(|made| made >= more) { Ok(()) } else { Err(format!("{:?}", counts())) }
    })
    .await;
}

impl Shared {
    async fn call(
        self: Arc<Self>,
        number: usize,
        store: Arc<AllLayers>,
        take: Check,
        mut random: Random,
    ) -> Vec<Token> {
        let mut tokens = Vec::new();
        while !self.stopped.load(Ordering::SeqCst) {
            let sent = now();
            let decision = store.decide(&take).await;
            let received = now();
            self.decisions.fetch_add(1, Ordering::SeqCst);
            match decision {
                Ok(decision) => {
                    let source = decision.source();
                    if source == Source::Lease {
                        self.by_lease[number].fetch_add(1, Ordering::SeqCst);
                    } else if source == Source::Local && decision.is_denied() {
                        self.local_denials[number].fetch_add(1, Ordering::SeqCst);
                    }
                    if decision.is_allowed() {
                        tokens.push(Token { store: number, source, sent, received });
                    }
                }
                Err(_) => {
                    self.errors.fetch_add(1, Ordering::SeqCst);
                }
            }
            if self.is_calm.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_micros(random.below(CALM_US))).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        tokens
    }
}

// === impl Tokens ===

impl Tokens {
    /// Counts what is left in the bucket as if it were admitted now, which it could be.
    pub(super) async fn count_what_is_left(&mut self, stores: &Stores<AllLayers>) {
        let look = check(OnStoreFailure::Error, Cost::NONE);
        let sent = now();
        let decision = stores.all()[0].decide(&look).await.expect("Redis decides");
        let tokens = decision.verdicts()[0].remaining;
        self.left.push(Admitted { tokens, sent, received: now() });
    }

    /// Returns how many tokens Redis admitted or lent beyond the limit, in any window.
    pub(super) fn beyond_by_redis(&self) -> u64 {
        let by_redis = self.all.iter().filter(|token| token.source != Source::Local);
        let mut admitted: Vec<_> = by_redis.map(Token::admitted).collect();
        admitted.extend(&self.left);
        excess(PER_SECOND, BURST, &admitted)
    }

    /// Returns how many tokens a store admitted locally beyond its share of the limit.
    pub(super) fn beyond_locally(&self) -> u64 {
        let replicas = STORES as u64;
        let of_store = |store| {
            let local = self.all.iter().filter(move |token| token.source == Source::Local);
            let local = local.filter(move |token| token.store == store);
            let admitted: Vec<_> = local.map(Token::admitted).collect();
            excess(PER_SECOND / replicas, BURST / replicas, &admitted)
        };
        (0..STORES).map(of_store).max().unwrap_or_default()
    }

    pub(super) fn from(&self, source: Source) -> usize {
        self.all.iter().filter(|token| token.source == source).count()
    }

    /// Returns the tokens of leases that were certainly admitted between two instants.
    pub(super) fn of_leases_between(&self, start: Instant, end: Instant) -> usize {
        let of_leases = self.all.iter().filter(|token| token.source == Source::Lease);
        of_leases.filter(|token| token.sent > start && token.received < end).count()
    }
}

impl Token {
    fn admitted(&self) -> Admitted {
        Admitted { tokens: 1, sent: self.sent, received: self.received }
    }
}

fn excess(per_second: u64, burst: u64, admitted: &[Admitted]) -> u64 {
    let limit = WindowLimit::new(per_second, Duration::from_secs(1), burst);
    limit.worst_excess(admitted).map_or(0, Excess::tokens)
}
