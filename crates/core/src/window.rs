//! The state of a quota and its arithmetic. `lua/check.lua` is checked against this file.
//!
//! The state is when the window ends, and how much of the quota is used in it. A quota that
//! releases what is not settled counts what is held apart from that, for a time (`ledger.rs`).

use std::time::Duration;

use crate::{
    ledger::Ledger,
    quota::Quota,
    time::{MAX_CLOCK_STEP_US, Timestamp},
};

const MAX_CLOCK_STEP: Duration = Duration::from_micros(MAX_CLOCK_STEP_US.unsigned_abs());
/// The most tokens that are counted as used: `2^48 - 1`.
const MAX_USED: u64 = (1 << 48) - 1;
/// How long a request should wait before it asks again for what others hold, as nobody knows when
/// they settle it: one second.
const RETRY_US: i64 = 1_000_000;

/// The state of a [`Quota`] for one client, as a store keeps it.
///
/// It was written at some earlier instant and perhaps with another calendar. [`Window::settled`]
/// brings it up to date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    ends_at_s: u64,
    used: u64,
    held: HeldTokens,
}

/// What is held of a [`Quota`] that [releases](Quota::releasing) what is not settled. It counts in
/// whichever window it is then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldTokens {
    ledger: Ledger,
    /// The length of a term: that of the quota when nothing was held.
    term_ms: u32,
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

impl HeldTokens {
    /// Nothing is held.
    pub const NONE: Self = Self { ledger: Ledger::EMPTY, term_ms: 0 };

    /// Restores the state from the parts that a store kept: the length of a term, the number of
    /// one, and the tokens that were taken or renewed in the term before it and in it.
    #[must_use]
    pub const fn from_parts(term_ms: u32, term: u32, earlier: u64, current: u64) -> Self {
        Self { ledger: Ledger::new(term, earlier, current), term_ms }
    }

    /// Returns the tokens that are held.
    #[must_use]
    pub const fn sum(self) -> u64 {
        self.ledger.sum()
    }

    /// Returns when nothing is held any more, if nothing is taken or renewed before. `None` if
    /// nothing is held.
    #[must_use]
    pub fn ends_at(self) -> Option<Timestamp> {
        let term = self.ledger.ends_with()?;
        let micros = term.saturating_mul(u64::from(self.term_ms) * 1_000);
        Some(Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX)))
    }

    /// Returns the number of the term that contains `at`.
    fn term_at(self, at: Timestamp) -> u32 {
        let millis = u64::try_from(at.unix_micros() / 1_000).unwrap_or(0);
        u32::try_from(millis / u64::from(self.term_ms.max(1))).unwrap_or(u32::MAX)
    }

    /// Brings the state up to date for a quota with terms of `term_ms` at `now`. Returns also
    /// whether the state has to be written.
    ///
    /// If the quota had terms of another length, everything counts as taken now.
    fn followed(self, term_ms: u32, now: Timestamp) -> (Self, bool) {
        let anew = |held| {
            let term = Self { ledger: Ledger::EMPTY, term_ms }.term_at(now);
            Self { ledger: Ledger::new(term, 0, held), term_ms }
        };
        if self.sum() == 0 {
            return (anew(0), false);
        }
        let term = self.term_at(now);
        let ledger = self.ledger.followed(term);
        if self.term_ms == term_ms {
            (Self { ledger, term_ms }, self.ledger.is_ahead(term))
        } else {
            (anew(ledger.sum()), true)
        }
    }
}

impl Window {
    /// The state of a quota that was never used.
    pub const UNUSED: Self = Self { ends_at_s: 0, used: 0, held: HeldTokens::NONE };

    /// Restores the state from the parts that a store kept: the end of the window in whole seconds
    /// since the Unix epoch, and the tokens that are used in it.
    #[must_use]
    pub const fn from_parts(ends_at_s: u64, used: u64) -> Self {
        let used = if used < MAX_USED { used } else { MAX_USED };
        Self { ends_at_s, used, held: HeldTokens::NONE }
    }

    /// Returns the state with what is held beside it.
    #[must_use]
    pub const fn with_held(self, held: HeldTokens) -> Self {
        Self { held, ..self }
    }

