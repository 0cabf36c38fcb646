//! How many round trips leases save, and how much of a limit they admit: replicas with random
//! requests, in virtual time.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use sluice_core::{
    Action, Algorithm, Bucket, Check, Cost, Decision, Limit, Part, Precision, Rate, Subject,
    Tagger, Timestamp,
};

use super::super::{
    ask::Ask,
    book::{Book, Outcome},
};
use crate::{Clock, ManualClock, MemoryStore};

const START_US: i64 = 1_800_000_000_000_000;
/// From a replica to the store, and back.
const ONE_WAY: Duration = Duration::from_micros(150);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What happens at an instant, at a replica.
enum Event {
    Request,
    TakeAtStore,
    TakeReply(Decision),
    AskAtStore(Ask),
    AskReply(Ask, Decision),
    Look,
    Settlements(Vec<Check>),
}

struct Simulation {
    clock: ManualClock,
    store: MemoryStore<Arc<ManualClock>>,
    store_clock: Arc<ManualClock>,
    books: Vec<Book>,
    /// Requests per second at each replica.
    demand: Vec<f64>,
    part: Part,
    events: BinaryHeap<Reverse<(Timestamp, u64)>>,
    pending: std::collections::HashMap<u64, (usize, Event)>,
    next_event: u64,
    random: u64,
    /// A bucket that decides every request at once, and one that is charged for each admission.
    ideal: Bucket,
    promise: Bucket,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    requests: u64,
    admitted: u64,
    ideal: u64,
    round_trips: u64,
}

impl Simulation {
    fn new(rate: &str, demand: &[f64]) -> Self {
        let rate: Rate = rate.parse().unwrap();
        let start = Timestamp::from_unix_micros(START_US);
        let limit = Limit::new("hot", Algorithm::TokenBucket(rate)).unwrap();
        let limit = Arc::new(limit.with_precision(Precision::Leased));
        let tag = Tagger::new(b"").tag(Subject::Everyone { limit: "hot" });
        let store_clock = Arc::new(ManualClock::new(start));
        let mut simulation = Self {
            clock: ManualClock::new(start),
            store: MemoryStore::with_clock(Arc::clone(&store_clock)),
            store_clock,
            books: demand.iter().map(|_| Book::with_capacity(10)).collect(),
            demand: demand.to_vec(),
            part: Part::new(limit, tag, Cost::ONE),
            events: BinaryHeap::new(),
            pending: std::collections::HashMap::new(),
            next_event: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            ideal: Bucket::full(&rate, start),
            promise: Bucket::full(&rate, start),
            totals: Totals::default(),
        };
        for replica in 0..demand.len() {
            simulation.after(Duration::ZERO, replica, Event::Request);
            simulation.after(LOOK_EVERY, replica, Event::Look);
        }
        simulation
    }

    fn run(mut self, time: Duration) -> Totals {
        let end = self.clock.now().after(time);
        while let Some(Reverse((at, number))) = self.events.pop() {
            if at >= end {
                break;
            }
            self.clock.set(at);
            self.store_clock.set(at);
            let (replica, event) = self.pending.remove(&number).unwrap();
            self.happens(replica, event);
        }
        self.totals
    }

