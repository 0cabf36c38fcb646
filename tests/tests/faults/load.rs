//! Callers that make checks without end, some on the server that fails, some on the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Limit, Partition, Rate, Source, Subject, Tag, Tagger,
};
use sluice_store::Store;
use sluice_testkit::eventually_async_within;
use sluice_tests::window_limit::now;
use tokio::task::JoinSet;

use crate::{
    random::Random,
    record::{Answer, Checked, Place, RATE, Record},
    stores::{NEVER, OverRedis, STORES, Stores},
};

/// How many callers of each store use the server that fails: one for its clients, and one whose
/// checks name a bucket there and a bucket elsewhere.
pub(crate) const CALLERS_HERE: u64 = 2;

/// Clients on the server that fails.
const CLIENTS_HERE: usize = 3;
/// Clients on each of the others.
const CLIENTS_ELSEWHERE: usize = 2;
/// A caller pauses for up to so many microseconds between checks: short enough that all buckets
/// are empty most of the time.
const LONGEST_PAUSE_US: u64 = 8_000;

/// Where the clients of a test are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// A partition on the server that fails.
    pub(crate) here: Partition,
    /// One partition on each server that does not.
    pub(crate) elsewhere: Vec<Partition>,
}

impl Places {
    /// The only server is the one that fails.
    pub(crate) fn only(here: Partition) -> Self {
        Self { here, elsewhere: Vec::new() }
    }

    /// The node that has `here` fails, and the others do not.
    pub(crate) fn of_cluster(stores: &Stores, here: Partition) -> Self {
        let mut nodes = vec![stores.node(here)];
        let mut elsewhere = Vec::new();
        for partition in Partition::all() {
            let node = stores.node(partition);
            if !nodes.contains(&node) {
                nodes.push(node);
                elsewhere.push(partition);
            }
        }
        Self { here, elsewhere }
    }
}

/// Running callers.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<Vec<Checked>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    /// The decisions of each store: here and elsewhere, by the store and local.
    decisions: [[[AtomicU64; 2]; 2]; STORES],
}

/// One caller of one store.
struct Caller {
    shared: Arc<Shared>,
    store: Arc<OverRedis>,
    number: usize,
    place: Place,
    /// Its checks, and the number of the bucket that each is about.
    checks: Vec<(usize, Check)>,
    random: Random,
}

// === impl Load ===

impl Load {
    /// Starts the callers of all stores.
    pub(crate) fn start(stores: &Stores, places: &Places, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let mut callers = JoinSet::new();
        let mut random = Random::new(seed);
        for (number, store) in stores.all().iter().enumerate() {
            for (place, checks) in groups(places) {
                let caller = Caller {
                    shared: Arc::clone(&shared),
                    store: Arc::clone(store),
                    number,
                    place,
                    checks,
                    random: Random::new(random.below(u64::MAX)),
                };
                callers.spawn(caller.run());
            }
        }
        Self { shared, callers }
    }

    /// Waits until each store has made so many more decisions of this kind.
    pub(crate) async fn wait_for(&self, place: Place, source: Source, more: u64) {
        let counts = || {
            std::array::from_fn::<u64, STORES, _>(|store| {
                self.shared.count(store, place, source).load(Ordering::Relaxed)
            })
        };
        let before = counts();
        eventually_async_within(
            NEVER,
            &format!("each store makes {more} decisions of {source:?} for clients {place:?}"),
            async || {
                let made: Vec<_> =
                    counts().iter().zip(before).map(|(now, before)| now - before).collect();
                if made.iter().all(|made| *made >= more) {
                    Ok(())
                } else {
                    Err(format!("{made:?}"))
                }
            },
        )
        .await;
    }

    /// Waits for the last decisions, and returns all of them.
    pub(crate) async fn stop(mut self) -> Record {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let mut checks = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            checks.append(&mut caller.expect("no caller panics"));
        }
        Record::new(checks)
    }
}

impl Shared {
    fn count(&self, store: usize, place: Place, source: Source) -> &AtomicU64 {
        &self.decisions[store][place as usize][usize::from(source == Source::Local)]
    }
}

// === impl Caller ===

impl Caller {
    async fn run(mut self) -> Vec<Checked> {
        let mut made = Vec::new();
        while !self.shared.stopped.load(Ordering::SeqCst) {
            let choice = self.random.below(self.checks.len() as u64);
            let (bucket, check) = &self.checks[usize::try_from(choice).expect("it is an index")];
            let (sent, start) = (now(), Instant::now());
            let decision = self.store.decide(check).await;
            let (took, received) = (start.elapsed(), now());
            let answer = match decision {
                Ok(decision) => {
                    let count = self.shared.count(self.number, self.place, decision.source());
                    count.fetch_add(1, Ordering::Relaxed);
                    Answer::Decided {
                        allowed: decision.is_allowed(),
                        local: decision.source() == Source::Local,
                    }
                }
                Err(error) => Answer::Failed(error.to_string()),
            };
            let (bucket, store, place) = (*bucket, self.number, self.place);
            made.push(Checked { bucket, store, place, sent, received, took, answer });
            let pause = self.random.below(LONGEST_PAUSE_US);
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
        made
    }
}

/// Returns the checks of each caller of a store.
fn groups(places: &Places) -> Vec<(Place, Vec<(usize, Check)>)> {
    let mut bucket = 0;
    let mut numbered = |checks: Vec<Check>| {
        let from = bucket;
        bucket += checks.len();
        (from..).zip(checks).collect::<Vec<_>>()
    };
    let limit = limit("clients", RATE);
    let one = |tag| Check::new(Action::Take).with(&limit, tag, Cost::ONE);
    let clients = |partition, count| (0..count).map(move |number| client_in(partition, number));
    let here = clients(places.here, CLIENTS_HERE).map(one).collect();
    let mut groups =
        vec![(Place::Here, numbered(here)), (Place::Here, numbered(vec![spanning_check(places)]))];
    if !places.elsewhere.is_empty() {
        let elsewhere = places.elsewhere.iter();
        let elsewhere = elsewhere.flat_map(|partition| clients(*partition, CLIENTS_ELSEWHERE));
        groups.push((Place::Elsewhere, numbered(elsewhere.map(one).collect())));
    }
    groups
}

/// Returns a check of a bucket that all clients share, and that is here, and of a client's own one
/// that is elsewhere and never empty.
fn spanning_check(places: &Places) -> Check {
    let own = limit("plenty", "1000000/second, burst 1000000");
    let elsewhere = places.elsewhere.first().copied().unwrap_or(places.here);
    let names = (0..).map(|number: u32| format!("everyone-{number}"));
    let (everyone, tag) = names
        .map(|name| (limit(&name, RATE), Tagger::new(b"").tag(Subject::Everyone { limit: &name })))
        .find(|(_, tag)| tag.partition() == places.here)
        .expect("there is a name for every partition");
    let check = Check::new(Action::Take).with(&own, client_in(elsewhere, 0), Cost::ONE);
    check.with(&everyone, tag, Cost::ONE)
}

fn limit(name: &str, rate: &str) -> Arc<Limit> {
    let rate: Rate = rate.parse().unwrap();
    Arc::new(Limit::new(name, Algorithm::TokenBucket(rate)).unwrap())
}

fn client_in(partition: Partition, number: usize) -> Tag {
    let name = |number: u32| number.to_string();
    let tags = (0..).map(|n| Tagger::new(b"").tag(Subject::Client(name(n).as_bytes())));
    tags.filter(|tag| tag.partition() == partition).nth(number).expect("names do not end")
}
