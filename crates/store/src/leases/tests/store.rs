//! The wrapper over a store, whose replies come at once unless a test says otherwise.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sluice_core::{Action, Check, Decision, Limit, Mode, Precision, Retry, Source, Timestamp};
use tokio::sync::Notify;

use super::{
    super::Leasing,
    fixture::{Memory, check, clock, level, limit, memory, millis},
};
use crate::{Clock, Failover, ManualClock, MemoryStore, Replica, Store, StoreError, StoreFuture};

const RATE: &str = "1000/second, burst 1000";

fn leased(name: &str) -> Arc<Limit> {
    limit(name, RATE, Precision::Leased)
}

fn replica(store: &Memory, clock: &Arc<ManualClock>) -> Leasing<Memory> {
    Leasing::with_clock(Arc::clone(store), Arc::clone(clock) as Arc<dyn Clock>)
}

async fn take<S: Store>(store: &Leasing<S>, limits: &[&Arc<Limit>]) -> Decision {
    store.decide(&check(Action::Take, limits, 1)).await.unwrap()
}

/// Sends requests until a lease covers one.
async fn warm_up<S: Store>(store: &Leasing<S>, limit: &Arc<Limit>) {
    for _ in 0..100 {
        if take(store, &[limit]).await.source() == Source::Lease {
            return;
        }
    }
    panic!("100 requests at once are a demand");
}

async fn depart<S: Store>(store: &Leasing<S>) {
    store.depart(&Replica::new("a", "1")).await.unwrap();
}

#[tokio::test]
async fn a_busy_leased_limit_is_decided_in_the_process() {
    let clock = clock();
    let store = memory(&clock);
    let (leasing, hot) = (replica(&store, &clock), leased("hot"));
    let mut by_store = 0;
    for request in 0..500_u64 {
        let decision = take(&leasing, &[&hot]).await;
        assert!(decision.is_allowed());
        by_store += u32::from(decision.source() == Source::Store);
        let remaining = decision.verdicts()[0].remaining;
        assert!(remaining.abs_diff(999 - request) <= 250, "{request}: {remaining}");
        assert_eq!(decision.at(), clock.now());
    }
    assert!(by_store < 20, "{by_store}");
    depart(&leasing).await;
    assert_eq!(level(&store, &hot), 500, "nothing is lost and nothing is made");
}

#[tokio::test]
async fn whatever_cannot_be_leased_is_left_to_the_store() {
    let clock = clock();
    let store = memory(&clock);
    let leasing = replica(&store, &clock);
    let hot = leased("hot");
    let exact = limit("exact", RATE, Precision::Exact);
    let small = limit("small", "1000/second, burst 15", Precision::Leased);
    for _ in 0..50 {
        for other in [&exact, &small] {
            assert_eq!(take(&leasing, &[other]).await.source(), Source::Store);
        }
    }
    warm_up(&leasing, &hot).await;
    for (action, cost) in [
        (Action::Peek, 1),
        (Action::Take, 0),
        (Action::Take, 501),
        (Action::Charge, 1),
        (Action::GiveBack, 1),
        (Action::Reset, 1),
    ] {
        let decision = leasing.decide(&check(action, &[&hot], cost)).await.unwrap();
        assert_eq!(decision.source(), Source::Store, "{action:?} of {cost}");
    }
    let above = leasing.decide(&check(Action::Take, &[&hot], 1_001)).await.unwrap();
    assert_eq!(above.retry(), Retry::Never);
}

#[tokio::test]
async fn a_rare_request_is_left_to_the_store() {
    let clock = clock();
    let store = memory(&clock);
    let (leasing, hot) = (replica(&store, &clock), leased("hot"));
    for _ in 0..500 {
        assert_eq!(take(&leasing, &[&hot]).await.source(), Source::Store);
        // 100 a second: less than eight in the time of a block.
        clock.advance(millis(10));
    }
}

