//! Replicas that hold slots of one bucket, under any schedule.

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};
use sluice_core::{
    Action, Algorithm, Bucket, Check, Concurrent, Cost, Decision, Limit, OnLost, Part, Source,
    Subject, Tagger, Timestamp,
};
use sluice_store::StoreError;
use tokio::time::Instant;

use super::{
    book::{Book, Key, Renewal, Since},
    timing::Moment,
};

const SLOTS: u64 = 6;
const TERM: Duration = Duration::from_secs(8);
const START: Timestamp = Timestamp::from_unix_micros(1_767_225_600_000_000);

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A replica asks for slots, and learns the decision so many milliseconds later.
    Take { replica: usize, cost: u64, late_ms: u64 },
    /// A request ends.
    Release { which: usize, is_lost: bool },
    /// Time passes.
    Wait { ms: u64 },
    /// A replica sends what is due.
    Look { replica: usize },
    /// The store decides a check that is on its way, or it is lost.
    Decide { which: usize, is_lost: bool },
    /// The decision arrives, or is lost.
    Reply { which: usize, is_lost: bool },
}

/// A renewal on its way.
struct Call {
    replica: usize,
    renewal: Renewal,
    sent: Instant,
    decided: Option<Decision>,
}

struct World {
    limit: Arc<Limit>,
    bucket: Bucket,
    /// Of the store.
    now: Timestamp,
    started: Instant,
    /// How fast the replicas' clocks run, in thousandths of the store's.
    speed: u32,
    books: [Book; 2],
    calls: Vec<Call>,
    held: Vec<(usize, Key)>,
}

impl World {
    fn new(on_lost: OnLost, speed: u32) -> Self {
        let concurrent = Concurrent::new(SLOTS).unwrap().with_term(TERM).unwrap();
        let algorithm = Algorithm::Concurrent(concurrent.with_on_lost(on_lost));
        Self {
            bucket: Bucket::full(&algorithm, START),
            limit: Arc::new(Limit::new("slots", algorithm).unwrap()),
            now: START,
            started: Instant::now(),
            speed,
            books: Default::default(),
            calls: Vec::new(),
            held: Vec::new(),
        }
    }

    fn clock(&self) -> Instant {
        self.started + self.now.since(START) * self.speed / 1_000
    }

    fn decide(&mut self, check: &Check) -> Decision {
        check.decide(std::slice::from_mut(&mut self.bucket), self.now, Source::Store)
    }

    fn part(&self, cost: u64) -> Part {
        let tag = Tagger::new(b"").tag(Subject::Client(b"alice"));
        Part::new(Arc::clone(&self.limit), tag, Cost::new(cost).unwrap())
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Take { replica, cost, late_ms } => self.take(replica, cost, late_ms),
            Act::Release { which, is_lost } if !self.held.is_empty() => {
                let (replica, key) = self.held.swap_remove(which % self.held.len());
                let give_back = self.books[replica].release(key);
                if let Some(give_back) = give_back.filter(|_| !is_lost) {
                    let _ = self.decide(&give_back);
                }
            }
            Act::Wait { ms } => self.now = self.now.after(Duration::from_millis(ms)),
            Act::Look { replica } => {
                let sent = self.clock();
                for renewal in self.books[replica].due(sent).renewals {
                    self.calls.push(Call { replica, renewal, sent, decided: None });
                }
            }
            Act::Decide { which, is_lost } if !self.calls.is_empty() && !is_lost => {
                let which = which % self.calls.len();
                if self.calls[which].decided.is_none() {
                    let check = self.calls[which].renewal.check.clone();
                    self.calls[which].decided = Some(self.decide(&check));
                }
            }
            Act::Reply { which, is_lost } if !self.calls.is_empty() => {
                let call = self.calls.swap_remove(which % self.calls.len());
                let decided = call.decided.filter(|_| !is_lost);
                let decided = decided.ok_or(StoreError::BreakerOpen);
                let times = (call.sent, self.clock());
                let followup = self.books[call.replica].decided(&call.renewal, &decided, times);
                for give_back in followup.give_backs {
                    let _ = self.decide(&give_back);
                }
            }
            Act::Release { .. } | Act::Decide { .. } | Act::Reply { .. } => {}
        }
    }

    fn take(&mut self, replica: usize, cost: u64, late_ms: u64) {
        let part = self.part(cost);
        let mut check = Check::new(Action::Take);
        check.push(part.clone());
        let sent = self.clock();
        let decision = self.decide(&check);
        self.now = self.now.after(Duration::from_millis(late_ms));
        if decision.is_allowed() {
            let since = Since { taken_at: decision.at(), is_local: false };
            let moment = Moment { at: decision.at(), sent, received: self.clock() };
            let (key, _) = self.books[replica].take(&part, since, moment, None);
            self.held.push((replica, key));
        }
    }

    /// Sends what is due, and lets it be decided at once.
    fn renew(&mut self) {
        for replica in 0..self.books.len() {
            self.act(Act::Look { replica });
        }
        while !self.calls.is_empty() {
            self.act(Act::Decide { which: 0, is_lost: false });
            self.act(Act::Reply { which: 0, is_lost: false });
        }
    }

    /// The slots that requests hold, as far as they know.
    fn counted(&self) -> u64 {
        let now = self.clock();
        self.books.iter().map(|book| book.counted(now)).sum()
    }

    /// The slots that the store knows.
    fn known(&self) -> u64 {
        self.bucket.settled(self.limit.algorithm(), self.now).used()
    }
}

