//! Tells callers who have waited for a while that the store is slow. Nearly every reply comes long
//! before its deadline, so only those callers need a timer of their own.

use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::{self, Handle},
    sync::{Notify, futures::Notified},
    time::sleep,
};

use crate::background_task::{BackgroundTask, RunPermit};

/// For how many ticks without a call the clock goes on.
const IDLE_TICKS: u32 = 64;
/// How late a tick may be in a process that runs normally.
const SLACK: Duration = Duration::from_millis(4);

/// A clock for the callers of a store. It ticks while there are any.
#[derive(Debug)]
pub(super) struct SlowCalls {
    tick: Duration,
    /// The runtime of the first caller. The clock is for callers on it alone: those on others would
    /// wait for a runtime that nobody may be running.
    runtime: OnceLock<runtime::Id>,
    shared: Arc<Shared>,
    clock: BackgroundTask,
}

#[derive(Debug, Default)]
struct Shared {
    /// How often the clock has ticked.
    ticks: AtomicU64,
    /// Those who began to wait in even and in odd ticks.
    callers: [Notify; 2],
    /// Whether a caller came since the last tick.
    is_needed: AtomicBool,
}

impl SlowCalls {
    /// Makes a clock for a store that has `timeout` for every response.
    pub(super) fn of(timeout: Duration) -> Self {
        Self {
            tick: timeout / 4,
            runtime: OnceLock::new(),
            shared: Arc::default(),
            clock: BackgroundTask::default(),
        }
    }

    /// Returns what a caller who waits for at most `limit` from now is told by: one to two ticks
    /// from now. `None` if that might be after its deadline, outside of a runtime, and on another
    /// runtime than the first caller's.
    pub(super) fn wait(&self, limit: Duration) -> Option<Notified<'_>> {
        let here = Handle::try_current().ok()?.id();
        if limit < 2 * self.tick + SLACK || *self.runtime.get_or_init(|| here) != here {
            return None;
        }
        let Shared { ticks, callers, is_needed } = &*self.shared;
        // A store would take the line from the other cores.
        if !is_needed.load(Ordering::Relaxed) {
            is_needed.store(true, Ordering::Relaxed);
        }
        let told = callers[parity(ticks.load(Ordering::Acquire))].notified();
        // A clock that stops tells everyone, so whoever has found it running here is told.
        let run = |permit| {
            run(self.tick, Running { permit: Some(permit), shared: Arc::downgrade(&self.shared) })
        };
        self.clock.start(run).then_some(told)
    }

    pub(super) fn stop(&self) {
        self.clock.stop();
    }
}

/// Ticks until the callers have stopped coming.
async fn run(tick: Duration, running: Running) {
    let mut idle = 0;
    while idle < IDLE_TICKS {
        sleep(tick).await;
        let Some(shared) = running.shared.upgrade() else { return };
        idle = if shared.is_needed.swap(false, Ordering::Relaxed) { 0 } else { idle + 1 };
        shared.tick();
    }
}

impl Shared {
    /// Tells those who came before the last tick.
    fn tick(&self) {
        let next = self.ticks.load(Ordering::Relaxed) + 1;
        self.callers[parity(next)].notify_waiters();
        self.ticks.store(next, Ordering::Release);
    }
}

/// Held by the clock. Dropping it, also together with the runtime, stops the clock.
struct Running {
    permit: Option<RunPermit>,
    shared: Weak<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Released first: whoever comes later starts another clock.
        drop(self.permit.take());
        if let Some(shared) = self.shared.upgrade() {
            shared.callers.iter().for_each(Notify::notify_waiters);
        }
    }
}

fn parity(ticks: u64) -> usize {
    usize::from(ticks % 2 == 1)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::{Instant, timeout};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(40);
    const TICK: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn a_caller_is_told_after_one_to_two_ticks() {
        let slow = SlowCalls::of(TIMEOUT);
        let _first = slow.wait(TIMEOUT).unwrap();
        for after in [0, 3, 7] {
            sleep(Duration::from_millis(after)).await;
            let began = Instant::now();
            slow.wait(TIMEOUT).unwrap().await;
            let waited = began.elapsed();
            assert!((TICK..=2 * TICK + SLACK).contains(&waited), "{waited:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_with_less_time_is_not_told() {
        let slow = SlowCalls::of(TIMEOUT);
        assert!(slow.wait(2 * TICK).is_none());
        assert!(SlowCalls::of(SLACK).wait(SLACK).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stops_without_callers_and_starts_with_the_next() {
        let slow = SlowCalls::of(TIMEOUT);
        for _ in 0..2 {
            let tasks = || Handle::current().metrics().num_alive_tasks();
            slow.wait(TIMEOUT).unwrap().await;
            assert_eq!(tasks(), 1);
            sleep(TICK * (IDLE_TICKS + 5)).await;
            assert_eq!(tasks(), 0);
        }
    }

    #[test]
    fn a_caller_is_told_when_the_clocks_runtime_ends() {
        let new = || runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let slow = SlowCalls::of(TIMEOUT);
        assert!(slow.wait(TIMEOUT).is_none(), "there is no runtime");
        let other = new();
        let entered = other.enter();
        let told = slow.wait(TIMEOUT).unwrap();
        drop(entered);
        drop(other);
        let told = async { timeout(Duration::from_secs(5), pin!(told)).await };
        let another = new();
        another.block_on(told).unwrap();
        another.block_on(async { assert!(slow.wait(TIMEOUT).is_none(), "it has its own timers") });
    }
}
