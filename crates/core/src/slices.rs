//! The state of an [`AtMost`] and its arithmetic. `lua/check.lua` is checked against this file.
//!
//! The period is cut into ten slices, and what was taken is counted for each slice of time. A span
//! of time as long as the period touches at most eleven slices, so that no such span admits too
//! much if the sum of these eleven does not. Under load, about 0.93 of the tokens are admitted per
//! period.

use std::time::Duration;

use crate::{
    at_most::AtMost,
    time::{MAX_CLOCK_STEP_US, Timestamp},
};

/// How many slices are counted: as many as a span as long as the period may touch.
const COUNTED: usize = 11;
/// The largest count of a slice: `2^40 - 1`.
const MAX_COUNT: u64 = (1 << 40) - 1;

/// The state of an [`AtMost`] for one client, as a store keeps it.
///
/// It was written at some earlier instant. [`Slices::settled`] brings it up to date. The length of
/// a slice is not part of it: a state is of one period only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slices {
    newest: u64,
    counts: [u64; COUNTED],
}

/// [`Slices`] as one [`AtMost`] and one instant see them: the newest slice contains the instant, or
/// has begun less than a second after it because the clock stepped back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledSlices<'a> {
    slices: Slices,
    at_most: &'a AtMost,
    now: Timestamp,
    repaired: bool,
}

impl Slices {
    /// The state of an [`AtMost`] that was never used.
    pub const UNUSED: Self = Self { newest: 0, counts: [0; COUNTED] };

    /// Restores the state from the parts that a store kept: the number of the newest slice, and
    /// the tokens that were taken in each slice, the newest first.
    #[must_use]
    pub fn from_parts(newest: u64, counts: [u64; COUNTED]) -> Self {
        Self { newest, counts: counts.map(|count| count.min(MAX_COUNT)) }
    }

    /// Returns the number of the newest slice, counted from the Unix epoch.
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Returns the tokens that were taken in each slice, the newest first.
    #[must_use]
    pub const fn counts(&self) -> &[u64; COUNTED] {
        &self.counts
    }

    /// Returns the sum of all counts.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Brings the state up to date for `at_most` at `now`.
    ///
    /// If the clock stepped back by less than a second, the slices stand. If it stepped back
    /// further, the newest one becomes that of `now`.
    #[must_use]
    pub fn settled<'a>(mut self, at_most: &'a AtMost, now: Timestamp) -> SettledSlices<'a> {
        let number = number_at(at_most, now);
        let latest = number_at(at_most, later(now, MAX_CLOCK_STEP_US));
        let repaired = self.newest > latest;
        if number >= self.newest {
            let newer = usize::try_from(number - self.newest).unwrap_or(COUNTED).min(COUNTED);
            self.counts.copy_within(..COUNTED - newer, newer);
            self.counts[..newer].fill(0);
        }
        if number >= self.newest || repaired {
            self.newest = number;
        }
        SettledSlices { slices: self, at_most, now, repaired }
    }
}

/// Returns the number of the slice that contains `at`, counted from the Unix epoch; 0 before it.
fn number_at(at_most: &AtMost, at: Timestamp) -> u64 {
    u64::try_from(at.unix_micros()).unwrap_or(0) / at_most.slice_us()
}

const fn later(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_unix_micros(at.unix_micros().saturating_add(micros))
}

impl<'a> SettledSlices<'a> {
    /// Returns the state, for a store to keep.
    #[must_use]
    pub const fn slices(&self) -> Slices {
        self.slices
    }

