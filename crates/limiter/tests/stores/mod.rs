//! Stores that are slow, that fail, or that record their calls.

use std::{sync::Mutex, time::Duration};

use sluice_core::{Check, Decision};
use sluice_store::{MemoryStore, Store, StoreError, StoreFuture};
use tokio::sync::Semaphore;

/// Records how many checks each call has.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    calls: Mutex<Vec<usize>>,
}

impl<S> Counted<S> {
    pub(crate) fn over(inner: S) -> Self {
        Self { inner, calls: Mutex::default() }
    }

    pub(crate) fn calls(&self) -> Vec<usize> {
        self.calls.lock().expect("no test panics with the lock").clone()
    }

    fn record(&self, checks: usize) {
        self.calls.lock().expect("no test panics with the lock").push(checks);
    }
}

impl<S: Store> Store for Counted<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.record(1);
        self.inner.decide(check)
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        self.record(checks.len());
        self.inner.decide_all(checks)
    }
}

/// Holds every check back until the test lets it through.
#[derive(Debug)]
pub(crate) struct Slow<C> {
    inner: MemoryStore<C>,
    arrived: Semaphore,
    gate: Semaphore,
}

impl<C> Slow<C> {
    pub(crate) fn over(inner: MemoryStore<C>) -> Self {
        Self { inner, arrived: Semaphore::new(0), gate: Semaphore::new(0) }
    }

    /// Waits for a check to arrive.
    pub(crate) async fn arrived(&self) {
        self.arrived.acquire().await.expect("it is never closed").forget();
    }

    pub(crate) fn let_through(&self, checks: usize) {
        self.gate.add_permits(checks);
    }
}

impl<C: sluice_store::Clock> Store for Slow<C> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::pending(async {
            self.arrived.add_permits(1);
            self.gate.acquire().await.expect("it is never closed").forget();
            self.inner.decide(check).await
        })
    }
}

/// Fails every check.
#[derive(Debug)]
pub(crate) struct Unavailable;

impl Unavailable {
    const ERROR: StoreError = StoreError::Timeout { within: Duration::from_millis(25) };
}

impl Store for Unavailable {
    fn decide<'a>(&'a self, _: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::ready(Err(Self::ERROR))
    }
}
