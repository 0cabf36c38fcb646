//! How many round trips leases save, and how much of a limit they admit: replicas with random
//! requests, in virtual time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    env,
    sync::Arc,
    time::Duration,
};

use sluice_core::{
    Action, Algorithm, Check, Cost, Decision, Limit, Part, Precision, Rate, Subject, Tagger,
    Timestamp, TokenBucket,
};

use super::super::{
    ask::Ask,
    book::{Book, Outcome},
    eligibility::is_leased,
};
use crate::{Clock, ManualClock, MemoryStore};

/// Set in the long form of the tests.
const SCHEDULES: &str = "SLUICE_LEASE_SCHEDULES";

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
    clock: Arc<ManualClock>,
    store: MemoryStore<Arc<ManualClock>>,
    books: Vec<Book>,
    /// Requests per second at each replica.
    demand: Vec<f64>,
    part: Part,
    events: BinaryHeap<Reverse<(Timestamp, u64)>>,
    pending: HashMap<u64, (usize, Event)>,
    next_event: u64,
    random: u64,
    /// A bucket that decides every request at once, and one that is charged for each admission.
    ideal: TokenBucket,
    promise: TokenBucket,
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
        let clock = Arc::new(ManualClock::new(start));
        let mut simulation = Self {
            store: MemoryStore::with_clock(Arc::clone(&clock)),
            clock,
            books: demand.iter().map(|_| Book::with_capacity(10)).collect(),
            demand: demand.to_vec(),
            part: Part::new(limit, tag, Cost::ONE),
            events: BinaryHeap::new(),
            pending: HashMap::new(),
            next_event: 0,
            random: 0x9E37_79B9_7F4A_7C15,
            ideal: TokenBucket::full(&rate, start),
            promise: TokenBucket::full(&rate, start),
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
        let mut ideal = self.ideal.settled(self.part.limit.rate().unwrap(), now);
        if ideal.covers(1) {
            ideal.take(1);
            self.totals.ideal += 1;
        }
        self.ideal = ideal.bucket();
        if !is_leased(&self.part) {
            self.totals.round_trips += 1;
            return self.after(ONE_WAY, replica, Event::TakeAtStore);
        }
        let take = self.books[replica].take(&self.part, &*self.clock);
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
        let mut promise = self.promise.settled(self.part.limit.rate().unwrap(), self.clock.now());
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

/// Runs replicas with these requests per second. Returns the round trips per request, and the
/// admitted requests as a share of those that one bucket would admit.
fn shares(rate: &str, demand: &[f64]) -> (f64, f64) {
    shares_of(rate, demand, Duration::from_secs(5))
}

fn shares_of(rate: &str, demand: &[f64], time: Duration) -> (f64, f64) {
    let totals = Simulation::new(rate, demand).run(time);
    let share = |part: u64, whole: u64| {
        f64::from(u32::try_from(part).unwrap()) / f64::from(u32::try_from(whole).unwrap())
    };
    (share(totals.round_trips, totals.requests), share(totals.admitted, totals.ideal))
}

#[test]
fn a_busy_limit_takes_a_fiftieth_of_a_round_trip_per_request_and_admits_what_it_should() {
    for rate in ["10000/second, burst 1000", "10000/second, burst 10000"] {
        for (demand, least) in [
            ([1_667.0, 1_667.0, 1_667.0], 0.99),
            ([3_167.0, 3_167.0, 3_167.0], 0.99),
            ([8_100.0, 450.0, 450.0], 0.99),
            ([6_667.0, 6_667.0, 6_667.0], 0.99),
            // Two replicas hold blocks that they hardly need.
            ([9_900.0, 550.0, 550.0], 0.985),
        ] {
            let (round_trips, admitted) = shares(rate, &demand);
            assert!(round_trips <= 0.02, "{rate}, {demand:?}: {round_trips} round trips");
            assert!(admitted >= least, "{rate}, {demand:?}: {admitted} of what one bucket admits");
        }
    }
}

#[test]
fn a_burst_that_is_small_for_its_rate_or_its_fleet_still_admits_what_it_should() {
    for (rate, demand, most) in [
        ("10000/second, burst 100", &[3_000.0; 3][..], 0.15),
        ("10000/second, burst 100", &[6_667.0; 3], 0.15),
        ("10000/second, burst 1000", &[2_000.0; 10], 0.06),
        ("1000/second, burst 100", &[300.0; 3], 0.12),
        ("1000/second, burst 100", &[1_000.0; 3], 0.12),
        ("100/second, burst 20", &[200.0; 1], 1.0),
        ("100/second, burst 16", &[2_000.0; 3], 0.1),
        ("60/minute, burst 10", &[2.0; 3], 1.0),
    ] {
        let (round_trips, admitted) = shares(rate, demand);
        assert!(round_trips <= most, "{rate}, {demand:?}: {round_trips} round trips");
        assert!(admitted >= 0.985, "{rate}, {demand:?}: {admitted} of what one bucket admits");
    }
}

/// The first second, in which every replica first learns what is asked of it. A fleet of a hundred
/// replicas takes longest to simulate, so only the long form of the tests has it.
#[test]
fn a_large_fleet_with_one_busy_limit_asks_the_store_as_rarely() {
    let fleets = [
        ("100000/second, burst 10000", 30, 3_000.0, 0.02, 0.99),
        ("100000/second, burst 10000", 30, 6_000.0, 0.02, 0.97),
        ("1000000/second, burst 100000", 100, 9_000.0, 0.01, 0.99),
        ("1000000/second, burst 100000", 100, 15_000.0, 0.04, 0.97),
    ];
    let is_long = env::var_os(SCHEDULES).is_some();
    for (rate, replicas, demand, most, least) in fleets {
        if replicas > 30 && !is_long {
            continue;
        }
        let (round_trips, admitted) =
            shares_of(rate, &vec![demand; replicas], Duration::from_secs(1));
        let fleet = format!("{rate}, {replicas} replicas, {demand} each");
        assert!(round_trips <= most, "{fleet}: {round_trips} round trips");
        assert!(admitted >= least, "{fleet}: {admitted} of what one bucket admits");
    }
}