    fn after(&mut self, span: Duration, replica: usize, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((self.clock.now().after(span), self.next_event)));
        self.pending.insert(self.next_event, (replica, event));
    }

    fn happens(&mut self, replica: usize, event: Event) {
        let now = self.clock.now();
        match event {
            Event::Request => {
                let pause = self.pause(replica);
                self.after(pause, replica, Event::Request);
                self.request(replica);
            }
            Event::TakeAtStore => {
                let mut take = Check::new(Action::Take);
                take.push(self.part.clone());
                let decision = self.store.decide_now(&take);
                if decision.is_allowed() {
                    self.admit();
                }
                self.after(ONE_WAY, replica, Event::TakeReply(decision));
            }
            Event::TakeReply(decision) => {
                let (bucket, at) = (self.part.bucket(), decision.at());
                self.books[replica].decided(&bucket, &decision.verdicts()[0], at, now);
            }
            Event::AskAtStore(ask) => {
                let mut decisions: Vec<_> =
                    ask.checks.iter().map(|check| self.store.decide_now(check)).collect();
                let lent = decisions.pop().unwrap();
                self.after(ONE_WAY, replica, Event::AskReply(ask, lent));
            }
            Event::AskReply(ask, decision) => {
                assert!(self.books[replica].lent(&ask, &decision, now).is_none());
            }
            Event::Look => {
                let settlements = self.books[replica].idle(now);
                if !settlements.is_empty() {
                    self.totals.round_trips += 1;
                    self.after(ONE_WAY, replica, Event::Settlements(settlements));
                }
                self.after(LOOK_EVERY, replica, Event::Look);
            }
            Event::Settlements(settlements) => {
                for settlement in settlements {
                    self.store.decide_now(&settlement);
                }
            }
        }
    }

    fn request(&mut self, replica: usize) {
        self.totals.requests += 1;
        let now = self.clock.now();
        let mut ideal = self.ideal.settled(self.part.limit.rate(), now);
        if ideal.covers(1) {
            ideal.take(1);
            self.totals.ideal += 1;
        }
        self.ideal = ideal.bucket();
        let take = self.books[replica].take(&self.part, &self.clock);
        if let Some(ask) = take.ask {
            self.totals.round_trips += 1;
            self.after(ONE_WAY, replica, Event::AskAtStore(ask));
        }
        match take.outcome {
            Outcome::Covered(..) => self.admit(),
            Outcome::Denied(..) => {}
            Outcome::Store { .. } => {
                self.totals.round_trips += 1;
                self.after(ONE_WAY, replica, Event::TakeAtStore);
            }
        }
    }

    /// Admits a request now. If any window admitted too much, the bucket that is charged would owe.
    fn admit(&mut self) {
        self.totals.admitted += 1;
        let mut promise = self.promise.settled(self.part.limit.rate(), self.clock.now());
        assert!(promise.covers(1), "a window admits more than its burst and what is refilled");
        promise.take(1);
        self.promise = promise.bucket();
    }

    /// Returns the time to the next request: requests come at random.
    fn pause(&mut self, replica: usize) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let bits = u32::try_from(self.random >> 32).unwrap();
        let uniform = (f64::from(bits) + 1.0) / (f64::from(u32::MAX) + 2.0);
        Duration::from_secs_f64(-uniform.ln() / self.demand[replica])
    }
}

#[test]
#[ignore]
fn table() {
    let cases: &[(&str, &[f64])] = &[
        ("10000/second, burst 1000", &[1666.0; 3]),
        ("10000/second, burst 10000", &[1666.0; 3]),
        ("10000/second, burst 1000", &[3166.0; 3]),
        ("10000/second, burst 10000", &[3166.0; 3]),
        ("10000/second, burst 1000", &[8100.0, 450.0, 450.0]),
        ("10000/second, burst 2000", &[800.0; 10]),
        ("10000/second, burst 1000", &[6666.0; 3]),
        ("10000/second, burst 10000", &[6666.0; 3]),
        ("10000/second, burst 1000", &[2000.0; 10]),
        ("10000/second, burst 1000", &[9900.0, 550.0, 550.0]),
        ("1000/second, burst 1000", &[1000.0; 3]),
        ("1000/second, burst 100", &[1000.0; 3]),
        ("1000/second, burst 100", &[166.0; 3]),
        ("1000/second, burst 100", &[300.0; 3]),
        ("100/second, burst 20", &[200.0; 1]),
        ("100/second, burst 20", &[200.0; 3]),
        ("100/second, burst 16", &[2000.0; 3]),
        ("10000/second, burst 100", &[6666.0; 3]),
        ("10000/second, burst 100", &[3000.0; 3]),
        ("7000/second, burst 1000", &[6666.0; 3]),
        ("997/second, burst 10000", &[1000.0; 3]),
        ("100/second, burst 10000", &[1000.0; 3]),
    ];
    for (rate, demand) in cases {
        let t = Simulation::new(rate, demand).run(Duration::from_secs(20));
        println!(
            "{rate:28} {demand:?}: {:.4} trips, {:.4} of ideal {} {}",
            t.round_trips as f64 / t.requests as f64,
            t.admitted as f64 / t.ideal as f64,
            t.admitted,
            t.requests
        );
    }
}
