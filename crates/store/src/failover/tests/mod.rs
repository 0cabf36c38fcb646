//! The promises of a failover, tested with a store that fails on command and on a paused clock.

mod breaker;
mod charges;
mod counting;
mod holds;
mod in_doubt;
mod lifetime;
mod policies;
mod scripted;
mod several_nodes;
mod slots;

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Mode, OnStoreFailure, Rate, Subject, Tag,
    Tagger, Term,
};
use sluice_testkit::eventually_async;

use self::scripted::{Behaviour, RuntimeClock, Scripted};
use super::{BreakerState, Failover};
use crate::{Store, StoreError};

const TIMEOUT: Duration = Duration::from_millis(25);

/// A failover over a scripted store. Both use the runtime's clock, which only advances when all
/// tasks wait.
struct Fixture {
    store: Failover<Arc<Scripted>>,
    inner: Arc<Scripted>,
}

impl Fixture {
    fn new(behaviour: Behaviour) -> Self {
        let clock = Arc::new(RuntimeClock::new());
        let inner = Arc::new(Scripted::new(clock.clone()));
        inner.set(behaviour);
        Self { store: Failover::with_clock(Arc::clone(&inner), TIMEOUT, clock), inner }
    }

    async fn decide(&self, check: &Check) -> Decision {
        self.store.decide(check).await.unwrap()
    }

    /// Peeks until the breaker is open, at a limit that has no local bucket.
    async fn open_breaker(&self) {
        let check = peek(&limit("probe").with_on_store_failure(OnStoreFailure::Allow));
        for _ in 0..3 {
            self.decide(&check).await;
        }
        assert_eq!(self.store.state().breaker, BreakerState::Open);
    }

    async fn breaker_is(&self, state: BreakerState) {
        eventually_async("the breaker has changed its state", async || {
            self.store.state().breaker == state
        })
        .await;
    }

    /// Lets the store respond again, and waits until it has been charged for everything.
    async fn recover(&self) {
        self.inner.set(Behaviour::Responds);
        self.breaker_is(BreakerState::Closed).await;
        eventually_async("nothing is owed", async || self.store.state().owed_buckets == 0).await;
    }

    /// Returns the tokens left in the store's bucket of `limit`.
    async fn left(&self, limit: &Limit) -> u64 {
        self.inner.decide_anyway(&peek(limit)).binding().unwrap().remaining
    }
}

/// Returns a limit of 60 per minute, with a burst of 10.
fn limit(name: &str) -> Limit {
    Limit::new(name, algorithm("60/minute", 10)).unwrap()
}

/// Returns a limit of one token per day, so that none comes back while a test counts them.
fn slow(name: &str, burst: u64) -> Limit {
    Limit::new(name, algorithm("1/day", burst)).unwrap()
}

fn algorithm(rate: &str, burst: u64) -> Algorithm {
    Algorithm::TokenBucket(Rate::new(rate.parse().unwrap(), burst).unwrap())
}

fn alice() -> Tag {
    Tagger::new(b"").tag(Subject::Client(b"alice"))
}

fn cost(tokens: u64) -> Cost {
    Cost::new(tokens).unwrap()
}

fn check(action: Action, parts: &[(&Limit, u64)]) -> Check {
    parts.iter().fold(Check::new(action), |check, (limit, tokens)| {
        check.with(&Arc::new((*limit).clone()), alice(), cost(*tokens))
    })
}

fn take(limit: &Limit) -> Check {
    check(Action::Take, &[(limit, 1)])
}

fn peek(limit: &Limit) -> Check {
    check(Action::Peek, &[(limit, 1)])
}
