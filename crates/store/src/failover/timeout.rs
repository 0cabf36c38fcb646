//! Waiting for the store, but no longer than a deadline.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::{StoreError, StoreFuture};

/// How late a timer may fire on a machine that is merely busy: the timer's own grain, and a turn of
/// the runtime.
const TIMELY: Duration = Duration::from_millis(3);

/// The answer, if it comes within `limit` of this process' own time.
///
/// A timer that fires late tells that this process did not run: its container had used up its share
/// of the processors, or too many others wanted them. The answer may lie unread in the socket since
/// long before the deadline, and who takes that for a store that is away decides by its share
/// although nothing is wrong. So what the process lost is given back once, up to `limit`.
///
/// # Errors
/// When no answer comes.
pub(super) async fn within<T>(
    limit: Duration,
    mut answer: StoreFuture<'_, T>,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + limit;
    if let Ok(answer) = timeout_at(deadline, &mut answer).await {
        return Ok(answer);
    }
    let late = deadline.elapsed();
    if late > TIMELY
        && let Ok(answer) = timeout(late.min(limit), answer).await
    {
        return Ok(answer);
    }
    Err(StoreError::Timeout { within: limit })
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, task, time};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(25);

    /// Waits for an answer that comes a few turns of the runtime after `unheard`, in which this
    /// process does nothing at all.
    async fn after(unheard: Duration) -> Result<u32, StoreError> {
        let (reply, replied) = oneshot::channel();
        let waiting =
            tokio::spawn(within(LIMIT, StoreFuture::pending(async { replied.await.unwrap() })));
        task::yield_now().await;
        time::advance(unheard).await;
        tokio::spawn(async {
            for _ in 0..5 {
                task::yield_now().await;
            }
            let _ = reply.send(7);
        });
        waiting.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_lay_unread_while_the_process_stood_still_is_heard() {
        assert_eq!(after(Duration::from_millis(80)).await.unwrap(), 7);
        assert_eq!(after(Duration::from_secs(3600)).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_runs_waits_no_longer_than_the_limit() {
        let begin = Instant::now();
        let never = within::<()>(LIMIT, StoreFuture::pending(std::future::pending())).await;
        assert!(matches!(never, Err(StoreError::Timeout { within: LIMIT })), "{never:?}");
        assert!(begin.elapsed() <= LIMIT + TIMELY, "waited {:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_lost_is_given_back_once_and_at_most_once_over() {
        let begin = Instant::now();
        let waiting =
            tokio::spawn(within::<()>(LIMIT, StoreFuture::pending(std::future::pending())));
        task::yield_now().await;
        time::advance(Duration::from_millis(500)).await;
        assert!(waiting.await.unwrap().is_err());
        assert!(
            begin.elapsed() <= Duration::from_millis(500) + LIMIT + TIMELY,
            "waited {:?}",
            begin.elapsed()
        );
    }
}