#[tokio::test]
async fn a_denial_by_an_exact_limit_takes_nothing_from_the_lease() {
    let clock = clock();
    let store = memory(&clock);
    let (leasing, hot) = (replica(&store, &clock), leased("hot"));
    let each = limit("each", "1/minute, burst 5", Precision::Exact);
    warm_up(&leasing, &hot).await;
    let mut held = take(&leasing, &[&hot]).await.verdicts()[0].remaining;
    for request in 0..10 {
        let decision = take(&leasing, &[&hot, &each]).await;
        assert_eq!(decision.is_allowed(), request < 5);
        assert_eq!(decision.source(), Source::Store);
        let [of_hot, of_each] = decision.verdicts() else { panic!("a verdict for each limit") };
        assert_eq!((of_hot.limit.name(), of_each.limit.name()), ("hot", "each"));
        held -= u64::from(decision.is_allowed());
        assert_eq!((of_hot.admitted, of_hot.remaining), (true, held));
    }
    depart(&leasing).await;
    assert_eq!(level(&store, &hot), held);
    assert_eq!(level(&store, &each), 0);
}

#[tokio::test]
async fn two_leased_limits_are_taken_from_together_or_not_at_all() {
    let clock = clock();
    let store = memory(&clock);
    let (leasing, one, two) = (replica(&store, &clock), leased("one"), leased("two"));
    let narrow = limit("narrow", "100/second, burst 100", Precision::Leased);
    let shadow = Arc::new((*narrow).clone().with_mode(Mode::Shadow));
    for _ in 0..40 {
        assert!(take(&leasing, &[&one, &two]).await.is_allowed());
    }
    let decision = take(&leasing, &[&one, &two]).await;
    assert_eq!((decision.source(), decision.verdicts().len()), (Source::Lease, 2));

    let mut allowed = 0;
    for _ in 0..300 {
        allowed += u64::from(take(&leasing, &[&one, &narrow]).await.is_allowed());
    }
    let denial = take(&leasing, &[&one, &narrow]).await;
    assert_eq!((denial.is_denied(), denial.source()), (true, Source::Lease));
    let [of_one, of_narrow] = denial.verdicts() else { panic!("a verdict for each limit") };
    assert!(of_one.admitted && !of_narrow.admitted);
    assert!(matches!(of_narrow.retry, Retry::After(wait) if wait <= millis(20)));
    let decision = take(&leasing, &[&one, &shadow]).await;
    assert!(decision.is_allowed(), "a limit in shadow mode does not deny");
    assert!(!decision.verdicts()[1].admitted);

    depart(&leasing).await;
    // Less than a block is left to others.
    assert!((75..=100).contains(&allowed), "{allowed}");
    assert_eq!(level(&store, &one), 1_000 - 40 - 1 - allowed - 1);
}

#[tokio::test]
async fn replicas_share_a_limit_and_return_what_they_hold() {
    let clock = clock();
    let store = memory(&clock);
    let hot = limit("hot", "1000/second, burst 500", Precision::Leased);
    let replicas = [replica(&store, &clock), replica(&store, &clock)];
    let mut admitted = 0;
    for _ in 0..1_000 {
        for leasing in &replicas {
            admitted += u64::from(take(leasing, &[&hot]).await.is_allowed());
        }
    }
    assert!(admitted <= 500, "{admitted}");
    for leasing in &replicas {
        depart(leasing).await;
    }
    assert_eq!(level(&store, &hot), 500 - admitted);
}

#[tokio::test]
async fn a_replica_that_crashes_costs_its_block_for_two_seconds() {
    let clock = clock();
    let store = memory(&clock);
    let (leasing, hot) = (replica(&store, &clock), leased("hot"));
    for _ in 0..200 {
        take(&leasing, &[&hot]).await;
    }
    drop(leasing);
    clock.advance(millis(1_000));
    assert!(level(&store, &hot) < 1_000);
    clock.advance(millis(1_500));
    assert_eq!(level(&store, &hot), 1_000);
}

#[tokio::test]
async fn after_it_has_departed_a_replica_leases_no_more_until_it_announces_itself() {
    let clock = clock();
    let store = memory(&clock);
    let (leasing, hot) = (replica(&store, &clock), leased("hot"));
    warm_up(&leasing, &hot).await;
    depart(&leasing).await;
    for _ in 0..50 {
        assert_eq!(take(&leasing, &[&hot]).await.source(), Source::Store);
    }
    leasing.announce(&Replica::new("a", "1")).await.unwrap();
    warm_up(&leasing, &hot).await;
}

