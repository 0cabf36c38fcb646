//! Stores that are slow, away, or tell what they were asked.

use std::{sync::Mutex, time::Duration};

use sluice_core::{Check, Decision};
use sluice_store::{MemoryStore, Store, StoreError, StoreFuture};
use tokio::sync::Semaphore;

/// Remembers of how many checks each question was.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    inner: S,
    questions: Mutex<Vec<usize>>,
}

impl<S> Counted<S> {
    pub(crate) fn over(inner: S) -> Self {
        Self { inner, questions: Mutex::default() }
    }

    pub(crate) fn questions(&self) -> Vec<usize> {
        self.questions.lock().expect("no test fails while asking").clone()
    }

    fn asked(&self, checks: usize) {
        self.questions.lock().expect("no test fails while asking").push(checks);
    }
}

impl<S: Store> Store for Counted<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.asked(1);
        self.inner.decide(check)
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        self.asked(checks.len());
        self.inner.decide_all(checks)
    }
}

/// Answers when it is let through.
#[derive(Debug)]
pub(crate) struct Slow<C> {
    inner: MemoryStore<C>,
    asked: Semaphore,
    gate: Semaphore,
}

impl<C> Slow<C> {
    pub(crate) fn over(inner: MemoryStore<C>) -> Self {
        Self { inner, asked: Semaphore::new(0), gate: Semaphore::new(0) }
    }

    /// Waits for a check to arrive.
    pub(crate) async fn asked(&self) {
        self.asked.acquire().await.expect("it is never closed").forget();
    }

    pub(crate) fn let_through(&self, checks: usize) {
        self.gate.add_permits(checks);
    }
}

impl<C: sluice_store::Clock> Store for Slow<C> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::pending(async {
            self.asked.add_permits(1);
            self.gate.acquire().await.expect("it is never closed").forget();
            self.inner.decide(check).await
        })
    }
}

/// Never decides.
#[derive(Debug)]
pub(crate) struct Away;

impl Away {
    const ERROR: StoreError = StoreError::Timeout { within: Duration::from_millis(25) };
}

impl Store for Away {
    fn decide<'a>(&'a self, _: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::ready(Err(Self::ERROR))
    }
}
