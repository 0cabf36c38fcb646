//! Slots of requests in flight, as a program sees them.
#![allow(clippy::unwrap_used, reason = "in a test, a failed unwrap is a failed test")]

#[allow(dead_code, reason = "other tests use the other stores")]
mod stores;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http_body_util::BodyExt;
use sluice::{
    Algorithm, Checked, Client, Concurrent, Limiter, Policy, RateLimitLayer, Request, Rule, Terms,
    holds::{HoldTerms, Reserved},
    policy::OnLost,
    slots::HeldSlots,
    store::{ManualClock, MemoryStore, Store, StoreError, StoreFuture},
};
use sluice_core::{Check, Decision, Timestamp, Usage};
use stores::Slow;
use tokio::time::{advance, timeout};
use tower::{Layer, ServiceExt, service_fn};

const START: Timestamp = Timestamp::from_unix_micros(1_767_225_600_000_000);
const TERM: Duration = Duration::from_secs(10);
const SLOTS: u64 = 3;

/// A memory store whose clock a test moves, and that can be away.
#[derive(Debug)]
struct Away {
    inner: MemoryStore<Arc<ManualClock>>,
    is_away: AtomicBool,
}

impl Store for Away {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        if self.is_away.load(Ordering::SeqCst) {
            return StoreFuture::ready(Err(StoreError::BreakerOpen));
        }
        self.inner.decide(check)
    }
}

struct World {
    clock: Arc<ManualClock>,
    store: Arc<Away>,
}

fn policy(on_lost: OnLost) -> Policy {
    let concurrent = Concurrent::new(SLOTS).unwrap().with_on_lost(on_lost);
    let terms = Terms::new(Algorithm::Concurrent(concurrent));
    Policy::builder().limit(Rule::new("streams", terms)).build().unwrap()
}

fn request() -> Request<'static> {
    Request::new(Client::Key(b"alice"), "GET", "/stream")
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let inner = MemoryStore::with_clock(Arc::clone(&clock));
        Self { clock, store: Arc::new(Away { inner, is_away: AtomicBool::new(false) }) }
    }

    fn replica(&self, on_lost: OnLost) -> Limiter {
        let store: Arc<dyn Store> = self.store.clone();
        Limiter::builder(policy(on_lost)).store(store).build()
    }

    fn away(&self, is_away: bool) {
        self.store.is_away.store(is_away, Ordering::SeqCst);
    }

    /// Lets time pass, and tasks run.
    async fn wait(&self, span: Duration) {
        let step = Duration::from_millis(100);
        let mut passed = Duration::ZERO;
        while passed < span {
            self.clock.advance(step);
            advance(step).await;
            settle().await;
            passed += step;
        }
    }
}

/// Lets all tasks run that can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn follow(limiter: &Limiter) -> Checked {
    limiter.check(&request().followed()).await.unwrap()
}

async fn free(limiter: &Limiter) -> u64 {
    let looked = limiter.peek(&request().followed()).await.unwrap();
    looked.decision.verdicts()[0].remaining
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_held_until_the_last_clone_is_dropped() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let checked = follow(&limiter).await;
    let slots = checked.slots().clone();
    assert!(!slots.is_none() && slots.cut().is_none());
    drop(checked);
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS - 1);
    drop(slots);
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS);
    assert_eq!(limiter.finish_slots(Duration::ZERO).await, 0);
}

#[tokio::test(start_paused = true)]
async fn only_requests_that_are_followed_take_slots() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    for _ in 0..=SLOTS {
        let checked = limiter.check(&request()).await.unwrap();
        assert!(checked.is_allowed() && checked.slots().is_none());
    }
    let held: Vec<_> =
        [follow(&limiter).await, follow(&limiter).await, follow(&limiter).await].into();
    let denied = follow(&limiter).await;
    assert!(denied.is_denied() && denied.slots().is_none());
    assert_eq!(denied.decision.retry().after_seconds(), Some(1));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_batch_are_given_back_too() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let checked = limiter.check_all(&[request().followed(), request().followed()]).await;
    assert_eq!(free(&limiter).await, SLOTS - 2);
    drop(checked);
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS);
}