#[tokio::test]
async fn a_batch_is_decided_in_order_and_what_leases_cover_is_not_sent() {
    let clock = clock();
    let store = memory(&clock);
    let (leasing, hot) = (replica(&store, &clock), leased("hot"));
    let each = limit("each", "1/minute, burst 1", Precision::Exact);
    warm_up(&leasing, &hot).await;
    let checks = [
        check(Action::Take, &[&hot], 1),
        check(Action::Take, &[&each], 1),
        check(Action::Take, &[&hot, &each], 1),
        check(Action::Peek, &[&hot], 1),
    ];
    let results = leasing.decide_all(&checks).await;
    let told: Vec<_> = results
        .into_iter()
        .map(|result| result.map(|decision| (decision.is_allowed(), decision.source())).unwrap())
        .collect();
    let by_store = |allowed| (allowed, Source::Store);
    assert_eq!(told, [(true, Source::Lease), by_store(true), by_store(false), by_store(true)]);
}

/// A store that replies when the test lets it, or not at all.
#[derive(Debug)]
struct Held {
    store: Memory,
    open: Notify,
    holds: AtomicBool,
    fails: AtomicBool,
    calls: AtomicU64,
}

impl Held {
    fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self {
            store: memory(clock),
            open: Notify::new(),
            holds: AtomicBool::new(false),
            fails: AtomicBool::new(false),
            calls: AtomicU64::new(0),
        })
    }
}

impl Store for Held {
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return StoreFuture::ready(Err(StoreError::BreakerOpen));
        }
        if self.holds.load(Ordering::SeqCst) {
            return StoreFuture::pending(async {
                self.open.notified().await;
                Ok(self.store.decide_now(check))
            });
        }
        self.store.decide(check)
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_leaves_the_tokens_spent() {
    let clock = clock();
    let held = Held::new(&clock);
    let leasing = Leasing::with_clock(Arc::clone(&held), Arc::clone(&clock) as Arc<dyn Clock>);
    let (hot, each) = (leased("hot"), limit("each", "1/minute, burst 5", Precision::Exact));
    warm_up(&leasing, &hot).await;
    let before = take(&leasing, &[&hot]).await.verdicts()[0].remaining;
    held.holds.store(true, Ordering::SeqCst);
    let both = check(Action::Take, &[&hot, &each], 1);
    let given_up = tokio::time::timeout(millis(1), leasing.decide(&both)).await;
    assert!(given_up.is_err());
    held.holds.store(false, Ordering::SeqCst);
    let after = take(&leasing, &[&hot]).await.verdicts()[0].remaining;
    assert_eq!(after, before - 2);
}

#[tokio::test]
async fn a_lease_is_spent_while_the_store_is_away() {
    let clock = clock();
    let held = Held::new(&clock);
    let failover = Failover::with_clock(
        Arc::clone(&held),
        Duration::from_millis(100),
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    let leasing = Leasing::with_clock(failover, Arc::clone(&clock) as Arc<dyn Clock>);
    let hot = leased("hot");
    warm_up(&leasing, &hot).await;
    held.fails.store(true, Ordering::SeqCst);
    let mut sources = Vec::new();
    for _ in 0..100 {
        let decision = take(&leasing, &[&hot]).await;
        assert!(decision.is_allowed());
        sources.push(decision.source());
    }
    assert_eq!(sources.first(), Some(&Source::Lease));
    assert_eq!(sources.last(), Some(&Source::Local));
    // Three failures open the breaker; no ask is repeated within a tenth of a second.
    assert!(held.calls.load(Ordering::SeqCst) < 50);
}

/// The time of the test's runtime, which is paused.
#[derive(Debug)]
struct RuntimeClock(tokio::time::Instant);

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(1_800_000_000_500_000).after(self.0.elapsed())
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_lease_is_returned_in_the_background_and_the_task_ends() {
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock(tokio::time::Instant::now()));
    let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock)));
    let leasing = Leasing::with_clock(Arc::clone(&store), clock);
    let hot = limit("hot", "1000/second, burst 100000", Precision::Leased);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for _ in 0..3 {
        assert_eq!(tasks(), 0);
        for _ in 0..50 {
            take(&leasing, &[&hot]).await;
        }
        assert_eq!(tasks(), 1);
        tokio::time::sleep(millis(300)).await;
    }
    let peek = store.decide_now(&check(Action::Peek, &[&hot], 1));
    // 300 ms refill 300 tokens, which is more than was taken.
    assert_eq!(peek.verdicts()[0].remaining, 100_000);
    take(&leasing, &[&hot]).await;
    warm_up(&leasing, &hot).await;
    assert_eq!(tasks(), 1);
    drop(leasing);
    tokio::task::yield_now().await;
    assert_eq!((tasks(), Arc::strong_count(&store)), (0, 1));
}
