//! The promises of the wrapper, on a store that fails on command and on a clock that stands still.

mod breaker;
mod charges;
mod counting;
mod lifetime;
mod policies;
mod scripted;

use std::{sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Mode, OnStoreFailure, Rate, Subject, Tag,
    Tagger,
};
use sluice_testkit::eventually_async;

use self::scripted::{Mood, RuntimeClock, Scripted};
use super::{BreakerState, Failover};
use crate::{Store, StoreError};

const TIMEOUT: Duration = Duration::from_millis(25);

/// A failover over a store that does as it is told; both on the runtime's clock, which only moves
/// when everybody waits.
struct Stage {
    store: Failover<Arc<Scripted>>,
    inner: Arc<Scripted>,
}

impl Stage {
    fn set(mood: Mood) -> Self {
        let clock = Arc::new(RuntimeClock::new());
        let inner = Arc::new(Scripted::new(clock.clone()));
        inner.turn(mood);
        Self { store: Failover::with_clock(Arc::clone(&inner), TIMEOUT, clock), inner }
    }

    async fn decide(&self, check: &Check) -> Decision {
        self.store.decide(check).await.unwrap()
    }

    /// Asks until the breaker is open, with peeks at a limit that nobody counts.
    async fn open_breaker(&self) {
        let check = peek(&limit("probe").with_on_store_failure(OnStoreFailure::Allow));
        for _ in 0..3 {
            self.decide(&check).await;
        }
        assert_eq!(self.store.state().breaker, BreakerState::Open);
    }

    async fn breaker_is(&self, state: BreakerState) {
        eventually_async("the breaker has changed", async || self.store.state().breaker == state)
            .await;
    }

    /// Lets the store answer again, and waits until the wrapper has told it everything.
    async fn recover(&self) {
        self.inner.turn(Mood::Answers);
        self.breaker_is(BreakerState::Closed).await;
        eventually_async("nothing is owed", async || self.store.state().owed_buckets == 0).await;
    }

    /// The tokens left in the real bucket of `limit`.
    async fn left(&self, limit: &Limit) -> u64 {
        self.inner.really_decide(&peek(limit)).binding().unwrap().remaining
    }
}

/// 60 a minute, burst 10.
fn limit(name: &str) -> Limit {
    Limit::new(name, numbers("60/minute", 10)).unwrap()
}

/// One token a day, so that no refill blurs what a test counts.
fn slow(name: &str, burst: u64) -> Limit {
    Limit::new(name, numbers("1/day", burst)).unwrap()
}

fn numbers(rate: &str, burst: u64) -> Algorithm {
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