    /// Returns what is held of the quota, if it releases that.
    #[must_use]
    pub const fn held(self) -> HeldTokens {
        self.held
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

    /// Returns the first microsecond from which on the state can be forgotten; `None` if nothing
    /// counts. What is used is kept for a little longer than the window: a clock that steps back
    /// over its end would find the whole quota otherwise.
    #[must_use]
    pub fn kept_until(self) -> Option<Timestamp> {
        let used = (self.used > 0).then(|| self.ends_at().after(MAX_CLOCK_STEP));
        used.max(self.held.ends_at())
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
        let (window, starts_at, moved) = if ends_at <= now {
            (Self { ends_at_s, used: 0, ..self }, period.start(), false)
        } else if ends_at == period.end() {
            (self, period.start(), false)
        } else if ends_at == period.next_end() && steps_back >= period.end().unix_micros() {
            (self, period.end(), false)
        } else {
            (Self { ends_at_s, ..self }, period.start(), true)
        };
        let (window, followed) = window.following(quota, now);
        SettledWindow { window, quota, starts_at, now, repaired: moved || followed }
    }

    /// Brings what is held up to date for `quota` at `now`. Returns also whether the state has to
    /// be written.
    ///
    /// What is held still, and was when the quota would have released it, is used.
    fn following(self, quota: &Quota, now: Timestamp) -> (Self, bool) {
        let held = self.held;
        match quota.term_ms() {
            Some(term_ms) => {
                let (held, moved) = held.followed(term_ms, now);
                (Self { held, ..self }, moved)
            }
            None if held.sum() > 0 => {
                let held = held.ledger.followed(held.term_at(now));
                let used = self.used.saturating_add(held.sum());
                (Self::from_parts(self.ends_at_s, used), true)
            }
            None => (self, false),
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
    /// stepped back, or while what is held counted otherwise. A store then writes
    /// [`SettledWindow::window`] in its place, whatever the look is for.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// Returns the tokens that are used or held.
    #[must_use]
    pub const fn counted(&self) -> u64 {
        self.window.used.saturating_add(self.window.held.sum())
    }

    /// Returns whether at least `cost` tokens of the quota are left.
    #[must_use]
    pub const fn covers(&self, cost: u64) -> bool {
        self.counted().saturating_add(cost) <= self.quota.tokens()
    }

    /// Takes `cost` tokens, beyond the quota if necessary.
    pub const fn take(&mut self, cost: u64) {
        let Window { ends_at_s, used, held } = self.window;
        self.window = Window::from_parts(ends_at_s, used.saturating_add(cost)).with_held(held);
    }

    /// Holds `cost` tokens, beyond the quota if necessary, where the quota releases what is not
    /// settled. Else takes them.
    pub const fn hold(&mut self, cost: u64) {
        if self.quota.term_ms().is_some() {
            self.window.held.ledger.take(cost);
        } else {
            self.take(cost);
        }
    }

    /// Holds `held` tokens from now on that are held since `since`, and anew if they were released.
    pub fn hold_on(&mut self, held: u64, since: Timestamp) {
        let since = self.window.held.term_at(since);
        let ledger = &mut self.window.held.ledger;
        if self.quota.term_ms().is_some() && held > 0 && !ledger.renew(held, since) {
            ledger.take(held);
        }
    }

    /// Ends a hold of `held` tokens that are held since `since`. Returns `false`, and does nothing,
    /// if they were released, or the quota does not release any.
    pub fn end_hold(&mut self, held: u64, since: Timestamp) -> bool {
        let term = self.window.held.term_at(since);
        held > 0
            && self.quota.term_ms().is_some()
            && self.window.held.ledger.give_back(held, Some(term))
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

    /// Returns the whole quota to this window, also what is held.
    pub const fn fill(&mut self) {
        let HeldTokens { ledger, term_ms } = self.window.held;
        let held = HeldTokens { ledger: Ledger::new(ledger.term(), 0, 0), term_ms };
        self.window = Window { used: 0, held, ..self.window };
    }

    /// Returns how many tokens of the quota are left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.quota.tokens().saturating_sub(self.counted())
    }

    /// Returns when `cost` tokens are left if none are taken before: now, or when the window ends.
    /// One second later if the quota has them but for those that are held, as nobody knows when
    /// these are settled. `None` when the quota is less.
    #[must_use]
    pub fn covers_at(&self, cost: u64) -> Option<Timestamp> {
        let at = if self.covers(cost) {
            self.now
        } else if self.window.used.saturating_add(cost) <= self.quota.tokens() {
            Timestamp::from_unix_micros(self.now.unix_micros().saturating_add(RETRY_US))
        } else {
            self.window.ends_at()
        };
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
        let unused = if self.window.used > 0 { self.window.ends_at() } else { self.now };
        self.window.held.ends_at().map_or(unused, |released| released.max(unused))
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

    fn releasing() -> Quota {
        daily().releasing(Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn what_is_held_counts_apart_until_it_is_settled_or_released() {
        let quota = releasing();
        let mut window = Window::UNUSED.settled(&quota, at(0));
        window.take(3);
        window.hold(6);
        assert_eq!((window.remaining(), window.counted()), (1, 9));
        assert!(window.covers(1) && !window.covers(2));
        assert_eq!(window.covers_at(2), Some(at(SECOND_US)), "others may settle at any time");
        assert_eq!(window.covers_at(8), Some(at(DAY_US)), "more is used than would be left");
        assert_eq!(window.covers_at(11), None);
        let stored = window.window();
        assert_eq!(stored.held().ends_at(), Some(at(20 * SECOND_US)));

        let mut settled = stored.settled(&quota, at(19 * SECOND_US));
        assert!(settled.end_hold(6, at(0)));
        settled.take(4);
        assert_eq!((settled.remaining(), settled.window().held().sum()), (3, 0));
        assert_eq!(settled.window().kept_until(), Some(at(DAY_US + SECOND_US)));

        let mut released = stored.settled(&quota, at(20 * SECOND_US));
        assert_eq!(released.remaining(), 7);
        assert!(!released.end_hold(6, at(0)), "it counts no more");
        released.fill();
        assert_eq!(released.remaining(), 10);
    }

    #[test]
    fn what_is_held_counts_in_the_next_window_too() {
        let quota = releasing();
        let mut window = Window::UNUSED.settled(&quota, at(DAY_US - SECOND_US));
        window.take(3);
        window.hold(6);
        let stored = window.window();
        assert_eq!(stored.kept_until(), Some(at(DAY_US + 10 * SECOND_US)));
        let mut next = stored.settled(&quota, at(DAY_US));
        assert_eq!((next.remaining(), next.full_at()), (4, at(DAY_US + 10 * SECOND_US)));
        assert!(next.end_hold(6, at(DAY_US - SECOND_US)));
        next.take(5);
        assert_eq!(next.remaining(), 5);
        assert_eq!(stored.settled(&quota, at(DAY_US + 10 * SECOND_US)).remaining(), 10);
    }

    #[test]
    fn a_hold_that_goes_on_counts_from_then_on() {
        let quota = releasing();
        let mut window = Window::UNUSED.settled(&quota, at(0));
        window.hold(4);
        let mut window = window.window().settled(&quota, at(15 * SECOND_US));
        window.hold_on(4, at(0));
        assert_eq!(window.window().settled(&quota, at(29 * SECOND_US)).remaining(), 6);
        let mut late = window.window().settled(&quota, at(30 * SECOND_US));
        assert_eq!(late.remaining(), 10);
        late.hold_on(4, at(15 * SECOND_US));
        assert_eq!(late.remaining(), 6, "it was released, and is held anew");
    }

    #[test]
    fn a_changed_time_to_hold_keeps_what_is_held_and_none_uses_it() {
        let (quota, daily) = (releasing(), daily());
        let longer = daily.clone().releasing(Duration::from_secs(60)).unwrap();
        let mut window = Window::UNUSED.settled(&quota, at(0));
        window.hold(4);
        let stored = window.window();
        let window = stored.settled(&longer, at(SECOND_US));
        assert!(window.is_repaired());
        assert_eq!(window.window().held().ends_at(), Some(at(120 * SECOND_US)));
        assert_eq!(stored.settled(&longer, at(20 * SECOND_US)).remaining(), 10, "it had ended");

        let mut used = stored.settled(&daily, at(SECOND_US));
        assert!(used.is_repaired());
        assert_eq!((used.remaining(), used.window().held().sum()), (6, 0));
        assert!(!used.end_hold(4, at(0)));
        let later = stored.settled(&daily, at(20 * SECOND_US));
        assert!(later.is_repaired());
        assert_eq!((later.remaining(), later.window().held().sum()), (10, 0), "it had ended");
        used.hold(1);
        assert_eq!((used.window().used(), used.window().held().sum()), (5, 0));
    }

    #[test]
    fn what_is_held_stands_while_the_clock_is_up_to_three_terms_before_it() {
        let quota = releasing();
        let mut window = Window::UNUSED.settled(&quota, at(DAY_US / 2));
        window.hold(4);
        let stored = window.window();
        let back = |seconds: i64| stored.settled(&quota, at(DAY_US / 2 - seconds * SECOND_US));
        assert!(!back(30).is_repaired());
        assert!(back(31).is_repaired());
        assert_eq!(back(31).remaining(), 6);
        assert_eq!(back(3_600).window().held().ends_at(), Some(at(DAY_US / 2 - 3_550 * SECOND_US)));
    }
}
