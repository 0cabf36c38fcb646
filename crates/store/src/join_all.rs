//! Waits for several results at once.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::StoreFuture;

/// Several futures that are polled together. Its result is theirs, in the same order.
///
/// Every wake-up polls all that are not ready, which suits the few nodes or partitions of a store.
#[derive(Debug)]
pub(crate) struct JoinAll<'a, T> {
    futures: Vec<StoreFuture<'a, T>>,
    results: Vec<Option<T>>,
}

/// Waits for all of `futures`.
pub(crate) fn join_all<'a, T>(
    futures: impl IntoIterator<Item = StoreFuture<'a, T>>,
) -> JoinAll<'a, T> {
    let futures: Vec<_> = futures.into_iter().collect();
    let results = futures.iter().map(|_| None).collect();
    JoinAll { futures, results }
}

/// The futures and their results are never pinned.
impl<T> Unpin for JoinAll<'_, T> {}

impl<T> Future for JoinAll<'_, T> {
    type Output = Vec<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<T>> {
        let Self { futures, results } = self.get_mut();
        let mut all_ready = true;
        for (future, result) in futures.iter_mut().zip(&mut *results) {
            if result.is_none() {
                match Pin::new(future).poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => all_ready = false,
                }
            }
        }
        if all_ready { Poll::Ready(results.drain(..).flatten().collect()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn results_stand_in_the_order_of_their_futures_and_are_waited_for_together() {
        let started = tokio::time::Instant::now();
        let futures = [30, 0, 10, 20].map(|after| match after {
            0 => StoreFuture::ready(after),
            after => StoreFuture::pending(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                after
            }),
        });
        assert_eq!(join_all(futures).await, [30, 0, 10, 20]);
        assert_eq!(started.elapsed(), Duration::from_millis(30), "the longest one");
        assert!(join_all(Vec::<StoreFuture<'_, u8>>::new()).await.is_empty());
    }
}
