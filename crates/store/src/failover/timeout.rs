//! Waits for the store, but no longer than a timeout.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::StoreError;

/// How late a timer may fire in a process that runs normally: the timer's resolution and one turn
/// of the runtime.
const TIMER_SLACK: Duration = Duration::from_millis(3);

/// Waits for `future`, for at most `limit` of the time in which this process runs.
///
/// A timer that fires late shows that this process did not run: its container had used up its CPU
/// quota, or other processes needed the CPU. The reply may have arrived in time and still wait in
/// the socket. To treat that as an unavailable store would apply the local fallback although
/// nothing is wrong. So the time lost is added to the deadline once, up to `limit`.
///
/// # Errors
/// [`StoreError::Timeout`] when the result does not arrive in time.
pub(super) async fn with_timeout<T>(
    limit: Duration,
    future: impl Future<Output = T> + Unpin,
) -> Result<T, StoreError> {
    with_deadline(Instant::now() + limit, limit, future).await
}

/// Waits as [`with_timeout`] does, for a caller that has waited since `limit` before `deadline`.
///
/// # Errors
/// As [`with_timeout`].
pub(super) async fn with_deadline<T>(
    deadline: Instant,
    limit: Duration,
    mut future: impl Future<Output = T> + Unpin,
) -> Result<T, StoreError> {
    if let Ok(result) = timeout_at(deadline, &mut future).await {
        return Ok(result);
    }
    let late = deadline.elapsed();
    if late > TIMER_SLACK
        && let Ok(result) = timeout(late.min(limit), future).await
    {
        return Ok(result);
    }
    Err(StoreError::Timeout { within: limit })
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, task, time};

    use super::*;
    use crate::StoreFuture;

    const LIMIT: Duration = Duration::from_millis(25);

    /// Waits for a reply while this process does not run for `stopped`. The reply is read a few
    /// turns of the runtime after that.
    async fn wait_in_a_process_stopped_for(stopped: Duration) -> Result<u32, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let waiting = tokio::spawn(with_timeout(
            LIMIT,
            StoreFuture::pending(async { receiver.await.unwrap() }),
        ));
        task::yield_now().await;
        time::advance(stopped).await;
        tokio::spawn(async {
            for _ in 0..5 {
                task::yield_now().await;
            }
            let _ = sender.send(7);
        });
        waiting.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_arrived_while_the_process_did_not_run_is_accepted() {
        for stopped in [Duration::from_millis(80), Duration::from_secs(3600)] {
            assert_eq!(wait_in_a_process_stopped_for(stopped).await.unwrap(), 7);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_runs_waits_no_longer_than_the_limit() {
        let start = Instant::now();
        let result = with_timeout::<()>(LIMIT, StoreFuture::pending(std::future::pending())).await;
        assert!(matches!(result, Err(StoreError::Timeout { within: LIMIT })), "{result:?}");
        assert!(start.elapsed() <= LIMIT + TIMER_SLACK, "waited {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_extended_once_and_by_no_more_than_the_limit() {
        let start = Instant::now();
        let waiting =
            tokio::spawn(with_timeout::<()>(LIMIT, StoreFuture::pending(std::future::pending())));
        task::yield_now().await;
        let stopped = Duration::from_millis(500);
        time::advance(stopped).await;
        assert!(waiting.await.unwrap().is_err());
        assert!(start.elapsed() <= stopped + LIMIT + TIMER_SLACK, "waited {:?}", start.elapsed());
    }
}