#[tokio::test(start_paused = true)]
async fn slots_are_renewed_as_long_as_they_are_held() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let (first, second) = (follow(&limiter).await, follow(&limiter).await);
    for _ in 0..8 {
        world.wait(TERM / 2).await;
        assert_eq!(free(&limiter).await, SLOTS - 2);
    }
    drop(first);
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS - 1);
    world.wait(TERM * 3).await;
    assert_eq!(free(&limiter).await, SLOTS - 1);
    drop(second);
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS);
}

#[tokio::test(start_paused = true)]
async fn slots_that_nobody_renews_return_within_two_terms() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let crashed = world.replica(OnLost::Finish);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Its runtime ends while it holds a slot, as that of a process that is killed.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let checked = runtime.unwrap().block_on(follow(&crashed));
            std::mem::forget(checked);
        });
    });
    assert_eq!(free(&limiter).await, SLOTS - 1);
    world.wait(TERM * 2).await;
    assert_eq!(free(&limiter).await, SLOTS);
}

#[tokio::test(start_paused = true)]
async fn a_lost_slot_of_a_request_that_goes_on_counts_again_when_the_store_is_back() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let checked = follow(&limiter).await;
    world.away(true);
    world.wait(TERM * 3).await;
    assert!(checked.slots().cut().is_none());
    world.away(false);
    assert_eq!(free(&limiter).await, SLOTS, "the store has forgotten it");
    world.wait(TERM / 4).await;
    assert_eq!(free(&limiter).await, SLOTS - 1);
    drop(checked);
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_cut_off_when_its_slot_is_lost() {
    let world = World::new();
    let limiter = world.replica(OnLost::Cut);
    let checked = follow(&limiter).await;
    let cut = tokio::spawn(checked.slots().cut().unwrap());
    world.wait(TERM * 3).await;
    assert!(!cut.is_finished(), "it is renewed");
    world.away(true);
    world.wait(TERM / 2).await;
    assert!(!cut.is_finished(), "it still counts");
    world.wait(TERM * 2).await;
    assert!(cut.is_finished());
    world.away(false);
    world.wait(TERM).await;
    assert_eq!(free(&limiter).await, SLOTS, "it does not count again");
}

