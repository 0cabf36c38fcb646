//! No task outlives the failover, and the failover outlives runtimes.

use std::{
    future::Future,
    sync::Weak,
    task::{Context, Poll, Waker},
};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{ManualClock, MemoryStore, MonotonicClock};

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_time().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
    ]
}

fn failover() -> (Failover<Arc<Scripted>>, Arc<Scripted>) {
    let clock = Arc::new(MonotonicClock::new());
    let inner = Arc::new(Scripted::new(clock.clone()));
    (Failover::with_clock(Arc::clone(&inner), TIMEOUT, clock), inner)
}

async fn wait_until_closed(store: &Failover<Arc<Scripted>>) {
    eventually_async("the breaker has closed", async || {
        store.state().breaker == BreakerState::Closed
    })
    .await;
}

/// Polls once, outside of a runtime.
fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn results_that_are_ready_need_no_runtime() {
    let store = Failover::over(MemoryStore::new(), TIMEOUT);
    let check = take(&limit("a"));
    assert!(matches!(store.decide(&check), crate::StoreFuture::Ready(_)));
    assert!(
        matches!(poll(store.decide(&check)), Poll::Ready(Ok(decision)) if decision.is_allowed())
    );
    assert!(matches!(poll(store.probe()), Poll::Ready(Ok(()))));
}

#[test]
fn a_failure_outside_a_runtime_is_recovered_inside_one() {
    for runtime in runtimes() {
        let (store, inner) = failover();
        inner.set(Behaviour::Unreachable);
        let check = take(&slow("daily", 10));
        for _ in 0..5 {
            assert!(matches!(poll(store.decide(&check)), Poll::Ready(Ok(_))));
        }
        assert_eq!(store.state().breaker, BreakerState::Open);
        inner.set(Behaviour::Responds);
        runtime.block_on(async {
            store.decide(&check).await.unwrap();
            wait_until_closed(&store).await;
        });
        assert_eq!(store.state().charged_tokens, 6);
    }
}

#[test]
fn a_second_runtime_takes_over_from_the_first() {
    let (store, inner) = failover();
    let check = take(&slow("daily", 10));
    inner.set(Behaviour::Unreachable);
    let [first, second] = runtimes();
    first.block_on(async {
        for _ in 0..4 {
            store.decide(&check).await.unwrap();
        }
    });
    drop(first);
    inner.set(Behaviour::Responds);
    second.block_on(async {
        store.decide(&check).await.unwrap();
        wait_until_closed(&store).await;
    });
    assert_eq!(store.state().charged_tokens, 5);
}

#[test]
fn a_runtime_that_ends_during_a_charge_loses_nothing() {
    let (store, inner) = failover();
    let limit = slow("daily", 10);
    let first = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    first.block_on(async {
        inner.set(Behaviour::Unreachable);
        for _ in 0..4 {
            store.decide(&take(&limit)).await.unwrap();
        }
        inner.set(Behaviour::RespondsAfter(TIMEOUT / 2));
        while inner.count_calls(&scripted::StoreCall::DecideAll(1)) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(store.state().owed_buckets, 0, "the charge is in flight");
    });
    drop(first);
    assert_eq!((store.state().owed_buckets, store.state().charged_tokens), (1, 0));
    inner.set(Behaviour::Responds);
    let [second, _] = runtimes();
    second.block_on(async {
        store.decide(&peek(&limit)).await.unwrap();
        wait_until_closed(&store).await;
    });
    assert_eq!(store.state().charged_tokens, 4);
}

#[test]
fn a_call_does_not_wait_for_a_runtime_that_nobody_runs() {
    let (store, inner) = failover();
    inner.set(Behaviour::Hangs);
    let [idle, other] = runtimes();
    for runtime in [&idle, &other] {
        let check = take(&limit("a"));
        let decided =
            async { tokio::time::timeout(Duration::from_secs(10), store.decide(&check)).await };
        runtime.block_on(decided).expect("the timeout ends the wait").unwrap();
    }
}

#[test]
fn no_task_outlives_the_failover() {
    for (runtime, behaviour) in runtimes().into_iter().flat_map(|runtime| {
        let runtime = Arc::new(runtime);
        [Behaviour::Unreachable, Behaviour::Hangs]
            .map(|behaviour| (Arc::clone(&runtime), behaviour))
    }) {
        let gone: Weak<Scripted> = runtime.block_on(async {
            let (store, inner) = failover();
            inner.set(behaviour);
            for _ in 0..4 {
                store.decide(&take(&limit("a"))).await.unwrap();
            }
            assert_ne!(runtime.metrics().num_alive_tasks(), 0);
            Arc::downgrade(&inner)
        });
        runtime.block_on(eventually_async("the task has ended", async || {
            runtime.metrics().num_alive_tasks() == 0
        }));
        assert!(gone.upgrade().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_failover_and_not_only_after_its_pause() {
    let fixture = Fixture::new(Behaviour::Unreachable);
    fixture.open_breaker().await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    drop(fixture);
    // The paused clock does not advance while a task can run.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_when_recovery_is_complete_and_starts_again_when_needed() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let fixture = Fixture::new(Behaviour::Responds);
    for round in 1..=3 {
        fixture.inner.set(Behaviour::Unreachable);
        fixture.open_breaker().await;
        fixture.decide(&take(&slow("daily", 10))).await;
        assert_eq!(tasks(), 1, "one task is enough");
        fixture.recover().await;
        eventually_async("the task has ended", async || tasks() == 0).await;
        assert_eq!(
            (fixture.store.state().opened, fixture.store.state().charged_tokens),
            (round, round)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn idle_local_buckets_are_forgotten_after_the_outage() {
    let clock =
        Arc::new(ManualClock::new(sluice_core::Timestamp::from_unix_micros(1_800_000_000_000_000)));
    let inner = Arc::new(Scripted::new(clock.clone()));
    let store = Failover::with_clock(Arc::clone(&inner), TIMEOUT, clock.clone());
    inner.set(Behaviour::Unreachable);
    store.decide(&take(&limit("a"))).await.unwrap();
    assert_eq!(store.guarded.fallback.buckets.len(), 1);
    clock.advance(Duration::from_secs(10));
    inner.set(Behaviour::Responds);
    store.announce(&crate::Replica::new("a", "1")).await.unwrap();
    assert_eq!(store.guarded.fallback.buckets.len(), 0);
}