fn acts() -> impl Strategy<Value = Act> {
    let replica = 0..2_usize;
    let lost = prop::bool::weighted(0.2);
    prop_oneof![
        4 => (replica.clone(), 1..3_u64, prop_oneof![4 => Just(0), 1 => 0..20_000_u64])
            .prop_map(|(replica, cost, late_ms)| Act::Take { replica, cost, late_ms }),
        2 => (any::<usize>(), lost)
            .prop_map(|(which, is_lost)| Act::Release { which, is_lost }),
        6 => prop_oneof![4 => 1..3_000_u64, 1 => 1..20_000_u64]
            .prop_map(|ms| Act::Wait { ms }),
        6 => replica.prop_map(|replica| Act::Look { replica }),
        6 => (any::<usize>(), lost)
            .prop_map(|(which, is_lost)| Act::Decide { which, is_lost }),
        5 => (any::<usize>(), lost).prop_map(|(which, is_lost)| Act::Reply { which, is_lost }),
    ]
}

proptest! {
    #[test]
    fn what_a_replica_takes_for_held_counts_in_the_store(
        acts in vec(acts(), 1..120),
        speed in 991..1_010_u32,
    ) {
        let mut world = World::new(OnLost::Finish, speed);
        for act in acts {
            world.act(act);
            let (counted, known) = (world.counted(), world.known());
            prop_assert!(counted <= known, "{counted} are held, {known} count after {act:?}");
        }
    }

    #[test]
    fn renewals_in_time_keep_the_stores_sum_equal_to_what_is_held(
        acts in vec(
            prop_oneof![
                3 => (0..2_usize, 1..3_u64)
                    .prop_map(|(replica, cost)| Act::Take { replica, cost, late_ms: 0 }),
                2 => any::<usize>().prop_map(|which| Act::Release { which, is_lost: false }),
                4 => (0..1_000_u64).prop_map(|ms| Act::Wait { ms }),
                2 => any::<usize>().prop_map(|which| Act::Decide { which, is_lost: false }),
            ],
            1..200,
        ),
        speed in 991..1_010_u32,
    ) {
        let mut world = World::new(OnLost::Finish, speed);
        for act in acts {
            world.act(act);
            if let Act::Wait { .. } = act {
                world.renew();
                for replica in 0..2 {
                    // What is on its way while the next things happen.
                    world.act(Act::Look { replica });
                }
            }
            if world.calls.is_empty() {
                let (counted, known) = (world.counted(), world.known());
                prop_assert_eq!(counted, known, "after {:?}", act);
            }
        }
        for _ in 0..40 {
            world.act(Act::Wait { ms: 700 });
            world.renew();
        }
        prop_assert_eq!(world.counted(), world.known());
        while !world.held.is_empty() {
            world.act(Act::Release { which: 0, is_lost: false });
        }
        prop_assert_eq!(world.known(), 0);
        prop_assert!(world.books.iter().all(Book::is_empty));
    }
}

