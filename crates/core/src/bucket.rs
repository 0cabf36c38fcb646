//! The state of one limit for one client, whatever the limit's algorithm.

use std::time::Duration;

use crate::{
    algorithm::Algorithm,
    leases::Term,
    slices::{SettledSlices, Slices},
    slots::{SettledSlots, Slots},
    time::Timestamp,
    token_bucket::{SettledTokens, TokenBucket},
    window::{SettledWindow, Window},
};

/// The state of one limit for one client, as a store keeps it.
///
/// It was written at some earlier instant and perhaps under other numbers. [`Bucket::settled`]
/// brings it up to date; only the [`Settled`] bucket can be asked for tokens.
///
/// A store writes a repaired state whenever it sees one, also when it admits nothing
/// ([`Settled::is_repaired`]). If it did not, a token bucket would be converted from its old rate
/// again at each look, and tokens would return at the old rate as long as the client is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Of a limit with [`Algorithm::TokenBucket`].
    Tokens(TokenBucket),
    /// Of a limit with [`Algorithm::Quota`].
    Window(Window),
    /// Of a limit with [`Algorithm::AtMost`].
    Slices(Slices),
    /// Of a limit with [`Algorithm::Concurrent`].
    Slots(Slots),
}

/// A [`Bucket`] as one limit and one instant see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<'a> {
    /// Of a limit with [`Algorithm::TokenBucket`].
    Tokens(SettledTokens<'a>),
    /// Of a limit with [`Algorithm::Quota`].
    Window(SettledWindow<'a>),
    /// Of a limit with [`Algorithm::AtMost`].
    Slices(SettledSlices<'a>),
    /// Of a limit with [`Algorithm::Concurrent`].
    Slots(SettledSlots<'a>),
}

/// Calls the same method of whatever bucket it is.
macro_rules! of_each {
    ($settled:expr, $bucket:ident => $call:expr) => {
        match $settled {
            Settled::Tokens($bucket) => $call,
            Settled::Window($bucket) => $call,
            Settled::Slices($bucket) => $call,
            Settled::Slots($bucket) => $call,
        }
    };
}

impl Bucket {
    /// Returns a bucket that was never used, of which everything is left.
    #[must_use]
    pub fn full(algorithm: &Algorithm, now: Timestamp) -> Self {
        match algorithm {
            Algorithm::TokenBucket(rate) => Self::Tokens(TokenBucket::full(rate, now)),
            Algorithm::Quota(_) => Self::Window(Window::UNUSED),
            Algorithm::AtMost(_) => Self::Slices(Slices::UNUSED),
            Algorithm::Concurrent(_) => Self::Slots(Slots::UNUSED),
        }
    }

    /// Brings the state up to date for `algorithm` at `now`.
    ///
    /// No two algorithms share a bucket, since the key of a limit names its algorithm
    /// ([`LimitKey`](crate::LimitKey)). The state of another one would be taken for unused.
    #[inline]
    #[must_use]
    pub fn settled(self, algorithm: &Algorithm, now: Timestamp) -> Settled<'_> {
        match (self, algorithm) {
            (Self::Tokens(tokens), Algorithm::TokenBucket(rate)) => {
                Settled::Tokens(tokens.settled(rate, now))
            }
            (Self::Window(window), Algorithm::Quota(quota)) => {
                Settled::Window(window.settled(quota, now))
            }
            (Self::Slices(slices), Algorithm::AtMost(at_most)) => {
                Settled::Slices(slices.settled(at_most, now))
            }
            (Self::Slots(slots), Algorithm::Concurrent(concurrent)) => {
                Settled::Slots(slots.settled(concurrent, now))
            }
            _ => Settled::full(algorithm, now),
        }
    }

    /// Returns whether nothing of the bucket is in use at `now`. A store need not keep such a
    /// bucket.
    #[must_use]
    pub fn is_full(&self, algorithm: &Algorithm, now: Timestamp) -> bool {
        match (self, algorithm) {
            (Self::Tokens(tokens), Algorithm::TokenBucket(rate)) => tokens.is_full(rate, now),
            (Self::Window(window), Algorithm::Quota(_)) => {
                window.kept_until().is_none_or(|until| until <= now)
            }
            _ => self.settled(algorithm, now).full_at() <= now,
        }
    }
}

impl From<TokenBucket> for Bucket {
    fn from(bucket: TokenBucket) -> Self {
        Self::Tokens(bucket)
    }
}

impl<'a> Settled<'a> {
    /// Returns a bucket that was never used, of which everything is left.
    #[must_use]
    pub fn full(algorithm: &'a Algorithm, now: Timestamp) -> Self {
        match algorithm {
            Algorithm::TokenBucket(rate) => Self::Tokens(SettledTokens::full(rate, now)),
            _ => Bucket::full(algorithm, now).settled(algorithm, now),
        }
    }

    /// Returns the state, for a store to keep.
    #[must_use]
    pub const fn bucket(&self) -> Bucket {
        match self {
            Self::Tokens(tokens) => Bucket::Tokens(tokens.bucket()),
            Self::Window(window) => Bucket::Window(window.window()),
            Self::Slices(slices) => Bucket::Slices(slices.slices()),
            Self::Slots(slots) => Bucket::Slots(slots.slots()),
        }
    }

    /// Returns whether the stored state has to be replaced by [`Settled::bucket`], whatever the
    /// look is for: it was written under other numbers, or before the clock stepped back.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        of_each!(self, bucket => bucket.is_repaired())
    }

    /// Returns whether the bucket has at least `cost` left. With a cost of 0, whether it is not in
    /// debt.
    #[must_use]
    pub fn covers(&self, cost: u64) -> bool {
        of_each!(self, bucket => bucket.covers(cost))
    }

    /// Takes `cost`, more than there is if necessary.
    pub fn take(&mut self, cost: u64) {
        of_each!(self, bucket => bucket.take(cost));
    }

    /// Takes `cost` for a hold. A quota that [releases](crate::Quota::releasing) what is not
    /// settled counts it apart.
    pub fn hold(&mut self, cost: u64) {
        match self {
            Self::Window(window) => window.hold(cost),
            _ => self.take(cost),
        }
    }

    /// Lets `held` that is held since `since` count from now on, where it counts for a time only:
    /// as [`Settled::renew`] does, and also what a quota counts apart. Returns `false`, and does
    /// nothing, if slots do not count any more.
    pub fn hold_on(&mut self, held: u64, since: Timestamp) -> bool {
        match self {
            Self::Window(window) => {
                window.hold_on(held, since);
                true
            }
            _ => self.renew(held, since),
        }
    }

    /// Ends a hold of `held` that is counted apart since `since`. Returns whether that changed
    /// anything.
    pub fn end_hold(&mut self, held: u64, since: Timestamp) -> bool {
        match self {
            Self::Window(window) => window.end_hold(held, since),
            _ => false,
        }
    }

    /// Puts back `cost` that was taken at `taken_at`, if that is known. Returns `false`, and does
    /// nothing, if what was taken then does not count any more.
    ///
    /// What was taken by a token bucket always counts: nothing is put back beyond the burst.
    pub fn give_back(&mut self, cost: u64, taken_at: Option<Timestamp>) -> bool {
        match self {
            Self::Tokens(tokens) => {
                tokens.give_back(cost);
                true
            }
            Self::Window(window) => window.give_back(cost, taken_at),
            Self::Slices(slices) => slices.give_back(cost, taken_at),
            Self::Slots(slots) => slots.give_back(cost, taken_at),
        }
    }

    /// Lets `cost` slots that were acquired or renewed at `taken_at` count from now on. Returns
    /// `false`, and does nothing, if they do not count any more. Does nothing to buckets that are
    /// no slots.
    pub fn renew(&mut self, cost: u64, taken_at: Timestamp) -> bool {
        match self {
            Self::Slots(slots) => slots.renew(cost, taken_at),
            Self::Tokens(_) | Self::Window(_) | Self::Slices(_) => true,
        }
    }

    /// Makes it a bucket of which everything is left that is not leased.
    pub fn fill(&mut self) {
        of_each!(self, bucket => bucket.fill());
    }

    /// Lends tokens, as [`SettledTokens::lend`] does. Nothing but tokens is lent.
    pub fn lend(&mut self, want: u64, least: u64) -> u64 {
        match self {
            Self::Tokens(tokens) => tokens.lend(want, least),
            Self::Window(_) | Self::Slices(_) | Self::Slots(_) => 0,
        }
    }

    /// Ends a lease, as [`SettledTokens::end_lease`] does.
    pub fn end_lease(&mut self, term: Term, lent: u64, unspent: u64) -> bool {
        match self {
            Self::Tokens(tokens) => tokens.end_lease(term, lent, unspent),
            Self::Window(_) | Self::Slices(_) | Self::Slots(_) => false,
        }
    }

    /// Returns how much is left, in whole tokens; 0 while there is a debt.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        of_each!(self, bucket => bucket.remaining())
    }

    /// Returns what the bucket lacks until everything is left, in tokens, rounded up.
    #[must_use]
    pub fn used(&self) -> u64 {
        match self {
            Self::Tokens(tokens) => tokens.used(),
            Self::Window(window) => window.counted(),
            Self::Slices(slices) => slices.slices().sum(),
            Self::Slots(slots) => slots.slots().held(),
        }
    }

    /// Returns the first microsecond at which `cost` is left if nothing is taken before; `None`
    /// when that is never.
    ///
    /// Nobody knows when a slot is given back, so that is one second for slots.
    #[must_use]
    pub fn covers_at(&self, cost: u64) -> Option<Timestamp> {
        of_each!(self, bucket => bucket.covers_at(cost))
    }

    /// Returns the first microsecond at which everything is left again.
    #[must_use]
    pub fn full_at(&self) -> Timestamp {
        of_each!(self, bucket => bucket.full_at())
    }

    /// Returns the first microsecond from which on the state can be forgotten
    /// ([`Bucket::is_full`]).
    #[must_use]
    pub fn kept_until(&self) -> Timestamp {
        match self {
            Self::Window(window) => window.window().kept_until().unwrap_or(window.full_at()),
            _ => self.full_at(),
        }
    }

    /// Returns how long it takes until everything is left again, if nothing is taken before: until
    /// the bucket is full, or the window ends. `None` for slots.
    #[must_use]
    pub fn reset_in(&self) -> Option<Duration> {
        match self {
            Self::Tokens(tokens) => Some(tokens.full_in()),
            Self::Window(window) => Some(window.ends_in()),
            Self::Slices(slices) => Some(slices.empty_in()),
            Self::Slots(_) => None,
        }
    }
}
