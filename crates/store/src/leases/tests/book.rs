//! The book by itself: each reply comes when the test says so.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sluice_core::{
    Action, Check, Decision, Limit, Precision, Retry, Subject, Tagger, Term, Timestamp,
};

use super::{
    super::{
        ask::Ask,
        book::{Book, Outcome, Taken},
    },
    fixture::{Memory, check, clock, level, limit, memory, millis, part},
};
use crate::{Clock, ManualClock};

/// One replica's book, its store, and a limit of 1,000 tokens a second.
struct Fixture {
    book: Book,
    store: Memory,
    clock: Arc<ManualClock>,
    limit: Arc<Limit>,
}

impl Fixture {
    fn new(rate: &str) -> Self {
        let clock = clock();
        Self {
            book: Book::with_capacity(100),
            store: memory(&clock),
            clock,
            limit: limit("hot", rate, Precision::Leased),
        }
    }

    fn take(&mut self, cost: u64) -> (Outcome, Option<Ask>) {
        let take = self.book.take(&part(&self.limit, cost), &*self.clock);
        (take.outcome, take.ask)
    }

    /// Requests until the book asks for a lease.
    fn ask(&mut self) -> Ask {
        for _ in 0..100 {
            let (outcome, ask) = self.take(1);
            if let Some(ask) = ask {
                return ask;
            }
            assert!(matches!(outcome, Outcome::Store { .. }), "{outcome:?}");
        }
        panic!("100 requests at once are a demand");
    }

    /// Makes so many requests at once that the demand lasts.
    fn make_busy(&mut self) {
        for _ in 0..200 {
            self.take(1);
        }
    }

    /// Gets a first lease of dozens of tokens.
    fn large_lease(&mut self) -> u64 {
        let small = self.ask();
        self.book.lost(&small, self.clock.now());
        self.make_busy();
        self.clock.advance(millis(100));
        self.lease()
    }

    fn send(&self, ask: &Ask) -> Decision {
        let decided = ask.checks.iter().map(|check| self.store.decide_now(check));
        // Each of them is decided.
        decided.collect::<Vec<_>>().pop().unwrap()
    }

    fn lent(&mut self, ask: &Ask, decision: &Decision) -> Option<Check> {
        self.book.lent(ask, decision, self.clock.now())
    }

    /// Gets a first lease, and returns how much it is.
    fn lease(&mut self) -> u64 {
        let ask = self.ask();
        let decision = self.send(&ask);
        assert!(self.lent(&ask, &decision).is_none());
        decision.verdicts()[0].cost.tokens()
    }

    fn covered(&mut self, cost: u64) -> bool {
        matches!(self.take(cost).0, Outcome::Covered(..))
    }

    fn settle(&self, settlements: &[Check]) {
        for settlement in settlements {
            assert!(self.store.decide_now(settlement).is_allowed(), "{settlement:?}");
        }
    }
}

fn unspent(settlement: &Check) -> u64 {
    assert!(matches!(settlement.action(), Action::EndLease { .. }));
    settlement.parts()[0].cost.tokens()
}

#[test]
fn a_lease_covers_what_was_lent_and_no_more() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let lent = fixture.lease();
    assert!(lent >= 8);
    for _ in 0..lent {
        assert!(fixture.covered(1));
    }
    assert!(!fixture.covered(1));
}

#[test]
fn what_remains_is_the_lease_and_what_the_store_had_left() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let lent = fixture.lease();
    let left = level(&fixture.store, &fixture.limit);
    let (Outcome::Covered(_, estimate), _) = fixture.take(1) else { panic!("a lease covers it") };
    assert_eq!(estimate.remaining, lent - 1 + left);
    let missing = 1_000 - estimate.remaining;
    assert_eq!(estimate.reset_in, millis(missing));
    assert_eq!(estimate.at, fixture.clock.now());
}

/// A clock that goes on by this many milliseconds each time that it was read.
#[derive(Debug)]
struct Stopped {
    clock: Arc<ManualClock>,
    millis: AtomicU64,
}

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        self.clock.advance(millis(self.millis.swap(0, Ordering::SeqCst)));
        self.clock.now()
    }
}

#[test]
fn a_process_that_is_stopped_while_it_takes_does_not_spend_what_has_ended() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    assert!(fixture.lease() > 1);
    let clock = Stopped { clock: Arc::clone(&fixture.clock), millis: AtomicU64::new(2_000) };
    let take = fixture.book.take(&part(&fixture.limit, 1), &clock);
    assert!(matches!(take.outcome, Outcome::Store { .. }));
    let now = fixture.clock.now();
    assert!(fixture.book.stop(now).is_empty(), "nothing is settled after its end");
}

#[test]
fn a_lease_is_counted_from_when_it_was_asked_for() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let ask = fixture.ask();
    let decision = fixture.send(&ask);
    // Granted half a second into a term, so that it lasts for 1.5 s: less the margin, 1,484 ms.
    fixture.clock.advance(millis(1_483));
    fixture.lent(&ask, &decision);
    assert!(fixture.covered(1));
    fixture.clock.advance(millis(1));
    assert!(!fixture.covered(1));
}