#[tokio::test(start_paused = true)]
async fn replicas_never_have_more_in_flight_than_there_are_slots() {
    let world = World::new();
    let replicas = [world.replica(OnLost::Finish), world.replica(OnLost::Finish)];
    let mut held = std::collections::VecDeque::new();
    for round in 0..60 {
        for limiter in &replicas {
            let checked = follow(limiter).await;
            if checked.is_allowed() {
                held.push_back(checked);
            }
        }
        assert!(held.len() as u64 <= SLOTS);
        assert_eq!(free(&replicas[0]).await, SLOTS - held.len() as u64, "in round {round}");
        world.wait(Duration::from_millis(1_700)).await;
        if round % 3 == 0 {
            held.pop_front();
            settle().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_nobody_waits_for_gives_its_slot_back() {
    let clock = Arc::new(ManualClock::new(START));
    let store = Arc::new(Slow::over(MemoryStore::with_clock(clock)));
    let limiter = Limiter::builder(policy(OnLost::Finish)).store(store.clone()).build();
    // The caller goes before the store has decided.
    let waited = timeout(Duration::from_millis(10), follow(&limiter)).await;
    assert!(waited.is_err());
    store.arrived().await;
    // The check, and the slot's way back.
    store.let_through(2);
    settle().await;
    store.arrived().await;
    settle().await;
    store.let_through(1);
    assert_eq!(free(&limiter).await, SLOTS);
    assert_eq!(limiter.finish_slots(Duration::from_secs(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_process_waits_for_slots_that_are_given_back() {
    let clock = Arc::new(ManualClock::new(START));
    let store = Arc::new(Slow::over(MemoryStore::with_clock(clock)));
    let limiter = Limiter::builder(policy(OnLost::Finish)).store(store.clone()).build();
    store.let_through(1);
    drop(follow(&limiter).await);
    assert_eq!(limiter.finish_slots(Duration::from_secs(1)).await, 1, "the store hangs");
    store.let_through(1);
    assert_eq!(limiter.finish_slots(Duration::from_secs(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_hold_renews_its_slot_and_its_settlement_gives_it_back() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let terms = HoldTerms::default().renewing_slots();
    let Reserved::Held(hold) = limiter.reserve(&request(), terms).await.unwrap() else {
        panic!("nothing is held yet");
    };
    assert!(hold.reservation().hold_for > TERM);
    world.wait(TERM * 3).await;
    assert_eq!(free(&limiter).await, SLOTS - 1);
    hold.settle(&Usage::default()).await.unwrap();
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS);

    let Reserved::Held(hold) = limiter.reserve(&request(), terms).await.unwrap() else {
        panic!("nothing is held any more");
    };
    world.wait(TERM).await;
    drop(hold);
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS, "a hold that is dropped gives its slot back");
}

#[tokio::test(start_paused = true)]
async fn a_hold_for_another_process_is_bounded_by_the_term() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let request = request();
    let reserve = limiter.reserve(&request, HoldTerms::default());
    let Reserved::Held(hold) = reserve.await.unwrap() else { panic!("nothing is held yet") };
    assert_eq!(hold.reservation().hold_for, TERM);
    let reservation = hold.into_reservation();
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS - 1, "it is held on");
    limiter.settle(&reservation, &Usage::default()).await.unwrap();
    assert_eq!(free(&limiter).await, SLOTS);

    let renewing = limiter.reserve(&request, HoldTerms::default().renewing_slots());
    let Reserved::Held(hold) = renewing.await.unwrap() else { panic!("nothing is held") };
    world.wait(TERM * 2).await;
    let reservation = hold.into_reservation();
    settle().await;
    assert_eq!(free(&limiter).await, SLOTS - 1);
    limiter.settle(&reservation, &Usage::default()).await.unwrap();
    assert_eq!(free(&limiter).await, SLOTS, "as of its last renewal");
}

#[tokio::test(start_paused = true)]
async fn the_layer_holds_a_slot_to_the_end_of_the_body() {
    let world = World::new();
    let limiter = world.replica(OnLost::Finish);
    let inner = service_fn(async |_: http::Request<Body>| {
        Ok::<_, Infallible>(http::Response::new(Body::from("a file")))
    });
    let service = RateLimitLayer::new(limiter.clone())
        .key(|_: &http::request::Parts| Some(b"alice".to_vec()))
        .layer(inner);
    let ask = async || service.clone().oneshot(http::Request::new(Body::empty())).await.unwrap();
    let held = [ask().await, ask().await, ask().await];
    settle().await;
    assert_eq!(ask().await.status(), http::StatusCode::TOO_MANY_REQUESTS);
    let [mut read, dropped, _kept] = held;
    while read.body_mut().frame().await.is_some() {}
    settle().await;
    assert_eq!(free(&limiter).await, 1, "its body has ended");
    drop(dropped);
    settle().await;
    assert_eq!(free(&limiter).await, 2);
}

#[test]
fn without_a_runtime_slots_are_given_back_to_a_store_in_memory() {
    let limiter = Limiter::builder(policy(OnLost::Finish)).build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let checked = runtime.block_on(follow(&limiter));
    drop(checked);
    assert_eq!(runtime.block_on(free(&limiter)), SLOTS);
    drop(HeldSlots::none());
}
