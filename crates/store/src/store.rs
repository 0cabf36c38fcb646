//! The trait that every store and every wrapper implements.

use std::fmt;

use sluice_core::{Check, Decision};

use crate::{Fleet, Replica, StoreError, StoreFuture};

/// Keeps buckets and decides checks on them, each all or nothing, at its own time.
///
/// All stores give the same answers to the same history; `tests/conformance.rs` lists the truths
/// that each of them passes.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Decides one check. A denial is an answer, not an error.
    ///
    /// # Errors
    /// When the store cannot decide; whether the costs were taken is then unknown, unless the error
    /// says otherwise.
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>>;

    /// Decides many checks in their order, each by itself, in as few round trips as the store can.
    /// Answers stand in the order of the checks.
    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>>;

    /// Whether the store would decide now: what readiness and breakers ask. It writes nothing that
    /// lasts.
    ///
    /// # Errors
    /// When it would not.
    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>>;

    /// Says that `replica` is alive, and learns who else is.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>>;

    /// Takes `replica` off the list of the living, as it stops on purpose.
    ///
    /// # Errors
    /// When the store cannot be reached; the others then forget it after a while.
    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>>;
}

/// A shared store is a store.
impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        (**self).decide(check)
    }

    fn decide_all<'a>(
        &'a self,
        checks: &'a [Check],
    ) -> StoreFuture<'a, Vec<Result<Decision, StoreError>>> {
        (**self).decide_all(checks)
    }

    fn probe(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        (**self).probe()
    }

    fn announce<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<Fleet, StoreError>> {
        (**self).announce(replica)
    }

    fn depart<'a>(&'a self, replica: &'a Replica) -> StoreFuture<'a, Result<(), StoreError>> {
        (**self).depart(replica)
    }
}
