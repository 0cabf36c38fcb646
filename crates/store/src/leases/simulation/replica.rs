//! A replica that holds leases, and what is wrong with it.

use std::collections::VecDeque;

use sluice_core::{Term, Timestamp};

use super::{
    super::holding::{Holding, Settlement, deadline},
    booked::Booked,
    fault::Fault,
    time::{Nanos, ReplicaClock},
};

/// A lease as its replica knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) lent: u64,
    /// By the replica's clock. At it, the lease has ended.
    pub(super) deadline: Timestamp,
}

/// What the store replied to a replica that asked for a lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) lent: u32,
    /// When it was granted, by the store's clock.
    pub(super) at: Timestamp,
}

/// A replica of the fleet.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) clock: ReplicaClock,
    fault: Option<Fault>,
    /// The book that it keeps, in the place of `holdings`.
    pub(super) booked: Option<Booked>,
    holdings: VecDeque<Holding>,
    /// Until then it does nothing, as a stopped process.
    pub(super) stopped_until: Nanos,
    /// How often it has crashed. Replies to an earlier life are not seen.
    pub(super) life: u32,
}

impl Replica {
    pub(super) fn new(clock: ReplicaClock, fault: Option<Fault>) -> Self {
        let holdings = VecDeque::new();
        Self { clock, fault, booked: None, holdings, stopped_until: 0, life: 0 }
    }

    /// Creates a replica that keeps the book that production keeps.
    pub(super) fn with_book(clock: ReplicaClock, fault: Option<Fault>) -> Self {
        Self { booked: Some(Booked::new(clock, fault)), ..Self::new(clock, fault) }
    }

    /// Notes a lease that was asked for when the replica's clock showed `sent`. Returns `None` if
    /// it has ended already.
    pub(super) fn receive(&mut self, grant: Grant, sent: Timestamp, now: Nanos) -> Option<Lease> {
        let term = Term::at(grant.at);
        let deadline = match self.fault {
            Some(Fault::CountsFromTheReply) => deadline(self.clock.at(now), grant.at),
            Some(Fault::HasNoMargin) => sent.after(term.lease_end().since(grant.at)),
            _ => deadline(sent, grant.at),
        };
        let holding = Holding::new(0, term, grant.lent, deadline);
        if !holding.is_alive(self.clock.at(now)) {
            return None;
        }
        self.holdings.push_back(holding);
        Some(Lease { lent: grant.lent.into(), deadline })
    }

    /// Takes up to `tokens` of the first lease, and is stopped until `resumed` before it goes on.
    /// Returns what it admits, at that time.
    pub(super) fn spend(&mut self, tokens: u64, now: Nanos, resumed: Nanos) -> u64 {
        let Some(index) = self.holdings.iter().position(|held| held.unspent() > 0) else {
            return 0;
        };
        let holding = &mut self.holdings[index];
        let taken = holding.unspent().min(u32::try_from(tokens).unwrap_or(u32::MAX));
        holding.take(taken, false);
        let looked = if self.fault == Some(Fault::LooksFirst) { now } else { resumed };
        let is_alive = holding.is_alive(self.clock.at(looked));
        if !is_alive {
            self.holdings.remove(index);
            return 0;
        }
        taken.into()
    }

    /// Ends the first lease, and is stopped until `resumed` before it goes on. Returns what to
    /// report, unless the lease had ended by then.
    pub(super) fn settle(&mut self, resumed: Nanos) -> Option<Settlement> {
        let holding = self.holdings.pop_front()?;
        if holding.is_alive(self.clock.at(resumed)) { holding.settle() } else { None }
    }

    /// Returns what to report of the first lease, in multiples of `group`.
    pub(super) fn report(&mut self, group: u64, now: Nanos) -> Option<Settlement> {
        let holding = self.holdings.front_mut()?;
        if holding.is_alive(self.clock.at(now)) { holding.settle_spent(group) } else { None }
    }

    pub(super) fn crash(&mut self) {
        self.holdings.clear();
        if let Some(booked) = &mut self.booked {
            booked.crash();
        }
        self.life += 1;
    }

    /// Returns the tokens that it may still spend.
    pub(super) fn out(&self) -> u64 {
        self.holdings.iter().map(|holding| u64::from(holding.unspent())).sum()
    }
}