#[test]
fn a_renewal_after_the_next_term_is_lost_and_counts_anew() {
    let mut world = World::new(OnLost::Finish, 1_000);
    world.act(Act::Take { replica: 0, cost: 2, late_ms: 0 });
    world.act(Act::Wait { ms: 16_000 });
    assert_eq!((world.counted(), world.known()), (0, 0));
    let due = world.books[0].due(world.clock());
    assert_eq!(due.lost.iter().map(|lost| lost.slots).collect::<Vec<_>>(), [2]);
    assert_eq!(due.renewals.len(), 1);
    assert_eq!(due.renewals[0].check.action(), Action::Charge);
    let decided = Ok(world.decide(&due.renewals[0].check.clone()));
    let now = world.clock();
    world.books[0].decided(&due.renewals[0], &decided, (now, now));
    assert_eq!((world.counted(), world.known()), (2, 2));
}

#[test]
fn the_store_may_say_that_slots_are_lost() {
    let mut world = World::new(OnLost::Finish, 1_000);
    world.act(Act::Take { replica: 0, cost: 2, late_ms: 0 });
    world.act(Act::Wait { ms: 11_000 });
    let due = world.books[0].due(world.clock());
    // The store's clock leaps forward.
    world.now = world.now.after(TERM);
    let decided = Ok(world.decide(&due.renewals[0].check.clone()));
    let now = world.clock();
    let followup = world.books[0].decided(&due.renewals[0], &decided, (now, now));
    assert_eq!(followup.lost.iter().map(|lost| lost.slots).sum::<u64>(), 2);
}

#[test]
fn a_request_that_is_cut_off_does_not_count_again() {
    let mut world = World::new(OnLost::Cut, 1_000);
    let part = world.part(1);
    let (cut, now) = (tokio::sync::watch::Sender::new(false), world.clock());
    let moment = Moment { at: START, sent: now, received: now };
    let since = Since { taken_at: START, is_local: false };
    let (key, _) = world.books[0].take(&part, since, moment, Some(cut.clone()));
    world.act(Act::Wait { ms: 16_000 });
    let due = world.books[0].due(world.clock());
    assert!(due.renewals.is_empty() && *cut.borrow());
    assert_eq!(due.lost[0].on_lost, OnLost::Cut);
    assert!(world.books[0].release(key).is_none(), "nothing is given back");
    assert!(world.books[0].is_empty());
}

#[test]
fn slots_of_a_term_are_renewed_by_one_check() {
    let mut world = World::new(OnLost::Finish, 1_000);
    for (cost, wait) in [(1, 100), (2, 200)] {
        world.act(Act::Take { replica: 0, cost, late_ms: 0 });
        world.act(Act::Wait { ms: wait });
    }
    world.act(Act::Wait { ms: 8_000 });
    world.act(Act::Take { replica: 0, cost: 1, late_ms: 0 });
    world.act(Act::Wait { ms: 4_000 });
    let renewals = world.books[0].due(world.clock()).renewals;
    let costs: Vec<_> =
        renewals.iter().map(|renewal| renewal.check.parts()[0].cost.tokens()).collect();
    assert_eq!(costs, [3]);
    assert!(world.books[0].due(world.clock()).renewals.is_empty(), "one at a time");
}

#[test]
fn what_ends_during_a_renewal_is_given_back_after_it() {
    let mut world = World::new(OnLost::Finish, 1_000);
    world.act(Act::Take { replica: 0, cost: 1, late_ms: 0 });
    world.act(Act::Take { replica: 0, cost: 2, late_ms: 0 });
    world.act(Act::Wait { ms: 12_000 });
    world.act(Act::Look { replica: 0 });
    world.act(Act::Release { which: 0, is_lost: false });
    assert_eq!(world.known(), 3);
    world.act(Act::Decide { which: 0, is_lost: false });
    world.act(Act::Reply { which: 0, is_lost: false });
    assert_eq!((world.counted(), world.known()), (2, 2));
}