    /// Returns the limit that sees the state.
    #[must_use]
    pub const fn at_most(&self) -> &'a AtMost {
        self.at_most
    }

    /// Returns whether the stored state was written before the clock stepped back. A store then
    /// writes [`SettledSlices::slices`] in its place, whatever the look is for.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// Returns whether at least `cost` tokens are left.
    #[must_use]
    pub fn covers(&self, cost: u64) -> bool {
        self.slices.sum().saturating_add(cost) <= self.at_most.tokens()
    }

    /// Takes `cost` tokens, more than are left if necessary.
    pub fn take(&mut self, cost: u64) {
        let count = &mut self.slices.counts[0];
        *count = count.saturating_add(cost).min(MAX_COUNT);
    }

    /// Puts `cost` tokens back that were taken at `taken_at`. Returns `false`, and does nothing, if
    /// they are not counted any more.
    ///
    /// They are subtracted from the slice in which they were taken, and what is missing there from
    /// newer ones: never from older ones, which would let too much pass once these have left. Those
    /// of unknown age count as the oldest.
    pub fn give_back(&mut self, cost: u64, taken_at: Option<Timestamp>) -> bool {
        let age = taken_at.map_or(COUNTED - 1, |taken_at| {
            let age = self.slices.newest.saturating_sub(number_at(self.at_most, taken_at));
            usize::try_from(age).unwrap_or(usize::MAX)
        });
        let Some(counts) = self.slices.counts.get_mut(..=age) else { return false };
        let mut left = cost;
        for count in counts.iter_mut().rev() {
            let back = left.min(*count);
            *count -= back;
            left -= back;
        }
        true
    }

    /// Forgets everything that was taken.
    pub const fn fill(&mut self) {
        self.slices.counts = [0; COUNTED];
    }

    /// Returns how many tokens are left.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.at_most.tokens().saturating_sub(self.slices.sum())
    }

    /// Returns the first microsecond at which `cost` tokens are left if none are taken before;
    /// `None` when there are never that many.
    #[must_use]
    pub fn covers_at(&self, cost: u64) -> Option<Timestamp> {
        let most = self.at_most.tokens().checked_sub(cost)?;
        let mut sum = self.slices.sum();
        if sum <= most {
            return Some(self.now);
        }
        (0..COUNTED).rev().find_map(|age| {
            sum -= self.slices.counts[age];
            (sum <= most).then(|| self.leaves_at(age))
        })
    }

    /// Returns how long it takes until nothing counts any more, if nothing is taken before.
    #[must_use]
    pub fn empty_in(&self) -> Duration {
        self.full_at().since(self.now)
    }

    /// Returns the first microsecond from which on nothing is counted any more, if nothing is taken
    /// before, so that the state can be forgotten.
    #[must_use]
    pub fn full_at(&self) -> Timestamp {
        let newest = self.slices.counts.iter().position(|&count| count > 0);
        newest.map_or(self.now, |age| self.leaves_at(age))
    }

    /// Returns when the slice that is this many slices older than the newest one leaves the sum.
    fn leaves_at(&self, age: usize) -> Timestamp {
        let slices_later = (COUNTED - age) as u64;
        let number = self.slices.newest.saturating_add(slices_later);
        let micros = number.saturating_mul(self.at_most.slice_us());
        Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, at which a slice of a second begins.
    const START_US: i64 = 1_767_225_600_000_000;
    const SECOND_US: i64 = 1_000_000;

    fn at(after_us: i64) -> Timestamp {
        Timestamp::from_unix_micros(START_US + after_us)
    }

    fn ten_in_ten_seconds() -> AtMost {
        "10 per 10s".parse().unwrap()
    }

    #[test]
    fn a_token_returns_when_its_slice_cannot_touch_the_same_period_any_more() {
        let at_most = ten_in_ten_seconds();
        let mut slices = Slices::UNUSED.settled(&at_most, at(999_999));
        assert_eq!((slices.remaining(), slices.full_at()), (10, at(999_999)));
        slices.take(4);
        let mut slices = slices.slices().settled(&at_most, at(3 * SECOND_US));
        slices.take(6);
        assert!(slices.covers(0) && !slices.covers(1));
        assert_eq!(slices.covers_at(0), Some(at(3 * SECOND_US)));
        assert_eq!(slices.covers_at(1), Some(at(11 * SECOND_US)));
        assert_eq!(slices.covers_at(4), Some(at(11 * SECOND_US)));
        assert_eq!(slices.covers_at(5), Some(at(14 * SECOND_US)));
        assert_eq!(slices.covers_at(11), None);
        assert_eq!(slices.full_at(), at(14 * SECOND_US));
        let stored = slices.slices();
        assert_eq!(stored.settled(&at_most, at(11 * SECOND_US - 1)).remaining(), 0);
        assert_eq!(stored.settled(&at_most, at(11 * SECOND_US)).remaining(), 4);
        assert_eq!(stored.settled(&at_most, at(14 * SECOND_US)).remaining(), 10);
        assert_eq!(stored.settled(&at_most, at(900 * SECOND_US)).slices().sum(), 0);
    }

    #[test]
    fn a_charge_goes_beyond_the_limit_and_no_cost_is_denied_then() {
        let at_most = ten_in_ten_seconds();
        let mut slices = Slices::UNUSED.settled(&at_most, at(0));
        slices.take(u64::MAX);
        assert_eq!(slices.slices().sum(), MAX_COUNT);
        assert_eq!(slices.remaining(), 0);
        assert!(!slices.covers(0));
        assert_eq!(slices.covers_at(0), Some(at(11 * SECOND_US)));
        slices.fill();
        assert_eq!(slices.remaining(), 10);
    }

    #[test]
    fn tokens_go_back_to_their_slice_and_then_to_newer_ones() {
        let at_most = ten_in_ten_seconds();
        let counts = [1, 2, 0, 3, 0, 0, 0, 0, 0, 0, 2];
        let newest = Slices::UNUSED.settled(&at_most, at(0)).slices().newest();
        let slices = Slices::from_parts(newest, counts).settled(&at_most, at(0));

        let mut from_its_slice = slices;
        assert!(from_its_slice.give_back(4, Some(at(-3 * SECOND_US))));
        assert_eq!(from_its_slice.slices().counts(), &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        let mut of_unknown_age = slices;
        assert!(of_unknown_age.give_back(3, None));
        assert_eq!(of_unknown_age.slices().counts(), &[1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let mut from_the_future = slices;
        assert!(from_the_future.give_back(3, Some(at(5 * SECOND_US))));
        assert_eq!(from_the_future.slices().counts(), &[0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 2]);
        let mut too_old = slices;
        assert!(too_old.give_back(1, Some(at(-10 * SECOND_US))), "the oldest that is counted");
        assert!(!too_old.give_back(1, Some(at(-10 * SECOND_US - 1))));
        assert_eq!(too_old.slices().counts(), &[1, 2, 0, 3, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn slices_stand_while_the_clock_is_less_than_a_second_before_them() {
        let at_most = ten_in_ten_seconds();
        let mut slices = Slices::UNUSED.settled(&at_most, at(0));
        slices.take(4);
        let stored = slices.slices();
        let stands = stored.settled(&at_most, at(-SECOND_US));
        assert!(!stands.is_repaired());
        assert_eq!(stands.slices(), stored);

        let mut repaired = stored.settled(&at_most, at(-SECOND_US - 1));
        assert!(repaired.is_repaired());
        assert_eq!(repaired.slices().newest(), stored.newest() - 2);
        assert_eq!(repaired.slices().counts(), stored.counts());
        repaired.take(1);
        assert_eq!(repaired.full_at(), at(9 * SECOND_US));
    }
}
