//! Measures how long the store is waited for.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use sluice_store::StoreFuture;

/// Waits for the store. Returns also since when, if it had to wait: reading the clock twice takes
/// as long as a decision in memory.
///
/// An `async fn` would keep a second copy of the store's future, and so be twice as large.
pub(crate) struct Timed<'a, T> {
    future: StoreFuture<'a, T>,
    since: Option<Instant>,
}

impl<'a, T> From<StoreFuture<'a, T>> for Timed<'a, T> {
    fn from(future: StoreFuture<'a, T>) -> Self {
        Self { future, since: None }
    }
}

impl<T> Future for Timed<'_, T> {
    type Output = (T, Option<Instant>);

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { future, since } = self.get_mut();
        if since.is_none() && matches!(future, StoreFuture::Pending(_)) {
            *since = Some(Instant::now());
        }
        let result = ready!(Pin::new(future).poll(context));
        Poll::Ready((result, *since))
    }
}
