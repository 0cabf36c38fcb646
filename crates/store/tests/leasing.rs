//! Leases over a real Redis: every admission is counted, while a replica crashes and another stops.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Limit, Precision, Rate, Source, Subject, Tagger,
};
use sluice_store::{Denials, Leasing, RedisSettings, RedisStore, Replica, RoundTrip, Store};
use sluice_testkit::{RedisCluster, RedisServer};
use tokio::task::JoinHandle;

const BURST: u64 = 2_000;
const PER_SECOND: u64 = 2_000;
const CALLERS: usize = 4;
/// Long enough for leases of several terms.
const LASTS: Duration = Duration::from_secs(4);

type Layers = Leasing<Denials<RedisStore>>;

/// A replica and the callers that ask it without a pause.
struct Busy {
    store: Arc<Layers>,
    replica: Replica,
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<Admission>>>,
}

/// When a token was admitted, in microseconds since the Unix epoch, and by whom.
#[derive(Clone, Copy)]
struct Admission {
    at: i64,
    source: Source,
}

impl Busy {
    async fn start(url: &str, name: &str, calls: &Arc<AtomicUsize>) -> Self {
        let calls = Arc::clone(calls);
        let count = move |_: &RoundTrip<'_>| {
            calls.fetch_add(1, Ordering::Relaxed);
        };
        let settings = RedisSettings::new(url).timeout(Duration::from_secs(60));
        let redis = RedisStore::new(&settings, count).unwrap();
        let store = Arc::new(Leasing::over(Denials::over(redis)));
        let replica = Replica::new(name, "1");
        // A bucket is leased once every live replica is known to read its state.
        store.announce(&replica).await.unwrap();
        Self { store, replica, stop: Arc::default(), callers: Vec::new() }
    }

    fn call(&mut self) {
        let rate = Rate::new(format!("{PER_SECOND}/second").parse().unwrap(), BURST).unwrap();
        let limit = Limit::new("hot", Algorithm::TokenBucket(rate)).unwrap();
        let limit = Arc::new(limit.with_precision(Precision::Leased));
        let everyone = Tagger::new(b"").tag(Subject::Everyone { limit: "hot" });
        let take = Check::new(Action::Take).with(&limit, everyone, Cost::ONE);
        for _ in 0..CALLERS {
            let (store, stop, take) =
                (Arc::clone(&self.store), Arc::clone(&self.stop), take.clone());
            self.callers.push(tokio::spawn(async move {
                let mut admitted = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let decision = store.decide(&take).await.unwrap();
                    if decision.is_allowed() {
                        let source = decision.source();
                        let at = match source {
                            Source::Store => decision.at().unix_micros(),
                            _ => now(),
                        };
                        admitted.push(Admission { at, source });
                    }
                    tokio::task::yield_now().await;
                }
                admitted
            }));
        }
    }

    /// Stops calling, and returns what was admitted. The leases are kept.
    async fn stop(&mut self) -> Vec<Admission> {
        self.stop.store(true, Ordering::Relaxed);
        let mut admitted = Vec::new();
        for caller in self.callers.drain(..) {
            admitted.append(&mut caller.await.unwrap());
        }
        admitted
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}

/// Keeps three replicas busy: one crashes with its leases, one returns them and leaves. No window
/// may admit too much, and the bucket has to be used up all the same.
async fn every_admission_is_within_the_limit(url: &str) {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut replicas = Vec::new();
    for name in ["stays", "crashes", "leaves"] {
        replicas.push(Busy::start(url, name, &calls).await);
    }
    replicas.iter_mut().for_each(Busy::call);
    tokio::time::sleep(LASTS / 4).await;
    let mut leaves = replicas.pop().unwrap();
    let mut admitted = leaves.stop().await;
    leaves.store.depart(&leaves.replica).await.unwrap();
    let mut crashes = replicas.pop().unwrap();
    admitted.append(&mut crashes.stop().await);
    drop(crashes);
    tokio::time::sleep(LASTS * 3 / 4).await;
    admitted.append(&mut replicas[0].stop().await);

    admitted.sort_unstable_by_key(|admission| admission.at);
    let leased = admitted.iter().filter(|admission| admission.source == Source::Lease).count();
    assert!(leased > 0, "none of {} admissions was of a lease", admitted.len());
    assert!(calls.load(Ordering::Relaxed) < admitted.len() / 4, "{calls:?} calls");

    // A virtual bucket of which every admission is taken at its time owes nothing, if and only if
    // every window holds the limit. Tokens are counted in microseconds of refill. What a lease
    // admits is dated a moment later, by at most one token of each caller.
    let per_token = i64::try_from(1_000_000 / PER_SECOND).unwrap();
    let burst = i64::try_from(BURST).unwrap() * per_token;
    let misdated = i64::try_from(3 * CALLERS).unwrap() * per_token;
    let (first, last) = (admitted[0].at, admitted[admitted.len() - 1].at);
    let (mut level, mut at) = (burst, first);
    for admission in &admitted {
        level = burst.min(level + admission.at - at) - per_token;
        at = admission.at;
        assert!(level >= -misdated, "{} us too many after {} us", -level, at - first);
    }
    let most = burst + last - first;
    let used = i64::try_from(admitted.len()).unwrap() * per_token;
    assert!(used > most / 4, "{used} of {most} us of refill were admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_of_replicas_that_crash_and_leave_never_exceed_the_limit() {
    let server = RedisServer::start();
    every_admission_is_within_the_limit(&server.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_from_a_cluster_never_exceed_the_limit() {
    let cluster = RedisCluster::start(3);
    every_admission_is_within_the_limit(&cluster.url()).await;
}
