//! Tokens that this replica holds of a bucket: one lease, or several of the same term.

use std::time::Duration;

use sluice_core::{Term, Timestamp};

/// The share of a lease's time that a replica uses, in hundredths: its clock may be slower than the
/// store's by the rest.
const USED_HUNDREDTHS: u32 = 99;
/// What is left of that, for the time between two instants that the clock cannot tell apart.
const MARGIN: Duration = Duration::from_millis(1);

/// Tokens that the store lent in one term.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    /// Tells holdings of one bucket apart, also of the same term.
    pub(super) number: u64,
    pub(super) term: Term,
    /// The tokens that the store counts as lent, as long as no settlement is lost.
    lent: u32,
    /// The tokens that may still be taken.
    unspent: u32,
    /// The tokens that were taken for checks which are not decided yet. They may come back, so they
    /// are not reported as spent before.
    tentative: u32,
    deadline: Timestamp,
}

/// What is reported to the store about a holding: that of `lent` tokens, `unspent` come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settlement {
    pub(super) term: Term,
    pub(super) lent: u32,
    pub(super) unspent: u32,
}

/// Returns until when a lease may be spent, by the replica's clock: it was asked for at `sent_at`,
/// and granted at `granted_at` by the store's clock.
///
/// The time runs from before the request was sent, so a late reply cannot outlive the store's
/// entry.
pub(super) fn deadline(sent_at: Timestamp, granted_at: Timestamp) -> Timestamp {
    let lasts = Term::at(granted_at).lease_end().since(granted_at);
    sent_at.after((lasts * USED_HUNDREDTHS / 100).saturating_sub(MARGIN))
}

impl Holding {
    pub(super) const fn new(number: u64, term: Term, lent: u32, deadline: Timestamp) -> Self {
        Self { number, term, lent, unspent: lent, tentative: 0, deadline }
    }

    pub(super) const fn unspent(&self) -> u32 {
        self.unspent
    }

    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        now < self.deadline
    }

    /// Returns whether the holding ends within `span`.
    pub(super) fn ends_within(&self, span: Duration, now: Timestamp) -> bool {
        !self.is_alive(now.after(span))
    }

    /// Takes `cost` tokens, if they are there. Whether the holding is still alive is to be looked
    /// at afterwards.
    pub(super) fn take(&mut self, cost: u32, tentative: bool) -> bool {
        let Some(unspent) = self.unspent.checked_sub(cost) else { return false };
        self.unspent = unspent;
        if tentative {
            self.tentative += cost;
        }
        true
    }

    /// Puts tokens back that were taken tentatively.
    pub(super) fn put_back(&mut self, tokens: u32) {
        self.confirm(tokens);
        self.unspent += tokens;
    }

    /// Notes that tokens which were taken tentatively are spent.
    pub(super) fn confirm(&mut self, tokens: u32) {
        self.tentative -= tokens;
    }

    /// Adds a lease of the same term. Returns `false` if they cannot be settled together.
    pub(super) fn merge(&mut self, other: &Self) -> bool {
        if self.term != other.term || self.lent.checked_add(other.lent).is_none() {
            return false;
        }
        self.lent += other.lent;
        self.unspent += other.unspent;
        self.tentative += other.tentative;
        self.deadline = self.deadline.min(other.deadline);
        true
    }

    /// Takes what was spent out of the holding, to be reported to the store, in multiples of
    /// `group`: what the store can count.
    pub(super) fn settle_spent(&mut self, group: u64) -> Option<Settlement> {
        let spent = self.lent - self.unspent - self.tentative;
        let rest = u32::try_from(u64::from(spent) % group).unwrap_or(spent);
        let lent = spent - rest;
        self.lent -= lent;
        (lent > 0).then_some(Settlement { term: self.term, lent, unspent: 0 })
    }

    /// Ends the holding. Tokens that were taken tentatively are spent then.
    pub(super) fn settle(self) -> Option<Settlement> {
        let Self { term, lent, unspent, .. } = self;
        (lent > 0).then_some(Settlement { term, lent, unspent })
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.lent == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_US: i64 = 1_800_000_000_000_000;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_unix_micros(START_US + micros)
    }

    fn holding(lent: u32) -> Holding {
        Holding::new(1, Term::at(at(0)), lent, at(1_000_000))
    }

    #[test]
    fn a_lease_ends_a_hundredth_and_a_millisecond_before_the_stores_entry() {
        // Granted 300 ms into a term, so it lasts for 1.7 s of the store's time. The replica's
        // clock shows another time.
        let sent_at = Timestamp::from_unix_micros(5_000_000);
        assert_eq!(deadline(sent_at, at(300_000)).since(sent_at), Duration::from_millis(1_682));
        let holding = Holding::new(1, Term::at(at(0)), 5, deadline(sent_at, at(300_000)));
        assert!(holding.is_alive(Timestamp::from_unix_micros(6_681_999)));
        assert!(!holding.is_alive(Timestamp::from_unix_micros(6_682_000)));
    }

    #[test]
    fn what_was_taken_tentatively_is_not_reported_as_spent_and_may_come_back() {
        let mut holding = holding(10);
        assert!(holding.take(4, false));
        assert!(holding.take(3, true));
        assert!(!holding.take(4, false));
        let spent = holding.settle_spent(1).unwrap();
        assert_eq!((spent.lent, spent.unspent), (4, 0));
        assert_eq!(holding.settle_spent(1), None);
        holding.put_back(3);
        let rest = holding.settle().unwrap();
        assert_eq!((rest.lent, rest.unspent), (6, 6));
    }

    #[test]
    fn spent_tokens_are_reported_in_groups_that_the_store_can_count() {
        let mut holding = holding(14);
        assert!(holding.take(9, false));
        assert_eq!(holding.settle_spent(7).map(|spent| spent.lent), Some(7));
        assert!(holding.take(5, false));
        assert_eq!(holding.settle_spent(7).map(|spent| spent.lent), Some(7));
        assert!(holding.is_settled());
        assert_eq!(holding.settle(), None);
    }

    #[test]
    fn leases_of_one_term_are_held_together_until_the_earlier_deadline() {
        let mut early = holding(10);
        assert!(early.merge(&Holding::new(2, Term::at(at(0)), 20, at(999_000))));
        assert_eq!(early.unspent(), 30);
        assert!(!early.is_alive(at(999_000)));
        let later = Term::at(at(0)).next();
        assert!(!early.merge(&Holding::new(3, later, 20, at(2_000_000))));
        assert!(!early.merge(&Holding::new(3, Term::at(at(0)), u32::MAX, at(0))));
    }
}