#[test]
fn the_next_ask_comes_before_the_lease_is_spent_and_settles_what_was() {
    let mut fixture = Fixture::new("10000/second, burst 10000");
    let lent = fixture.lease();
    let mut covered = 0;
    let ask = loop {
        let (outcome, ask) = fixture.take(1);
        assert!(matches!(outcome, Outcome::Covered(..)), "no request waits");
        covered += 1;
        if let Some(ask) = ask {
            break ask;
        }
    };
    assert!(covered < lent);
    let [settlement, lend] = &ask.checks[..] else { panic!("{:?}", ask.checks) };
    let Action::EndLease { lent: spent, .. } = settlement.action() else {
        panic!("{settlement:?}")
    };
    assert_eq!((u64::from(spent), unspent(settlement)), (covered, 0));
    assert!(matches!(lend.action(), Action::Lend { .. }));
    assert!(fixture.take(1).1.is_none(), "one ask at a time");

    let decision = fixture.send(&ask);
    fixture.lent(&ask, &decision);
    let all = fixture.book.stop(fixture.clock.now());
    let [rest] = &all[..] else { panic!("leases of one term are settled together: {all:?}") };
    let held = lent - covered - 1 + decision.verdicts()[0].cost.tokens();
    assert_eq!(unspent(rest), held);
    fixture.settle(&all);
    let another = Action::EndLease { term: Term::at(fixture.clock.now()), lent: 1 };
    let another = fixture.store.decide_now(&check(another, &[&fixture.limit], 1));
    assert!(another.is_denied(), "nothing is out any more");
}

#[test]
fn an_idle_lease_is_returned_once() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let lent = fixture.lease();
    assert!(fixture.covered(3));
    fixture.clock.advance(millis(99));
    assert!(fixture.book.idle(fixture.clock.now()).is_empty());
    fixture.clock.advance(millis(1));
    let settlements = fixture.book.idle(fixture.clock.now());
    assert_eq!(settlements.iter().map(unspent).sum::<u64>(), lent - 3);
    fixture.settle(&settlements);
    assert!(fixture.book.idle(fixture.clock.now()).is_empty());
    assert!(!fixture.book.holds_any());
    assert!(!fixture.covered(1));
}

#[test]
fn a_lease_that_is_used_slowly_is_returned_before_it_ends() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    fixture.large_lease();
    let mut returned = Vec::new();
    for _ in 0..30 {
        fixture.clock.advance(millis(50));
        if fixture.clock.now().unix_micros() % 100_000 == 0 && fixture.book.holds_any() {
            fixture.take(1);
        }
        returned.extend(fixture.book.idle(fixture.clock.now()));
    }
    assert_eq!(returned.len(), 1);
    assert!(unspent(&returned[0]) > 0);
}

#[test]
fn a_short_block_is_a_pace_in_which_requests_are_denied_here() {
    let mut fixture = Fixture::new("1000/second, burst 100");
    let ask = fixture.ask();
    fixture.make_busy();
    // Others take all but four tokens.
    let left = level(&fixture.store, &fixture.limit);
    assert!(
        fixture.store.decide_now(&check(Action::Take, &[&fixture.limit], left - 4)).is_allowed()
    );
    let decision = fixture.send(&ask);
    fixture.lent(&ask, &decision);
    let (Outcome::Denied(retry, estimate), None) = fixture.take(1) else { panic!("denied") };
    assert_eq!((retry, estimate.remaining), (Retry::After(millis(20)), 0));
    fixture.clock.advance(millis(19));
    let (Outcome::Denied(retry, _), None) = fixture.take(1) else { panic!("denied") };
    assert_eq!(retry, Retry::After(millis(1)));
    fixture.clock.advance(millis(1));
    let (Outcome::Store { is_followed: true }, Some(ask)) = fixture.take(1) else {
        panic!("asked")
    };
    assert!(matches!(fixture.take(1).0, Outcome::Denied(..)), "while it is asked for");
    let decision = fixture.send(&ask);
    fixture.lent(&ask, &decision);
    assert!(fixture.covered(1), "what was refilled came as a block");
}

#[test]
fn a_bucket_without_a_token_is_asked_again_when_the_next_one_is_back_or_after_a_second() {
    for (rate, pause) in [
        ("1000/second, burst 100", 20),
        ("10/second, burst 100", 100),
        ("60/minute, burst 3000", 1_000),
        ("6/hour, burst 3000", 1_000),
    ] {
        let mut fixture = Fixture::new(rate);
        let ask = fixture.ask();
        fixture.make_busy();
        let all = level(&fixture.store, &fixture.limit);
        fixture.store.decide_now(&check(Action::Charge, &[&fixture.limit], all));
        let decision = fixture.send(&ask);
        fixture.lent(&ask, &decision);
        fixture.clock.advance(millis(pause - 1));
        fixture.make_busy();
        let (Outcome::Denied(retry, _), None) = fixture.take(1) else { panic!("{rate}: denied") };
        assert!(retry >= Retry::After(millis(1)), "{rate}: {retry:?}");
        fixture.clock.advance(millis(1));
        let (Outcome::Store { is_followed: true }, Some(_)) = fixture.take(1) else {
            panic!("{rate}: asked")
        };
    }
}

