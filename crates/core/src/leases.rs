//! What replicas hold of a bucket's tokens, ahead of need.
//!
//! A replica may take tokens from a bucket in a block, a lease, and spend them without asking
//! again. In every window of length T, a bucket still admits at most burst + rate * T if three
//! things hold:
//!
//! 1. [`Leases::out`] is never less than what replicas may still spend.
//! 2. The bucket refills only up to the burst minus what is out.
//! 3. A token leaves the bucket once: it is admitted, returned or lost.
//!
//! For a window that begins at `s`, every token that it admits was in the bucket or out at `s`, or
//! has been refilled since: `(burst - out) + out + rate * T`.
//!
//! The store's time is cut into terms of a second. A lease that was granted in one term may be
//! spent until the end of the next one, and so for one to two seconds. Two sums are all that has to
//! be kept: a replica that crashes needs no cleaning up, because its tokens leave the sums by
//! themselves. They count as spent then, as the replica may have spent them a moment before.

use crate::time::Timestamp;

/// The length of a term in microseconds: one second.
pub const TERM_US: i64 = 1_000_000;

/// A second of the store's time, counted from the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u32);

/// What replicas hold of a bucket's tokens: sums of what was granted in a term and in the one
/// before. Both are spans, as the time that the tokens need to come back, in whole microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    pub(crate) term: Term,
    pub(crate) earlier_us: u64,
    pub(crate) current_us: u64,
}

impl Term {
    /// Returns the term of this number, as [`Term::number`] returns it.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// Returns the term that `now` is in: the first one before 1970, and the last one after 2106.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let number = now.unix_micros().div_euclid(TERM_US).clamp(0, u32::MAX.into());
        Self(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Returns the whole seconds from the Unix epoch to the start of the term.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Returns the next term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns when the term ends.
    #[must_use]
    pub fn end(self) -> Timestamp {
        Timestamp::from_unix_micros((i64::from(self.0) + 1) * TERM_US)
    }

    /// Returns until when a lease that was granted in this term may be spent, by the store's clock:
    /// the end of the next one.
    #[must_use]
    pub fn lease_end(self) -> Timestamp {
        self.next().end()
    }
}

impl Leases {
    /// Nothing is out.
    pub const NONE: Self = Self { term: Term(0), earlier_us: 0, current_us: 0 };

    /// Restores the sums that a store kept: what was granted in `term` and in the one before.
    #[must_use]
    pub const fn from_parts(term: Term, earlier_us: u64, current_us: u64) -> Self {
        if earlier_us == 0 && current_us == 0 {
            Self::NONE
        } else {
            Self { term, earlier_us, current_us }
        }
    }

    /// Returns the term of the later sum.
    #[must_use]
    pub const fn term(self) -> Term {
        self.term
    }

    /// Returns what was granted in the term before [`Leases::term`], in microseconds of refill.
    #[must_use]
    pub const fn earlier_us(self) -> u64 {
        self.earlier_us
    }

    /// Returns what was granted in [`Leases::term`], in microseconds of refill.
    #[must_use]
    pub const fn current_us(self) -> u64 {
        self.current_us
    }

    /// Returns whether any token is out.
    #[must_use]
    pub const fn any(self) -> bool {
        self.earlier_us > 0 || self.current_us > 0
    }

    /// Returns what is out, in microseconds of refill.
    #[must_use]
    pub const fn out(self) -> u64 {
        self.earlier_us.saturating_add(self.current_us)
    }

    /// Returns when a bucket with these leases that is full but for them is full without them, if
    /// nothing is returned and nothing taken: each sum refills once its leases have ended.
    #[must_use]
    pub fn refilled_at(self) -> Timestamp {
        let after = |end: Timestamp, span: u64| {
            end.unix_micros().saturating_add(i64::try_from(span).unwrap_or(i64::MAX))
        };
        let earlier = if self.any() { after(self.term.end(), self.out()) } else { i64::MIN };
        let current = match self.current_us {
            0 => i64::MIN,
            span => after(self.term.lease_end(), span),
        };
        Timestamp::from_unix_micros(earlier.max(current))
    }

    /// Brings the leases closer to `term` if the clock has stepped back by more than three terms.
    ///
    /// Nothing is lent before their term comes, so that their terms do not recur while any of them
    /// may still be settled: such a settlement would find the leases of others. A lease is over two
    /// seconds after the step, so its term may recur after the third one. Until then all are kept
    /// in one sum, which ends last.
    pub(crate) fn follow_clock(&mut self, term: Term) {
        let latest = term.next().next().next();
        if self.term > latest {
            *self = Self::from_parts(latest, 0, self.out());
        }
    }

    /// Ends the leases of the term before `self.term`, and goes on to the next term.
    pub(crate) fn end_term(&mut self) {
        *self = Self::from_parts(self.term.next(), self.current_us, 0);
    }

    /// Adds a grant in `term`, which is [`Leases::term`] if anything is out.
    pub(crate) fn grant(&mut self, term: Term, span_us: u64) {
        *self = Self::from_parts(term, self.earlier_us, self.current_us + span_us);
    }

    /// Takes a grant back that was made in `term`. Returns `false` if it is not out any more: it
    /// has ended, or the sum is of other leases, since the store's clock stepped back.
    pub(crate) fn end_grant(&mut self, term: Term, span_us: u64) -> bool {
        let Self { term: latest, earlier_us, current_us } = *self;
        *self = if term == latest && span_us <= current_us {
            Self::from_parts(latest, earlier_us, current_us - span_us)
        } else if term.next() == latest && span_us <= earlier_us {
            Self::from_parts(latest, earlier_us - span_us, current_us)
        } else {
            return false;
        };
        true
    }
}
