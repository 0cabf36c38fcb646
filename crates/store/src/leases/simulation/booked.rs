//! A replica that keeps the book that production keeps, and what is wrong with it.

use std::time::Duration;

use sluice_core::{Check, Cost, Decision, Part, Term, Timestamp};

use super::{
    super::{
        ask::Ask,
        book::{Book, Outcome},
        holding::deadline,
    },
    fault::Fault,
    replica::Lease,
    store,
    time::{Nanos, ReplicaClock},
};
use crate::Clock;

/// The largest cost of a request that spends a part of all there is.
const LARGEST_COST: u64 = 4_096;

/// A replica with a book.
#[derive(Debug)]
pub(super) struct Booked {
    clock: ReplicaClock,
    fault: Option<Fault>,
    book: Book,
}

/// What requests led to.
#[derive(Debug, Default)]
pub(super) struct Requested {
    /// Tokens of leases that were admitted.
    pub(super) admitted: u64,
    pub(super) asks: Vec<Ask>,
}

/// A clock that stands still while a book is used.
#[derive(Debug)]
struct Standing(Timestamp);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        self.0
    }
}

impl Booked {
    pub(super) fn new(clock: ReplicaClock, fault: Option<Fault>) -> Self {
        Self { clock, fault, book: Book::with_capacity(8) }
    }

    /// Gets requests that make it ask for `want` tokens.
    pub(super) fn ask(&mut self, part: &Part, want: u64, now: Nanos) -> Requested {
        let mut requested = Requested::default();
        self.request(part, want * 2, self.clock.at(now), &mut requested);
        self.request(part, 1, self.clock.at(now), &mut requested);
        requested
    }

    /// Gets requests for up to `tokens`, and is stopped until `resumed` before they go on.
    pub(super) fn spend(
        &mut self,
        part: &Part,
        tokens: u64,
        now: Nanos,
        resumed: Nanos,
    ) -> Requested {
        let looked = if self.fault == Some(Fault::LooksFirst) { now } else { resumed };
        let looked = self.clock.at(looked);
        let mut requested = Requested::default();
        let mut cost = LARGEST_COST;
        while cost > 0 {
            let is_left = requested.admitted + cost <= tokens;
            if !is_left || !self.request(part, cost, looked, &mut requested) {
                cost /= 2;
            }
        }
        requested
    }

    /// Takes the reply to an ask. Returns the lease, unless it has ended, and a settlement.
    pub(super) fn receive(
        &mut self,
        mut ask: Ask,
        decision: &Decision,
        now: Nanos,
    ) -> (Option<Lease>, Option<Check>) {
        let now = self.clock.at(now);
        let lasts = Term::at(decision.at()).lease_end().since(decision.at());
        match self.fault {
            Some(Fault::CountsFromTheReply) => ask.sent_at = now,
            Some(Fault::HasNoMargin) => {
                ask.sent_at = ask.sent_at.after(lasts / 100 + Duration::from_millis(1));
            }
            _ => {}
        }
        let deadline = deadline(ask.sent_at, decision.at());
        let settlement = self.book.lent(&ask, decision, now);
        let lent = store::lent(decision);
        ((lent > 0 && now < deadline).then_some(Lease { lent, deadline }), settlement)
    }

    /// Returns all leases. Returns the settlements.
    pub(super) fn settle(&mut self, resumed: Nanos) -> Vec<Check> {
        let settlements = self.book.stop(self.clock.at(resumed));
        self.book.resume();
        settlements
    }

    /// Returns idle leases. Returns the settlements.
    pub(super) fn report(&mut self, now: Nanos) -> Vec<Check> {
        self.book.idle(self.clock.at(now))
    }

    pub(super) fn crash(&mut self) {
        self.book = Book::with_capacity(8);
    }

    fn request(
        &mut self,
        part: &Part,
        tokens: u64,
        looked: Timestamp,
        requested: &mut Requested,
    ) -> bool {
        let cost = Cost::new(tokens).expect("costs are small");
        let part = Part::new(part.limit.clone(), part.tag, cost);
        let take = self.book.take(&part, &Standing(looked));
        requested.asks.extend(take.ask);
        let is_covered = matches!(take.outcome, Outcome::Covered(..));
        if is_covered {
            requested.admitted += tokens;
        }
        is_covered
    }
}
