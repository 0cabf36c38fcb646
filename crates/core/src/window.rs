//! The state of a quota and its arithmetic. `lua/check.lua` is checked against this file.
//!
//! The state is when the window ends, and how much of the quota is used in it.

use std::time::Duration;

use crate::{
    quota::Quota,
    time::{MAX_CLOCK_STEP_US, Timestamp},
};

/// The most tokens that are counted as used: `2^48 - 1`.
const MAX_USED: u64 = (1 << 48) - 1;

/// The state of a [`Quota`] for one client, as a store keeps it.
///
/// It was written at some earlier instant and perhaps with another calendar. [`Window::settled`]
/// brings it up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    ends_at_s: u64,
    used: u64,
}

/// A [`Window`] as one quota and one instant see it: it contains the instant, or has begun less
/// than a second after it because the clock stepped back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledWindow<'q> {
    window: Window,
    quota: &'q Quota,
    starts_at: Timestamp,
    now: Timestamp,
    repaired: bool,
}

impl Window {
    /// The state of a quota that was never used.
    pub const UNUSED: Self = Self { ends_at_s: 0, used: 0 };

    /// Restores the state from the parts that a store kept: the end of the window in whole seconds
    /// since the Unix epoch, and the tokens that are used in it.
    #[must_use]
    pub const fn from_parts(ends_at_s: u64, used: u64) -> Self {
        Self { ends_at_s, used: if used < MAX_USED { used } else { MAX_USED } }
    }

    /// Returns when the window ends, in whole seconds since the Unix epoch.
    #[must_use]
    pub const fn ends_at_s(self) -> u64 {
        self.ends_at_s
    }

    /// Returns how many tokens are used in the window.
    #[must_use]
    pub const fn used(self) -> u64 {
        self.used
    }

    /// Returns when the window ends.
    #[must_use]
    pub fn ends_at(self) -> Timestamp {
        let seconds = i64::try_from(self.ends_at_s).unwrap_or(i64::MAX);
        Timestamp::from_unix_micros(seconds.saturating_mul(1_000_000))
    }

    /// Brings the state up to date for `quota` at `now`.
    ///
    /// If the clock stepped back by less than a second, over the start of the window, the window
    /// stands. If it stepped back further, or the calendar was changed, what is used counts in the
    /// window of `now`.
    #[must_use]
    pub fn settled(self, quota: &Quota, now: Timestamp) -> SettledWindow<'_> {
        let period = quota.calendar().window_at(now);
        let seconds = |at: Timestamp| u64::try_from(at.unix_micros() / 1_000_000).unwrap_or(0);
        let ends_at = self.ends_at();
        let steps_back = now.unix_micros().saturating_add(MAX_CLOCK_STEP_US);
        let ends_at_s = seconds(period.end());
        let settled =
            |window, starts_at, repaired| SettledWindow { window, quota, starts_at, now, repaired };
        if ends_at <= now {
            settled(Self { ends_at_s, used: 0 }, period.start(), false)
        } else if ends_at == period.end() {
            settled(self, period.start(), false)
        } else if ends_at == period.next_end() && steps_back >= period.end().unix_micros() {
            settled(self, period.end(), false)
        } else {
            settled(Self { ends_at_s, ..self }, period.start(), true)
        }
    }
}

