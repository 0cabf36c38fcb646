//! Counts tokens while many tasks take them at once.

use parking_lot::Mutex;
use sluice_core::{Retry, Source, Timestamp};
use tokio::task::JoinSet;

use super::*;
use crate::{Clock, ManualClock};

const RATE: u64 = 100;
const BURST: u64 = 1_000;
const REPLICAS: usize = 4;
const OUTAGE: Duration = Duration::from_millis(900);

/// When tokens were admitted, and how many.
type Admitted = Mutex<Vec<(Timestamp, u64)>>;

/// Takes tokens until the outage is over by the clock, and then until a single token is denied.
async fn take_all(
    store: Arc<Failover<Arc<Scripted>>>,
    limit: Limit,
    clock: Arc<ManualClock>,
    end: Timestamp,
    admitted: Arc<Admitted>,
) {
    for tokens in (1..=7).cycle() {
        let over = clock.now() >= end;
        let decision = store.decide(&check(Action::Take, &[(&limit, tokens)])).await.unwrap();
        assert_eq!(decision.source(), Source::Local);
        if decision.is_allowed() {
            admitted.lock().push((decision.at(), tokens));
        } else if over && tokens == 1 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Asserts that no window of time contains more than `burst` and the refill of its length.
fn assert_limit_holds(mut admitted: Vec<(Timestamp, u64)>, rate: u64, burst: u64) {
    admitted.sort_unstable();
    for (first, (start, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for (at, tokens) in &admitted[first..] {
            sum += tokens;
            let span = u64::try_from(at.since(*start).as_micros()).unwrap();
            assert!(
                sum * 1_000_000 <= burst * 1_000_000 + rate * span,
                "{sum} tokens in {span} us"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_without_its_store_holds_the_limit_and_charges_every_token() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
    let inner = Arc::new(Scripted::new(clock.clone()));
    inner.set(Behaviour::Unreachable);
    let limit = Limit::new("fast", algorithm(&format!("{RATE}/second"), BURST)).unwrap();
    let fleet: Vec<_> = (0..REPLICAS)
        .map(|_| {
            let replica = Failover::with_clock(Arc::clone(&inner), TIMEOUT, clock.clone());
            replica.set_live_replicas(REPLICAS);
            (Arc::new(replica), Arc::new(Admitted::default()))
        })
        .collect();

    let end = clock.now().after(OUTAGE);
    let mut tasks = JoinSet::new();
    for (store, admitted) in &fleet {
        for _ in 0..8 {
            tasks.spawn(take_all(
                Arc::clone(store),
                limit.clone(),
                clock.clone(),
                end,
                Arc::clone(admitted),
            ));
        }
    }
    // Time starts only when each share's burst is spent: a full bucket gains no refill.
    for (store, _) in &fleet {
        let spent = async || store.decide(&peek(&limit)).await.unwrap().is_denied();
        eventually_async("the share's burst is spent", spent).await;
    }
    while clock.now() < end {
        clock.advance(Duration::from_millis(1));
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;

    let share = REPLICAS as u64;
    let mut all = Vec::new();
    for (_, admitted) in &fleet {
        let admitted = std::mem::take(&mut *admitted.lock());
        let sum: u64 = admitted.iter().map(|(_, tokens)| tokens).sum();
        assert_eq!(
            sum,
            BURST / share + RATE / share * 900 / 1_000,
            "a share is spent to the last token"
        );
        assert_limit_holds(admitted.clone(), RATE / share, BURST / share);
        all.extend(admitted);
    }
    let sum: u64 = all.iter().map(|(_, tokens)| tokens).sum();
    assert_limit_holds(all, RATE, BURST);

    inner.set(Behaviour::Responds);
    for (store, _) in &fleet {
        eventually_async("every token is charged", async || {
            let state = store.state();
            state.breaker == BreakerState::Closed && state.owed_buckets == 0
        })
        .await;
    }
    let owed = sum - BURST + 1;
    let real = inner.decide_anyway(&peek(&limit));
    assert_eq!(
        real.retry(),
        Retry::After(Duration::from_millis(owed * 1_000 / RATE)),
        "all {sum} tokens were charged to a full bucket"
    );
}