#[test]
fn a_denial_of_the_store_is_a_pace_and_a_refill_ends_it() {
    let mut fixture = Fixture::new("1000/second, burst 100");
    let ask = fixture.ask();
    fixture.book.lost(&ask, fixture.clock.now());
    let all = level(&fixture.store, &fixture.limit);
    fixture.store.decide_now(&check(Action::Charge, &[&fixture.limit], all));
    let denial = fixture.store.decide_now(&check(Action::Take, &[&fixture.limit], 1));
    let (bucket, now) = (part(&fixture.limit, 1).bucket(), fixture.clock.now());
    fixture.book.decided(&bucket, &denial.verdicts()[0], denial.at(), now);
    assert!(matches!(fixture.take(1).0, Outcome::Denied(..)));
    fixture.book.refilled(&bucket, now);
    assert!(matches!(fixture.take(1).0, Outcome::Store { .. }));
}

#[test]
fn a_store_that_does_not_respond_is_asked_again_after_a_tenth_of_a_second_and_denies_nothing() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let ask = fixture.ask();
    fixture.make_busy();
    fixture.book.lost(&ask, fixture.clock.now());
    for _ in 0..10 {
        assert!(matches!(fixture.take(1), (Outcome::Store { .. }, None)));
        fixture.clock.advance(millis(10));
    }
    assert!(fixture.take(1).1.is_some());
}

#[test]
fn a_changed_rate_drops_the_lease_and_one_that_is_on_its_way() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let ask = fixture.ask();
    let decision = fixture.send(&ask);
    fixture.limit = limit("hot", "2000/second, burst 1000", Precision::Leased);
    assert!(!fixture.covered(1));
    assert!(fixture.lent(&ask, &decision).is_none());
    assert!(!fixture.covered(1));

    assert!(fixture.lease() > 1);
    fixture.limit = limit("hot", "2000/second, burst 1000", Precision::Leased);
    assert!(fixture.covered(1), "the same rate in a policy that was loaded again");
    fixture.limit = limit("hot", "2000/second, burst 900", Precision::Leased);
    assert!(!fixture.covered(1));
    assert!(fixture.book.stop(fixture.clock.now()).is_empty());
}

#[test]
fn tokens_come_back_to_the_lease_that_they_were_taken_from_and_to_no_other() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let lent = fixture.lease();
    let tentative = |fixture: &mut Fixture| -> Taken {
        let take = fixture.book.take_tentatively(&part(&fixture.limit, 1), &*fixture.clock);
        let Outcome::Covered(taken, _) = take.outcome else { panic!("a lease covers it") };
        taken
    };
    let (back, spent, late) =
        (tentative(&mut fixture), tentative(&mut fixture), tentative(&mut fixture));
    fixture.book.put_back(back);
    fixture.book.confirm(spent);
    fixture.clock.advance(millis(100));
    let settlements = fixture.book.idle(fixture.clock.now());
    assert_eq!(settlements.iter().map(unspent).sum::<u64>(), lent - 2);
    fixture.settle(&settlements);
    let again = fixture.lease();
    fixture.book.put_back(late);
    let all = fixture.book.stop(fixture.clock.now());
    assert_eq!(all.iter().map(unspent).sum::<u64>(), again);
}

#[test]
fn a_lease_that_arrives_after_the_stop_is_returned() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    let ask = fixture.ask();
    let decision = fixture.send(&ask);
    assert!(fixture.book.stop(fixture.clock.now()).is_empty());
    let returned = fixture.lent(&ask, &decision).unwrap();
    assert_eq!(unspent(&returned), decision.verdicts()[0].cost.tokens());
    fixture.settle(&[returned]);
    assert!((0..100).all(|_| matches!(fixture.take(1), (Outcome::Store { .. }, None))));
    fixture.book.resume();
    assert!(fixture.lease() > 0);
}

#[test]
fn a_full_book_follows_no_more_buckets_until_others_are_forgotten() {
    let mut fixture = Fixture::new("1000/second, burst 1000");
    fixture.book = Book::with_capacity(2);
    let tagger = Tagger::new(b"");
    let asks = |fixture: &mut Fixture, client: &[u8]| {
        let mut part = part(&fixture.limit, 1);
        part.tag = tagger.tag(Subject::Client(client));
        (0..30).any(|_| fixture.book.take(&part, &*fixture.clock).ask.is_some())
    };
    assert!(asks(&mut fixture, b"a") && asks(&mut fixture, b"b"));
    assert!(!asks(&mut fixture, b"c"));
    fixture.clock.advance(millis(2_000));
    assert!(!asks(&mut fixture, b"c"), "asks are in flight");
    fixture.book = Book::with_capacity(2);
    let mut once = part(&fixture.limit, 1);
    for client in [b"a", b"b"] {
        once.tag = tagger.tag(Subject::Client(client));
        assert!(fixture.book.take(&once, &*fixture.clock).ask.is_none());
    }
    fixture.clock.advance(millis(100));
    assert!(asks(&mut fixture, b"c"));
}
