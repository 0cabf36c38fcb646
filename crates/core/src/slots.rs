//! The state of a [`Concurrent`] and its arithmetic. `lua/check.lua` is checked against this file.
//!
//! The store's time is cut into terms. A slot counts in the term in which it was taken or last
//! renewed, and until the end of the next one. As for [`Leases`](crate::Leases), two sums are all
//! that has to be kept, however many requests hold a slot: the slots of a replica that crashed
//! leave the sums by themselves.

use crate::{concurrent::Concurrent, time::Timestamp};

/// The largest sum of the earlier term: `2^24 - 1`.
const MAX_EARLIER: u32 = (1 << 24) - 1;
/// How many terms the clock may step back before the sums are brought closer to it.
const MAX_TERMS_BACK: u32 = 3;
/// How long a request should wait before it asks for a slot again, as nothing is known of when one
/// is released: one second.
const RETRY_US: i64 = 1_000_000;

/// The state of a [`Concurrent`] for one client, as a store keeps it.
///
/// It was written at some earlier instant. [`Slots::settled`] brings it up to date. The length of a
/// term is not part of it: a state is of one length only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    term: u32,
    earlier: u32,
    current: u32,
}

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
    pub const UNUSED: Self = Self { term: 0, earlier: 0, current: 0 };

    /// Restores the state from the parts that a store kept: the number of a term, and the slots
    /// that were taken or renewed in the term before it and in it.
    #[must_use]
    pub const fn from_parts(term: u32, earlier: u32, current: u32) -> Self {
        Self { term, earlier: if earlier < MAX_EARLIER { earlier } else { MAX_EARLIER }, current }
    }

    /// Returns the number of the later term, counted from the Unix epoch.
    #[must_use]
    pub const fn term(self) -> u32 {
        self.term
    }

    /// Returns the slots that were taken or last renewed in the term before [`Slots::term`].
    #[must_use]
    pub const fn earlier(self) -> u32 {
        self.earlier
    }

    /// Returns the slots that were taken or last renewed in [`Slots::term`].
    #[must_use]
    pub const fn current(self) -> u32 {
        self.current
    }

    /// Returns the slots that are held.
    #[must_use]
    pub fn held(self) -> u64 {
        u64::from(self.earlier) + u64::from(self.current)
    }

    /// Brings the state up to date for `concurrent` at `now`.
    ///
    /// If the clock stepped back by up to three terms, the sums stand. If it stepped back further,
    /// all slots count in one sum, three terms after `now`.
    #[must_use]
    pub fn settled(self, concurrent: &Concurrent, now: Timestamp) -> SettledSlots<'_> {
        let number = concurrent.term_at(now);
        let Self { term, earlier, current } = self;
        let latest = number.saturating_add(MAX_TERMS_BACK);
        let slots = if number > term {
            let earlier = if number - term == 1 { current } else { 0 };
            Self::from_parts(number, earlier, 0)
        } else if term > latest {
            Self::from_parts(latest, 0, earlier.saturating_add(current))
        } else {
            self
        };
        SettledSlots { slots, concurrent, now, repaired: term > latest }
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
    pub fn take(&mut self, cost: u64) {
        self.add(cost);
    }

    /// Releases `cost` slots that were taken, or last renewed, at `taken_at`. Returns `false`, and
    /// does nothing, if they do not count any more.
    ///
    /// Slots of unknown age count as the older ones.
    pub fn give_back(&mut self, cost: u64, taken_at: Option<Timestamp>) -> bool {
        let Slots { term, earlier, .. } = self.slots;
        let from_earlier = match taken_at.map(|taken_at| self.concurrent.term_at(taken_at)) {
            Some(taken) if taken >= term => 0,
            Some(taken) if term - taken > 1 => return false,
            _ => narrow(cost).min(earlier),
        };
        let rest = narrow(cost - u64::from(from_earlier));
        self.slots.earlier -= from_earlier;
        self.slots.current = self.slots.current.saturating_sub(rest);
        true
    }

    /// Renews `held` slots that were taken, or last renewed, at `taken_at`: they count until the
    /// end of the next term. Returns `false`, and does nothing, if they do not count any more.
    pub fn renew(&mut self, held: u64, taken_at: Option<Timestamp>) -> bool {
        let Slots { term, earlier, .. } = self.slots;
        match taken_at.map(|taken_at| self.concurrent.term_at(taken_at)) {
            Some(taken) if taken >= term => true,
            Some(taken) if term - taken > 1 => false,
            _ => {
                self.slots.earlier = earlier.saturating_sub(narrow(held));
                self.add(held);
                true
            }
        }
    }

    /// Frees all slots.
    pub const fn fill(&mut self) {
        self.slots = Slots { term: self.slots.term, earlier: 0, current: 0 };
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
        let terms = match self.slots {
            Slots { current: 1.., .. } => 2,
            Slots { earlier: 1.., .. } => 1,
            _ => return self.now,
        };
        let micros = (u64::from(self.slots.term) + terms).saturating_mul(self.concurrent.term_us());
        Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn add(&mut self, slots: u64) {
        self.slots.current = self.slots.current.saturating_add(narrow(slots));
    }
}

fn narrow(slots: u64) -> u32 {
    u32::try_from(slots).unwrap_or(u32::MAX)
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
        assert!(slots.renew(1, Some(at(-1))));
        assert_eq!(parts(slots), (1, 4));
        assert!(slots.renew(1, Some(at(0))));
        assert_eq!(parts(slots), (1, 4));
        assert!(!slots.renew(1, Some(at(-2))));
        assert_eq!(parts(slots), (1, 4));
        assert!(slots.renew(1, None));
        assert_eq!(parts(slots), (0, 5));
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