impl<'q> SettledWindow<'q> {
    /// Returns the state, for a store to keep.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Returns the quota that sees the state.
    #[must_use]
    pub const fn quota(&self) -> &'q Quota {
        self.quota
    }

    /// Returns whether the stored state was written with another calendar, or before the clock
    /// stepped back. A store then writes [`SettledWindow::window`] in its place, whatever the look
    /// is for.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// Returns whether at least `cost` tokens of the quota are left.
    #[must_use]
    pub const fn covers(&self, cost: u64) -> bool {
        self.window.used.saturating_add(cost) <= self.quota.tokens()
    }

    /// Takes `cost` tokens, beyond the quota if necessary.
    pub fn take(&mut self, cost: u64) {
        self.window =
            Window::from_parts(self.window.ends_at_s, self.window.used.saturating_add(cost));
    }

    /// Puts `cost` tokens back that were taken at `taken_at`. Returns `false`, and does nothing, if
    /// that was in an earlier window.
    pub fn give_back(&mut self, cost: u64, taken_at: Option<Timestamp>) -> bool {
        if taken_at.is_some_and(|taken_at| taken_at < self.starts_at) {
            return false;
        }
        self.window.used = self.window.used.saturating_sub(cost);
        true
    }

    /// Returns `true`: what a request has taken of a quota needs no renewal.
    pub const fn renew(&mut self, _held: u64, _taken_at: Option<Timestamp>) -> bool {
        true
    }

    /// Returns the whole quota to this window.
    pub const fn fill(&mut self) {
        self.window.used = 0;
    }

    /// Returns how many tokens of the quota are left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.quota.tokens().saturating_sub(self.window.used)
    }

    /// Returns when `cost` tokens are left if none are taken before: now, or when the window ends;
    /// `None` when the quota is less.
    #[must_use]
    pub fn covers_at(&self, cost: u64) -> Option<Timestamp> {
        let at = if self.covers(cost) { self.now } else { self.window.ends_at() };
        (cost <= self.quota.tokens()).then_some(at)
    }

    /// Returns how long it takes until the window ends.
    #[must_use]
    pub fn ends_in(&self) -> Duration {
        self.window.ends_at().since(self.now)
    }

    /// Returns when the whole quota is left if none of it is taken before.
    #[must_use]
    pub fn full_at(&self) -> Timestamp {
        if self.window.used > 0 { self.window.ends_at() } else { self.now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = 1_000_000;
    /// 2026-01-01T00:00:00Z
    const START_US: i64 = 1_767_225_600_000_000;
    const DAY_US: i64 = 24 * 60 * 60 * SECOND_US;

    fn at(after_us: i64) -> Timestamp {
        Timestamp::from_unix_micros(START_US + after_us)
    }

    fn daily() -> Quota {
        "10/day".parse().unwrap()
    }

    #[test]
    fn a_quota_is_used_up_and_returns_when_the_next_window_begins() {
        let quota = daily();
        let mut window = Window::UNUSED.settled(&quota, at(5));
        assert_eq!((window.remaining(), window.full_at()), (10, at(5)));
        window.take(7);
        assert_eq!((window.remaining(), window.full_at()), (3, at(DAY_US)));
        assert!(window.covers(3) && !window.covers(4));
        assert_eq!(window.covers_at(3), Some(at(5)));
        assert_eq!(window.covers_at(4), Some(at(DAY_US)));
        assert_eq!(window.covers_at(11), None);
        assert!(!window.window().settled(&quota, at(DAY_US - 1)).covers(4));
        let next = window.window().settled(&quota, at(DAY_US));
        assert!(next.covers(10) && !next.is_repaired());
    }

    #[test]
    fn a_charge_goes_beyond_the_quota_and_no_cost_is_denied_then() {
        let quota = daily();
        let mut window = Window::UNUSED.settled(&quota, at(0));
        window.take(10);
        assert!(window.covers(0));
        window.take(u64::MAX);
        assert_eq!(window.window().used(), MAX_USED);
        assert!(!window.covers(0));
        assert_eq!(window.covers_at(0), Some(at(DAY_US)));
        window.fill();
        assert_eq!(window.remaining(), 10);
    }

    #[test]
    fn only_what_was_taken_in_this_window_is_given_back() {
        let quota = daily();
        let mut window = Window::from_parts(0, 0).settled(&quota, at(DAY_US + 5));
        window.take(4);
        assert!(!window.give_back(1, Some(at(DAY_US - 1))));
        assert_eq!(window.remaining(), 6);
        assert!(window.give_back(1, Some(at(DAY_US))));
        assert!(window.give_back(1, None));
        assert_eq!(window.remaining(), 8);
        assert!(window.give_back(9, None));
        assert_eq!(window.remaining(), 10);
        assert!(window.renew(1, Some(at(0))));
    }

    #[test]
    fn a_window_stands_while_the_clock_is_less_than_a_second_before_it() {
        let quota = daily();
        let mut window = Window::UNUSED.settled(&quota, at(DAY_US));
        window.take(4);
        let stored = window.window();
        let mut back = stored.settled(&quota, at(DAY_US - SECOND_US));
        assert!(!back.is_repaired());
        assert_eq!((back.remaining(), back.full_at()), (6, at(2 * DAY_US)));
        assert!(!back.give_back(1, Some(at(DAY_US - 1))));
        assert!(back.give_back(1, Some(at(DAY_US))));

        let further = stored.settled(&quota, at(DAY_US - SECOND_US - 1));
        assert!(further.is_repaired());
        assert_eq!((further.remaining(), further.full_at()), (6, at(DAY_US)));
    }

    #[test]
    fn what_is_used_counts_in_the_window_of_a_changed_calendar() {
        let (daily, hourly): (Quota, Quota) = (daily(), "10/hour".parse().unwrap());
        let mut window = Window::UNUSED.settled(&daily, at(0));
        window.take(4);
        let window = window.window().settled(&hourly, at(1));
        assert!(window.is_repaired());
        assert_eq!((window.remaining(), window.full_at()), (6, at(DAY_US / 24)));
        let window = window.window().settled(&daily, at(2));
        assert!(window.is_repaired());
        assert_eq!((window.remaining(), window.full_at()), (6, at(DAY_US)));
    }
}
