//! What a bucket may admit, known by someone who sees every admission at its true instant.
//!
//! A virtual bucket has the limit's burst and rate, and every admission takes from it. It never
//! goes below zero if, and only if, every window of length T admits at most burst + rate * T. All
//! is counted in whole parts of a token, so nothing is rounded.

use sluice_core::Rate;

use super::time::Nanos;

/// A virtual bucket.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    /// The parts of a token, so that all rates refill a whole number of parts in a nanosecond.
    parts: i128,
    rate: Rate,
    level: i128,
    /// What charges took beyond what there was. Refill pays it first. Those who hold a lease may
    /// still spend it, but the store must not admit anything.
    debt: i128,
    /// What may be admitted beyond the burst, and until when.
    beyond: Vec<(Nanos, i128)>,
    at: Nanos,
}

/// An admission that breaks the promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Excess {
    /// The whole tokens beyond the promise, rounded up.
    pub(super) tokens: i128,
}

impl Oracle {
    /// Creates a full bucket of the first of `rates`, which can be changed to the others.
    pub(super) fn new(rates: &[Rate]) -> Self {
        let micros = rates.iter().map(|rate| i128::from(rate.refill().micros()));
        let parts = 1_000 * micros.fold(1, least_common_multiple);
        let rate = rates[0];
        let level = i128::from(rate.burst()) * parts;
        Self { parts, rate, level, debt: 0, beyond: Vec::new(), at: 0 }
    }

    pub(super) fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Admits tokens that a replica had leased.
    pub(super) fn spend(&mut self, now: Nanos, tokens: u64) -> Result<(), Excess> {
        self.advance(now);
        self.level -= self.parts_of(tokens);
        self.verdict(self.level)
    }

    /// Admits tokens that the store took for a request.
    pub(super) fn take(&mut self, now: Nanos, tokens: u64) -> Result<(), Excess> {
        self.advance(now);
        self.level -= self.parts_of(tokens);
        self.verdict(self.level - self.debt)
    }

    /// Charges tokens, of which as many are a debt as there are not beside those that are `out`.
    pub(super) fn charge(&mut self, now: Nanos, tokens: u64, out: u64) {
        self.advance(now);
        let there = (self.level - self.parts_of(out)).max(0);
        let charged = self.parts_of(tokens);
        self.level -= charged.min(there);
        self.debt += (charged - there).max(0);
    }

    /// Gives back tokens of an earlier take.
    pub(super) fn give_back(&mut self, now: Nanos, tokens: u64) {
        self.advance(now);
        self.add(self.parts_of(tokens));
    }

    /// Fills the bucket.
    pub(super) fn reset(&mut self, now: Nanos) {
        self.advance(now);
        self.debt = 0;
        self.level = self.level.max(self.capacity());
    }

    /// Changes the rate. A greater burst may fill the bucket. A smaller one leaves what is `out`.
    pub(super) fn change_rate(&mut self, now: Nanos, rate: Rate, out: u64) {
        self.advance(now);
        let is_greater = rate.burst() > self.rate.burst();
        self.rate = rate;
        if is_greater {
            self.level = self.level.max(self.capacity());
        } else {
            self.level = self.level.min(self.capacity().max(self.parts_of(out)));
        }
    }

    /// Allows windows that include this instant `tokens` more.
    pub(super) fn allow_now(&mut self, now: Nanos, tokens: u64) {
        self.advance(now);
        self.add(self.parts_of(tokens));
    }

    /// Allows windows that include this instant what refills within `time`.
    pub(super) fn allow_refill_of(&mut self, now: Nanos, time: Nanos) {
        self.advance(now);
        self.add(self.refilled_within(time));
    }

    /// Allows windows that include an instant until then `tokens` more.
    pub(super) fn allow_until(&mut self, now: Nanos, until: Nanos, tokens: u64) {
        self.advance(now);
        let parts = self.parts_of(tokens);
        self.beyond.push((until, parts));
        self.level += parts;
    }

    fn verdict(&self, left: i128) -> Result<(), Excess> {
        if left >= 0 {
            return Ok(());
        }
        Err(Excess { tokens: -left.div_euclid(self.parts) })
    }

    fn advance(&mut self, now: Nanos) {
        assert!(now >= self.at, "events come in their order");
        let refilled = self.refilled_within(now - self.at);
        self.at = now;
        self.add(refilled);
        let before = self.beyond.len();
        self.beyond.retain(|(until, _)| *until > now);
        if self.beyond.len() < before {
            self.level = self.level.min(self.capacity());
        }
    }

    /// Adds to the level up to the capacity, which it may be above when a burst became smaller.
    fn add(&mut self, parts: i128) {
        let paid = parts.min(self.debt);
        self.debt -= paid;
        self.level = (self.level + parts - paid).min(self.capacity()).max(self.level);
    }

    fn refilled_within(&self, time: Nanos) -> i128 {
        let refill = self.rate.refill();
        let per_nano =
            i128::from(refill.tokens()) * self.parts / (1_000 * i128::from(refill.micros()));
        per_nano * i128::from(time)
    }

    fn capacity(&self) -> i128 {
        let beyond: i128 = self.beyond.iter().map(|(_, parts)| parts).sum();
        self.parts_of(self.rate.burst()) + beyond
    }

    fn parts_of(&self, tokens: u64) -> i128 {
        i128::from(tokens) * self.parts
    }
}

fn least_common_multiple(a: i128, b: i128) -> i128 {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    a / divisor * b
}

#[cfg(test)]
mod tests {
    use super::{super::time::SECOND, *};

    fn oracle() -> Oracle {
        Oracle::new(&["10/second, burst 5".parse().unwrap(), "7/minute".parse().unwrap()])
    }

    #[test]
    fn a_burst_and_what_is_refilled_may_be_admitted_and_no_more() {
        let mut oracle = oracle();
        assert_eq!(oracle.take(0, 5), Ok(()));
        assert_eq!(oracle.spend(SECOND / 10, 1), Ok(()));
        assert_eq!(oracle.spend(2 * SECOND / 10 - 1, 1), Err(Excess { tokens: 1 }));
    }

    #[test]
    fn a_debt_denies_takes_and_leaves_what_is_out() {
        let mut oracle = oracle();
        oracle.charge(0, 9, 2);
        assert_eq!(oracle.spend(0, 2), Ok(()));
        // Six tokens are owed.
        assert_eq!(oracle.clone().take(7 * SECOND / 10 - 1, 1), Err(Excess { tokens: 1 }));
        assert_eq!(oracle.take(7 * SECOND / 10, 1), Ok(()));
    }

    #[test]
    fn what_is_allowed_for_a_while_ends() {
        let mut oracle = oracle();
        oracle.allow_until(0, SECOND, 3);
        assert_eq!(oracle.clone().take(SECOND - 1, 8), Ok(()));
        assert_eq!(oracle.take(SECOND, 6), Err(Excess { tokens: 1 }));
    }
}
