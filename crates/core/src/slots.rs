//! The state of a [`Concurrent`] and its arithmetic. `lua/check.lua` is checked against this file.
//!
//! The slots are held for a term, and two sums are all that has to be kept of them (`ledger.rs`).

use crate::{concurrent::Concurrent, ledger::Ledger, time::Timestamp};

/// The largest sum of the earlier term: `2^24 - 1`.
const MAX_EARLIER: u32 = (1 << 24) - 1;
/// How long a request should wait before it asks for a slot again, as nothing is known of when one
/// is released: one second.
const RETRY_US: i64 = 1_000_000;

/// The state of a [`Concurrent`] for one client, as a store keeps it.
///
/// It was written at some earlier instant. [`Slots::settled`] brings it up to date. The length of a
/// term is not part of it: a state is of one length only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots(Ledger);

/// [`Slots`] as one [`Concurrent`] and one instant see them: without those that were neither
/// released nor renewed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledSlots<'c> {
    slots: Slots,
    concurrent: &'c Concurrent,
    now: Timestamp,
    repaired: bool,
}

impl Slots {
    /// The state of a [`Concurrent`] of which no slot is held.
    pub const UNUSED: Self = Self(Ledger::EMPTY);

    /// Restores the state from the parts that a store kept: the number of a term, and the slots
    /// that were taken or renewed in the term before it and in it.
    #[must_use]
    pub const fn from_parts(term: u32, earlier: u32, current: u32) -> Self {
        Self::of(Ledger::new(term, earlier as u64, current as u64))
    }

    /// Returns the number of the later term, counted from the Unix epoch.
    #[must_use]
    pub const fn term(self) -> u32 {
        self.0.term()
    }

    /// Returns the slots that were taken or last renewed in the term before [`Slots::term`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // It is at most MAX_EARLIER.
    pub const fn earlier(self) -> u32 {
        self.0.earlier() as u32
    }

    /// Returns the slots that were taken or last renewed in [`Slots::term`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // It is at most u32::MAX.
    pub const fn current(self) -> u32 {
        self.0.current() as u32
    }

    /// Returns the slots that are held.
    #[must_use]
    pub const fn held(self) -> u64 {
        self.0.sum()
    }

    /// Returns the slots of `ledger`, as many of them as a store can keep.
    const fn of(ledger: Ledger) -> Self {
        Self(ledger.capped(MAX_EARLIER as u64, u32::MAX as u64))
    }

    /// Brings the state up to date for `concurrent` at `now`.
    ///
    /// If the clock stepped back by up to three terms, the sums stand. If it stepped back further,
    /// all slots count in one sum, three terms after `now`.
    #[must_use]
    pub fn settled(self, concurrent: &Concurrent, now: Timestamp) -> SettledSlots<'_> {
        let term = concurrent.term_at(now);
        let slots = Self::of(self.0.followed(term));
        SettledSlots { slots, concurrent, now, repaired: self.0.is_ahead(term) }
    }
}

impl<'c> SettledSlots<'c> {
    /// Returns the state, for a store to keep.
    #[must_use]
    pub const fn slots(&self) -> Slots {
        self.slots
    }

