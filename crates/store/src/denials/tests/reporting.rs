//! A store that reports returned tokens, when a test says so.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sluice_core::{Action, BucketId, Check, Cost, Decision, Partition, Timestamp};

use crate::{
    Clock, ManualClock, MemoryStore, ObserveReturns, Store, StoreError, StoreFuture, SubscriptionId,
};

/// A server that several replicas use.
pub(super) struct Server {
    pub(super) store: MemoryStore<Arc<ManualClock>>,
    /// The server's clock.
    pub(super) clock: Arc<ManualClock>,
    /// That of the replicas.
    pub(super) local: Arc<ManualClock>,
    links: Mutex<Vec<Link>>,
    calls: AtomicUsize,
}

/// What one replica sends to the server, and hears of it.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    server: Arc<Server>,
    observer: Mutex<Option<Arc<dyn ObserveReturns>>>,
    /// 0 while there is none.
    subscription: AtomicU64,
    /// Reports on their way.
    reports: Mutex<VecDeque<BucketId>>,
}

impl Server {
    pub(super) fn new() -> Arc<Self> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(1_800_000_000_000_000)));
        Arc::new(Self {
            store: MemoryStore::with_clock(Arc::clone(&clock)),
            clock,
            local: Arc::new(ManualClock::new(Timestamp::from_unix_micros(77))),
            links: Mutex::default(),
            calls: AtomicUsize::new(0),
        })
    }

    /// Lets time pass: `span` here, and `per_mille` of it for the replicas' clock.
    pub(super) fn advance(&self, span: Duration, per_mille: u32) {
        self.clock.advance(span);
        self.local.advance(span * per_mille / 1_000);
    }

    /// Returns how many checks were decided.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn decide(&self, check: &Check) -> Decision {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let returns = matches!(check.action(), Action::GiveBack | Action::Reset);
        let lacks_a_token = |part: &&sluice_core::Part| {
            let peek = Check::new(Action::Peek).with(&part.limit, part.tag, Cost::ONE);
            !self.store.decide_now(&peek).verdicts()[0].admitted
        };
        let reported: Vec<BucketId> = check
            .parts()
            .iter()
            .filter(|_| returns)
            .filter(lacks_a_token)
            .map(sluice_core::Part::bucket)
            .collect();
        let decision = self.store.decide_now(check);
        for link in &*self.links.lock() {
            link.0.reports.lock().extend(reported.iter().copied());
        }
        decision
    }
}

impl Link {
    /// Makes the link of another replica, which is subscribed.
    pub(super) fn to(server: &Arc<Server>) -> Self {
        let link = Self(Arc::new(Inner {
            server: Arc::clone(server),
            observer: Mutex::default(),
            subscription: AtomicU64::new(1),
            reports: Mutex::default(),
        }));
        server.links.lock().push(link.clone());
        link
    }

    /// Sets the number of the subscription; 0 for none.
    pub(super) fn subscribe(&self, number: u64) {
        self.0.subscription.store(number, Ordering::Relaxed);
    }

    /// Delivers the oldest report on its way, if there is one.
    pub(super) fn deliver(&self) -> bool {
        let Some(bucket) = self.lose() else { return false };
        let observer = self.0.observer.lock().clone();
        observer.expect("a cache observes its store").returned(&bucket);
        true
    }

    /// Loses the oldest report on its way.
    pub(super) fn lose(&self) -> Option<BucketId> {
        self.0.reports.lock().pop_front()
    }

    /// Returns whether a report about `bucket` is on its way.
    pub(super) fn awaits(&self, bucket: &BucketId) -> bool {
        self.0.reports.lock().contains(bucket)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Store for Link {
    /// Decides when it is polled for the first time, and replies when it is polled again.
    fn decide<'a>(&'a self, check: &'a Check) -> StoreFuture<'a, Result<Decision, StoreError>> {
        StoreFuture::pending(async {
            let decision = self.0.server.decide(check);
            tokio::task::yield_now().await;
            Ok(decision)
        })
    }

    fn report_returns(&self, observer: Arc<dyn ObserveReturns>) {
        *self.0.observer.lock() = Some(observer);
    }

    fn subscription(&self, _: Partition) -> Option<SubscriptionId> {
        let number = self.0.subscription.load(Ordering::Relaxed);
        (number > 0).then_some(SubscriptionId::new(number))
    }
}

impl Link {
    /// Returns whether the server would admit `check` now.
    pub(super) fn would_admit(&self, check: &Check) -> bool {
        let mut peek = Check::new(Action::Peek);
        check.parts().iter().for_each(|part| peek.push(part.clone()));
        self.0.server.store.decide_now(&peek).is_allowed()
    }

    /// Returns the time of the replica.
    pub(super) fn local(&self) -> Timestamp {
        self.0.server.local.now()
    }
}
