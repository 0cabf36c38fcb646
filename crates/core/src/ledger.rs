//! Sums of what is held for a time, whoever holds it.
//!
//! The store's time is cut into terms. What is held counts in the term in which it was taken or
//! last renewed, and until the end of the next one. As for [`Leases`](crate::Leases), two sums are
//! all that has to be kept, however many hold a part of them: what a crashed process held leaves
//! the sums by itself. `lua/check.lua` is checked against this file.

/// How many terms the clock may step back before the sums are brought closer to it.
const MAX_TERMS_BACK: u32 = 3;
/// The largest sum: `2^48 - 1`.
const MAX_SUM: u64 = (1 << 48) - 1;

/// What is held: of the term before the one with the number `term`, and of that one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    term: u32,
    earlier: u64,
    current: u64,
}

impl Ledger {
    /// Nothing is held.
    pub(crate) const EMPTY: Self = Self { term: 0, earlier: 0, current: 0 };

    pub(crate) const fn new(term: u32, earlier: u64, current: u64) -> Self {
        Self { term, earlier, current }.capped(MAX_SUM, MAX_SUM)
    }

    pub(crate) const fn term(self) -> u32 {
        self.term
    }

    pub(crate) const fn earlier(self) -> u64 {
        self.earlier
    }

    pub(crate) const fn current(self) -> u64 {
        self.current
    }

    /// Returns all that is held.
    pub(crate) const fn sum(self) -> u64 {
        self.earlier.saturating_add(self.current)
    }

    /// Brings the sums up to date for the term `now`: without what was neither given back nor
    /// renewed in time.
    ///
    /// If the clock stepped back by up to three terms, the sums stand. If it stepped back further,
    /// everything counts in one sum, three terms after `now`.
    pub(crate) const fn followed(self, now: u32) -> Self {
        if now > self.term {
            let earlier = if now - self.term == 1 { self.current } else { 0 };
            Self::new(now, earlier, 0)
        } else if self.is_ahead(now) {
            Self::new(now + MAX_TERMS_BACK, 0, self.sum())
        } else {
            self
        }
    }

    /// Returns whether the clock stepped back so far that [`Ledger::followed`] changes the sums.
    pub(crate) const fn is_ahead(self, now: u32) -> bool {
        self.term > now.saturating_add(MAX_TERMS_BACK)
    }

    pub(crate) const fn take(&mut self, cost: u64) {
        *self = Self::new(self.term, self.earlier, self.current.saturating_add(cost));
    }

    /// Releases `cost` that was taken, or last renewed, in the term `taken`. Returns `false`, and
    /// does nothing, if that does not count any more.
    ///
    /// What is of unknown age counts as the older.
    pub(crate) fn give_back(&mut self, cost: u64, taken: Option<u32>) -> bool {
        let from_earlier = match taken {
            Some(taken) if taken >= self.term => 0,
            Some(taken) if self.term - taken > 1 => return false,
            _ => cost.min(self.earlier),
        };
        self.earlier -= from_earlier;
        self.current = self.current.saturating_sub(cost - from_earlier);
        true
    }

    /// Renews what was taken, or last renewed, in the term `taken`: it counts until the end of the
    /// next term. Returns `false`, and does nothing, if it does not count any more.
    pub(crate) const fn renew(&mut self, held: u64, taken: u32) -> bool {
        match self.term.saturating_sub(taken) {
            0 => true,
            1 => {
                self.earlier = self.earlier.saturating_sub(held);
                self.take(held);
                true
            }
            _ => false,
        }
    }

    /// Returns the number of the first term in which nothing counts any more, if nothing is taken
    /// or renewed before. `None` if nothing counts.
    pub(crate) const fn ends_with(self) -> Option<u64> {
        match self {
            Self { current: 1.., term, .. } => Some(term as u64 + 2),
            Self { earlier: 1.., term, .. } => Some(term as u64 + 1),
            _ => None,
        }
    }

    /// Returns the ledger with sums that are at most these.
    pub(crate) const fn capped(self, most_earlier: u64, most_current: u64) -> Self {
        let Self { term, earlier, current } = self;
        let earlier = if earlier < most_earlier { earlier } else { most_earlier };
        let current = if current < most_current { current } else { most_current };
        Self { term, earlier, current }
    }
}