    /// Returns the limit that sees the state.
    #[must_use]
    pub const fn concurrent(&self) -> &'c Concurrent {
        self.concurrent
    }

    /// Returns whether the stored state was written before the clock stepped back. A store then
    /// writes [`SettledSlots::slots`] in its place, whatever the look is for.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// Returns whether at least `cost` slots are free.
    #[must_use]
    pub fn covers(&self, cost: u64) -> bool {
        self.slots.held().saturating_add(cost) <= self.concurrent.slots().into()
    }

    /// Takes `cost` slots, more than are free if necessary.
    pub const fn take(&mut self, cost: u64) {
        self.slots.0.take(cost);
        self.slots = Slots::of(self.slots.0);
    }

    /// Releases `cost` slots that were taken, or last renewed, at `taken_at`. Returns `false`, and
    /// does nothing, if they do not count any more.
    ///
    /// Slots of unknown age count as the older ones.
    pub fn give_back(&mut self, cost: u64, taken_at: Option<Timestamp>) -> bool {
        self.slots.0.give_back(cost, taken_at.map(|taken_at| self.concurrent.term_at(taken_at)))
    }

    /// Renews `held` slots that were taken, or last renewed, at `taken_at`: they count until the
    /// end of the next term. Returns `false`, and does nothing, if they do not count any more.
    pub fn renew(&mut self, held: u64, taken_at: Timestamp) -> bool {
        let renewed = self.slots.0.renew(held, self.concurrent.term_at(taken_at));
        self.slots = Slots::of(self.slots.0);
        renewed
    }

    /// Frees all slots.
    pub const fn fill(&mut self) {
        self.slots = Slots(Ledger::new(self.slots.term(), 0, 0));
    }

    /// Returns how many slots are free.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        u64::from(self.concurrent.slots()).saturating_sub(self.slots.held())
    }

    /// Returns when `cost` slots are free: now, or, as it is not known when slots are released, one
    /// second later; `None` when there are never that many.
    #[must_use]
    pub fn covers_at(&self, cost: u64) -> Option<Timestamp> {
        let wait_us = if self.covers(cost) { 0 } else { RETRY_US };
        let at = Timestamp::from_unix_micros(self.now.unix_micros().saturating_add(wait_us));
        (cost <= self.concurrent.slots().into()).then_some(at)
    }

    /// Returns when no slot counts any more if none is taken or renewed before, so that the state
    /// can be forgotten.
    #[must_use]
    pub fn full_at(&self) -> Timestamp {
        let Some(term) = self.slots.0.ends_with() else { return self.now };
        let micros = term.saturating_mul(self.concurrent.term_us());
        Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z, at which a term of ten seconds begins.
    const START_US: i64 = 1_767_225_600_000_000;
    const TERM_US: i64 = 10_000_000;

    fn at(terms: i64) -> Timestamp {
        Timestamp::from_unix_micros(START_US + terms * TERM_US)
    }

    fn five() -> Concurrent {
        Concurrent::new(5).unwrap()
    }

    fn parts(slots: SettledSlots<'_>) -> (u32, u32) {
        (slots.slots().earlier(), slots.slots().current())
    }

    #[test]
    fn a_slot_that_is_not_renewed_is_free_after_the_next_term() {
        let five = five();
        let mut slots = Slots::UNUSED.settled(&five, at(0));
        assert_eq!((slots.remaining(), slots.full_at()), (5, at(0)));
        slots.take(5);
        assert!(slots.covers(0) && !slots.covers(1));
        assert_eq!(slots.covers_at(0), Some(at(0)));
        assert_eq!(slots.covers_at(1), Some(Timestamp::from_unix_micros(START_US + 1_000_000)));
        assert_eq!(slots.covers_at(6), None);
        assert_eq!(slots.full_at(), at(2));
        let stored = slots.slots();
        let later = stored.settled(&five, at(1));
        assert_eq!((parts(later), later.full_at()), ((5, 0), at(2)));
        let last = Timestamp::from_unix_micros(at(2).unix_micros() - 1);
        assert_eq!(stored.settled(&five, last).remaining(), 0);
        let ended = stored.settled(&five, at(2));
        assert_eq!((ended.remaining(), ended.is_repaired()), (5, false));
    }

    #[test]
    fn a_slot_is_released_in_the_term_in_which_it_counts() {
        let five = five();
        let term = Slots::UNUSED.settled(&five, at(0)).slots().term();
        let slots = Slots::from_parts(term, 2, 3).settled(&five, at(0));
        for (cost, taken_at, left) in [
            (1, Some(at(0)), (2, 2)),
            (4, Some(at(0)), (2, 0)),
            (1, Some(at(7)), (2, 2)),
            (1, Some(at(-1)), (1, 3)),
            (3, Some(at(-1)), (0, 2)),
            (1, None, (1, 3)),
            (3, None, (0, 2)),
            (u64::MAX, None, (0, 0)),
        ] {
            let mut slots = slots;
            assert!(slots.give_back(cost, taken_at));
            assert_eq!(parts(slots), left, "{cost} that were taken at {taken_at:?}");
        }
        let mut slots = slots;
        assert!(!slots.give_back(1, Some(at(-2))));
        assert_eq!(parts(slots), (2, 3));
        slots.fill();
        assert_eq!(slots.remaining(), 5);
    }

    #[test]
    fn a_slot_is_renewed_once_in_a_term() {
        let five = five();
        let term = Slots::UNUSED.settled(&five, at(0)).slots().term();
        let mut slots = Slots::from_parts(term, 2, 3).settled(&five, at(0));
        assert!(slots.renew(1, at(-1)));
        assert_eq!(parts(slots), (1, 4));
        assert!(slots.renew(1, at(0)));
        assert_eq!(parts(slots), (1, 4));
        assert!(!slots.renew(1, at(-2)));
        assert_eq!(parts(slots), (1, 4));
    }

    #[test]
    fn sums_saturate() {
        let five = five();
        let mut slots = Slots::UNUSED.settled(&five, at(0));
        slots.take(u64::MAX);
        slots.take(1);
        assert_eq!(parts(slots), (0, u32::MAX));
        assert_eq!(parts(slots.slots().settled(&five, at(1))), (MAX_EARLIER, 0));
    }

    #[test]
    fn slots_stand_while_the_clock_is_up_to_three_terms_before_them() {
        let five = five();
        let mut slots = Slots::UNUSED.settled(&five, at(0));
        slots.take(2);
        let mut slots = slots.slots().settled(&five, at(1));
        slots.take(1);
        let stored = slots.slots();
        let stands = stored.settled(&five, at(-2));
        assert!(!stands.is_repaired());
        assert_eq!(stands.slots(), stored);

        let repaired = stored.settled(&five, at(-3));
        assert!(repaired.is_repaired());
        assert_eq!(repaired.slots(), Slots::from_parts(stored.term() - 1, 0, 3));
        assert_eq!(repaired.full_at(), at(2));
    }
}
