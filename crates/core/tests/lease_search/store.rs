//! The store: one real bucket, written as a store writes it.

use sluice_core::{Leases, Rate, SettledTokens, Term, Timestamp, TokenBucket};

use crate::faults::Fault;

/// 2026-01-01T00:00:00Z, at which a term begins.
const START_US: i64 = 1_767_225_600_000_000;
pub(crate) const STEP_US: i64 = 500_000;
/// The steps of a term.
pub(crate) const TERM_STEPS: i64 = 2;

/// A lease as the store lends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    pub(crate) term: u32,
    pub(crate) lent: u8,
    /// The step at which it ends.
    pub(crate) end: i64,
}

/// The store's bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Store {
    pub(crate) bucket: TokenBucket,
    fault: Option<Fault>,
}

pub(crate) fn time(step: i64) -> Timestamp {
    Timestamp::from_unix_micros(START_US + step * STEP_US)
}

/// Returns the number of the term at the start, from which states count theirs.
pub(crate) fn first_term() -> u32 {
    Term::at(time(0)).number()
}

impl Store {
    pub(crate) fn new(rate: &Rate, fault: Option<Fault>) -> Self {
        Self { bucket: TokenBucket::full(rate, time(0)), fault }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, rate: &Rate, step: i64) -> bool {
        let is_there = self.settled(rate, step).covers(1);
        if is_there {
            self.change(rate, step, |bucket| bucket.take(1));
        }
        is_there
    }

    /// Lends up to `want` tokens.
    pub(crate) fn lend(&mut self, rate: &Rate, step: i64, want: u8) -> Granted {
        let term = Term::at(time(step));
        let mut lent = 0;
        self.change(rate, step, |bucket| lent = bucket.lend(want.into(), 1));
        if self.fault == Some(Fault::LendsWithoutCounting) {
            self.bucket = self.bucket.with_leases(Leases::NONE);
        }
        Granted {
            term: term.number(),
            lent: u8::try_from(lent).unwrap(),
            end: (term.lease_end().unix_micros() - START_US) / STEP_US,
        }
    }

    pub(crate) fn settle(&mut self, rate: &Rate, step: i64, term: u32, lent: u8, unspent: u8) {
        let term = Term::from_number(term);
        let settles_what_has_ended = self.fault == Some(Fault::SettlesWhatHasEnded);
        self.change(rate, step, |bucket| {
            if !bucket.end_lease(term, lent.into(), unspent.into()) && settles_what_has_ended {
                bucket.give_back(unspent.into());
            }
        });
    }

    /// Forgets the bucket if it is full.
    pub(crate) fn forget(&mut self, rate: &Rate, step: i64) {
        let now = time(step);
        let seen = if self.fault == Some(Fault::ForgetsWhileTokensAreOut) {
            self.bucket.with_leases(Leases::NONE)
        } else {
            self.bucket
        };
        if seen.is_full(rate, now) {
            self.bucket = TokenBucket::full(rate, now);
        }
    }

    fn change(&mut self, rate: &Rate, step: i64, change: impl FnOnce(&mut SettledTokens<'_>)) {
        let mut settled = self.settled(rate, step);
        change(&mut settled);
        self.bucket = settled.bucket();
    }

    fn settled<'r>(&self, rate: &'r Rate, step: i64) -> SettledTokens<'r> {
        let (mut bucket, now) = (self.bucket, time(step));
        let (leases, term) = (bucket.leases(), Term::at(now));
        if self.fault == Some(Fault::CapsLazily) && leases.any() && leases.term() < term {
            let is_next = leases.term().next() == term;
            let earlier = if is_next { leases.current_us() } else { 0 };
            bucket = bucket.with_leases(Leases::from_parts(term, earlier, 0));
        }
        bucket.settled(rate, now)
    }
}
