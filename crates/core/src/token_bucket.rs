//! A token bucket's state and its arithmetic. `lua/check.lua` is checked against this file.
//!
//! The number of tokens rises with time at the limit's refill rate. The state is the instant at
//! which that rising line crosses zero, `empty_at`: the tokens at `now` are those refilled between
//! the two. Taking tokens moves `empty_at` later, by the time that these tokens need to come back.
//! Every such span is a whole number of `1 / refill.tokens` microseconds, so the arithmetic only
//! adds and compares: nothing drifts and nothing is rounded. `empty_at` is the theoretical arrival
//! time of ATM Forum's generic cell rate algorithm (af-tm-0121.000, section 4.4), measured from the
//! empty bucket instead of the full one, so that a changed burst does not change the tokens.

use std::time::Duration;

use crate::{
    leases::{Leases, Term},
    rate::{MAX_FILL_US, Rate},
    refill_rate::Refill,
    time::{MAX_CLOCK_STEP_US, Moment, Span, Timestamp},
};

/// How old the time of a debt may become, and how far ahead of the clock it may lie, in
/// microseconds. A look moves it otherwise. Together they are [`MAX_CLOCK_STEP_US`], so a client in
/// debt that keeps asking never waits longer than that because of a clock that steps back.
const DEBT_TIME_US: i64 = MAX_CLOCK_STEP_US / 2;

/// The state of one limit for one client, as a store keeps it.
///
/// It was written at some earlier instant and perhaps under another rate. [`TokenBucket::settled`]
/// brings it up to date; only the [`SettledTokens`] bucket can be asked for tokens.
///
/// A store writes a repaired state whenever it sees one, also when it admits nothing
/// ([`SettledTokens::is_repaired`]). If it did not, the state would be converted from the old rate
/// again at each look, and tokens would return at the old rate as long as the client is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    empty_at: Moment,
    refill: Refill,
    /// When the debt was last written, give or take [`DEBT_TIME_US`]; `None` without a debt. Only
    /// this distinguishes a debt from a clock that stepped back.
    indebted_at: Option<Timestamp>,
    /// What replicas hold of its tokens. It refills only up to the burst minus these.
    leases: Leases,
}

/// A [`TokenBucket`] as one rate and one instant see it: in the rate's units, never above its burst
/// minus what is leased, and never more than [`MAX_CLOCK_STEP_US`] behind a clock that stepped
/// back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettledTokens<'r> {
    bucket: TokenBucket,
    rate: &'r Rate,
    now: Timestamp,
    repaired: bool,
}

impl TokenBucket {
    /// Returns a full bucket, which is also the state of a bucket that was never used.
    #[must_use]
    pub const fn full(rate: &Rate, now: Timestamp) -> Self {
        let refill = rate.refill();
        let empty_at = Moment::at(now).minus(rate.fill(), refill.tokens());
        Self { empty_at, refill, indebted_at: None, leases: Leases::NONE }
    }

    /// Returns a bucket that was never used in a memory that began at `start`: it was empty then.
    /// If it has filled since, it is a full bucket.
    #[must_use]
    pub fn cold(rate: &Rate, start: Timestamp, now: Timestamp) -> Self {
        let full = Self::full(rate, now);
        Self { empty_at: full.empty_at.max(Moment::at(start)), ..full }
    }

    /// Restores a bucket without leases from the parts that a store kept; `None` when they
    /// contradict each other.
    #[must_use]
    pub const fn from_parts(
        empty_at: Moment,
        refill: Refill,
        indebted_at: Option<Timestamp>,
    ) -> Option<Self> {
        if empty_at.fraction < refill.tokens() {
            Some(Self { empty_at, refill, indebted_at, leases: Leases::NONE })
        } else {
            None
        }
    }

    /// Returns the bucket with these leases.
    #[must_use]
    pub const fn with_leases(self, leases: Leases) -> Self {
        Self { leases, ..self }
    }

    /// Returns the instant at which the line of tokens crosses zero, in units of
    /// `1 / refill().tokens()` microseconds.
    #[must_use]
    pub const fn empty_at(&self) -> Moment {
        self.empty_at
    }

    /// Returns the refill rate under which the state was written.
    #[must_use]
    pub const fn refill(&self) -> Refill {
        self.refill
    }

    /// Returns when the debt was last written; `None` without a debt.
    #[must_use]
    pub const fn indebted_at(&self) -> Option<Timestamp> {
        self.indebted_at
    }

    /// Returns what replicas hold of its tokens.
    #[must_use]
    pub const fn leases(&self) -> Leases {
        self.leases
    }

    /// Brings the state up to date for `rate` at `now`.
    #[inline]
    #[must_use]
    pub fn settled(self, rate: &Rate, now: Timestamp) -> SettledTokens<'_> {
        if !self.is_current(rate, now) {
            return self.repaired(rate, now);
        }
        let full = Self::full(rate, now);
        let bucket = if self.empty_at <= full.empty_at { full } else { self };
        SettledTokens { bucket, rate, now, repaired: false }
    }

    /// Returns whether [`TokenBucket::repaired`] has nothing to repair, as for nearly every bucket.
    const fn is_current(&self, rate: &Rate, now: Timestamp) -> bool {
        let refill = rate.refill();
        self.refill.tokens == refill.tokens
            && self.refill.micros == refill.micros
            && self.indebted_at.is_none()
            && !self.leases.any()
            && self.empty_at.micros < now.unix_micros() + MAX_CLOCK_STEP_US
    }

    /// Brings a state up to date that may be in debt, leased, or from another rate or clock.
    #[inline(never)]
    fn repaired(self, rate: &Rate, now: Timestamp) -> SettledTokens<'_> {
        let mut bucket = self;
        bucket.follow_clock(now);
        if bucket.refill != rate.refill() {
            bucket.convert(rate.refill(), now);
            if bucket.leases.any() {
                // The burst under which the bucket refilled until now is not known.
                bucket.cap(rate, now, now);
            }
        }
        if bucket.leases.any() {
            bucket.follow_leases(rate, now);
        }
        let mut repaired = bucket != self;
        if bucket.leases.any() {
            bucket.cap(rate, now, now);
            return SettledTokens { bucket, rate, now, repaired };
        }
        let full = Self::full(rate, now);
        if bucket.empty_at <= full.empty_at {
            // A full bucket stays full, so nothing is lost if this state is not written. Written,
            // it would be forgotten, and a higher burst would then find more tokens than were left.
            bucket = full;
            repaired = false;
        }
        SettledTokens { bucket, rate, now, repaired }
    }

    /// Returns whether the bucket is full at `now`. A store need not keep a full bucket.
    #[must_use]
    pub fn is_full(&self, rate: &Rate, now: Timestamp) -> bool {
        if self.refill == rate.refill() && !self.leases.any() {
            // Settling is not needed: it only moves `empty_at` to instants after `now`, or from
            // before the full bucket's to the full bucket's.
            self.empty_at <= Self::full(rate, now).empty_at
        } else {
            let settled = self.settled(rate, now);
            !settled.bucket.leases.any() && settled.full_at() <= now
        }
    }

    fn follow_clock(&mut self, now: Timestamp) {
        let Some(written) = self.indebted_at else {
            // Without a debt, `empty_at` was in the past when it was written. If it is in the
            // future now, the clock has stepped back.
            let latest = now.unix_micros() + MAX_CLOCK_STEP_US;
            if self.empty_at.micros >= latest {
                self.empty_at = Moment { micros: latest, fraction: 0 };
            }
            return;
        };
        let ahead = written.unix_micros() - now.unix_micros();
        if ahead > DEBT_TIME_US {
            let step = ahead - DEBT_TIME_US;
            self.empty_at.micros -= step;
            self.indebted_at = Some(Timestamp::from_unix_micros(written.unix_micros() - step));
        } else if ahead <= -DEBT_TIME_US {
            self.indebted_at = Some(now);
        }
        if self.empty_at <= Moment::at(now) {
            self.indebted_at = None;
        }
    }

    /// Ends the leases whose time is over. Until then the bucket could not refill in their place.
    ///
    /// After the clock stepped back, leases last longer, but for at most three terms more.
    fn follow_leases(&mut self, rate: &Rate, now: Timestamp) {
        let term = Term::at(now);
        self.leases.follow_clock(term);
        while self.leases.any() && self.leases.term < term {
            self.cap(rate, self.leases.term.end(), now);
            self.leases.end_term();
        }
    }

    /// Removes what the bucket would hold at `at` beyond the burst minus what is leased.
    fn cap(&mut self, rate: &Rate, at: Timestamp, now: Timestamp) {
        let out = Span { micros: self.leases.out().try_into().unwrap_or(i64::MAX), fraction: 0 };
        let per_micro = self.refill.tokens();
        let fullest = Moment::at(at).minus(rate.fill(), per_micro).plus(out, per_micro);
        if self.empty_at < fullest {
            self.set_empty_at(fullest, now);
        }
    }

    fn set_empty_at(&mut self, empty_at: Moment, now: Timestamp) {
        self.empty_at = empty_at;
        self.indebted_at = (empty_at > Moment::at(now)).then_some(now);
    }

    /// Converts the same number of tokens to another rate's units. They are rounded down to a whole
    /// microsecond of refill, so a bucket never gains by a change of its limit's rate.
    ///
    /// What is leased is rounded up to a whole microsecond, and by another one if it is whole
    /// already.
    ///
    /// A bucket that stands still since the clock stepped back is converted as it is at the end of
    /// that time, which the rate does not change.
    fn convert(&mut self, refill: Refill, now: Timestamp) {
        let at = self.indebted_at.unwrap_or_else(|| self.empty_at.rounded_up()).max(now);
        let age = i128::from(at.unix_micros()) - i128::from(self.empty_at.micros);
        let parts = age * i128::from(self.refill.tokens) - i128::from(self.empty_at.fraction);
        let per_micro = i128::from(self.refill.micros) * i128::from(refill.tokens);
        let longest = i128::from(MAX_FILL_US);
        let age = scaled(parts, refill.micros.into(), per_micro).clamp(-longest, longest);
        let age = i64::try_from(age).expect("50 years fit");
        let micros = (at.unix_micros() - age).min(now.unix_micros() + MAX_FILL_US);
        self.empty_at = Moment { micros, fraction: 0 };
        let longer = |span: u64| {
            let parts = i128::from(span) * i128::from(self.refill.tokens);
            let span = scaled(parts, refill.micros.into(), per_micro).min(longest) + 1;
            u64::try_from(span).expect("50 years fit")
        };
        let Leases { term, earlier_us, current_us } = self.leases;
        let longer_if_any = |span| if span > 0 { longer(span) } else { 0 };
        self.leases =
            Leases::from_parts(term, longer_if_any(earlier_us), longer_if_any(current_us));
        self.refill = refill;
    }
}

/// Returns `parts * factor / divisor`, rounded down. `factor` is below 2^46, `divisor` below 2^97.
const fn scaled(parts: i128, factor: i128, divisor: i128) -> i128 {
    let (whole, rest) = (parts.div_euclid(divisor), parts.rem_euclid(divisor));
    // The rest times the factor may exceed 128 bits, so it is divided in two steps.
    let (high, low) = (rest * (factor >> 24), rest * (factor & 0xff_ffff));
    let low = ((high % divisor) << 24) + low;
    whole.saturating_mul(factor).saturating_add(((high / divisor) << 24) + low / divisor)
}

impl<'r> SettledTokens<'r> {
    /// Returns a full bucket, which is also the state of a bucket that was never used.
    #[must_use]
    pub const fn full(rate: &'r Rate, now: Timestamp) -> Self {
        Self { bucket: TokenBucket::full(rate, now), rate, now, repaired: false }
    }

    /// Returns the state, for a store to keep.
    #[must_use]
    pub const fn bucket(&self) -> TokenBucket {
        self.bucket
    }

    /// Returns the rate that sees the bucket.
    #[must_use]
    pub const fn rate(&self) -> &'r Rate {
        self.rate
    }

    /// Returns whether the stored state was written under another rate, before the clock stepped
    /// back, or in a debt that is paid or was last looked at some time ago. A store then writes
    /// [`SettledTokens::bucket`] in its place, whatever the look is for. A full bucket needs no
    /// repair.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// Returns whether the bucket holds at least `cost` tokens.
    #[must_use]
    pub fn covers(&self, cost: u64) -> bool {
        self.empty_at_after_taking(cost) <= Moment::at(self.now)
    }

    /// Takes `cost` tokens, below zero if necessary. Refill pays the debt, which never grows beyond
    /// 50 years of refill.
    pub fn take(&mut self, cost: u64) {
        let empty_at = self.empty_at_after_taking(cost);
        let deepest = self.now.unix_micros() + MAX_FILL_US;
        self.set_empty_at(if empty_at.micros >= deepest {
            Moment { micros: deepest, fraction: 0 }
        } else {
            empty_at
        });
    }

    /// Puts `cost` tokens back, up to the burst minus what is leased.
    pub fn give_back(&mut self, cost: u64) {
        let TokenBucket { empty_at, refill, .. } = self.bucket;
        self.set_empty_at(empty_at.minus(self.rate.span_of(cost), refill.tokens()));
        self.bucket.cap(self.rate, self.now, self.now);
    }

    /// Fills the bucket, up to the burst minus what is leased.
    pub fn fill(&mut self) {
        let leases = self.bucket.leases;
        self.bucket = TokenBucket::full(self.rate, self.now).with_leases(leases);
        if leases.any() {
            self.bucket.cap(self.rate, self.now, self.now);
        }
    }

    /// Lends up to `want` tokens for the term of `now`, and returns how many.
    ///
    /// A lease is at most half of what the bucket holds, so that others find some; and all leases
    /// are at most half of the burst. It is a multiple of [`Refill::tokens`], so that it comes back
    /// in whole microseconds. Less than `least` tokens are not lent: 0.
    ///
    /// None are lent either for as long as the leases are those of a later term, since the clock
    /// stepped back.
    pub fn lend(&mut self, want: u64, least: u64) -> u64 {
        let TokenBucket { empty_at, refill, leases, .. } = self.bucket;
        let term = Term::at(self.now);
        if leases.any() && leases.term > term {
            return 0;
        }
        let age = self.now.unix_micros().saturating_sub(empty_at.rounded_up().unix_micros());
        let held = u64::try_from(age).unwrap_or(0);
        let most = (self.rate.fill().micros.unsigned_abs() / 2).saturating_sub(leases.out());
        let groups = (want / refill.tokens())
            .min(held.min(MAX_FILL_US.unsigned_abs()) / 2 / refill.micros());
        let groups = groups.min(most / refill.micros());
        let lent = groups * refill.tokens();
        if lent == 0 || lent < least {
            return 0;
        }
        let span = groups * refill.micros();
        self.bucket.empty_at.micros += i64::try_from(span).expect("it is part of a fill time");
        self.bucket.leases.grant(term, span);
        lent
    }

    /// Ends a lease of `lent` tokens that was granted in `term`, of which `unspent` return. Both
    /// are multiples of [`Refill::tokens`]; what is beyond one is lost.
    ///
    /// Returns `false`, and does nothing, if the lease is not out any more: its tokens count as
    /// spent.
    pub fn end_lease(&mut self, term: Term, lent: u64, unspent: u64) -> bool {
        let TokenBucket { empty_at, refill, .. } = self.bucket;
        let span = |tokens: u64| (tokens / refill.tokens()).saturating_mul(refill.micros());
        if !self.bucket.leases.end_grant(term, span(lent)) {
            return false;
        }
        let back =
            Span { micros: span(unspent.min(lent)).try_into().unwrap_or(i64::MAX), fraction: 0 };
        self.set_empty_at(empty_at.minus(back, refill.tokens()));
        self.bucket.cap(self.rate, self.now, self.now);
        true
    }

    /// Returns how many whole tokens the bucket holds, rounded down; 0 while there is a debt.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let TokenBucket { empty_at, refill, .. } = self.bucket;
        let age = self.now.unix_micros().saturating_sub(empty_at.micros);
        let Ok(age) = u64::try_from(age) else { return 0 };
        // As in `span_of`: 64 bits nearly always suffice, and a division of 128 bits is slow.
        match age.checked_mul(refill.tokens) {
            Some(parts) => parts.saturating_sub(empty_at.fraction) / refill.micros,
            None => {
                let parts = (u128::from(age) * u128::from(refill.tokens))
                    .saturating_sub(empty_at.fraction.into());
                u64::try_from(parts / u128::from(refill.micros)).unwrap_or(u64::MAX)
            }
        }
    }

    /// Returns how many tokens the bucket lacks until it is full, rounded up.
    #[must_use]
    pub fn used(&self) -> u64 {
        let Refill { tokens, micros } = self.bucket.refill;
        let lacking = (self.full_in().as_micros() * u128::from(tokens)).div_ceil(micros.into());
        u64::try_from(lacking).unwrap_or(u64::MAX)
    }

    /// Returns the first microsecond at which the bucket holds `cost` tokens if none are taken
    /// before; `None` when it never holds that many.
    #[must_use]
    pub fn covers_at(&self, cost: u64) -> Option<Timestamp> {
        (cost <= self.rate.burst()).then(|| self.empty_at_after_taking(cost).rounded_up())
    }

    /// Returns the first microsecond at which the bucket is full and nothing is leased, from which
    /// on its state can be forgotten.
    #[must_use]
    pub fn full_at(&self) -> Timestamp {
        let TokenBucket { empty_at, refill, leases, .. } = self.bucket;
        let full_at = empty_at.plus(self.rate.fill(), refill.tokens()).rounded_up();
        if leases.any() { full_at.max(leases.refilled_at()) } else { full_at }
    }

    /// Returns how long the bucket needs until it is full: zero when it is full already.
    #[must_use]
    pub fn full_in(&self) -> Duration {
        self.full_at().since(self.now)
    }

    fn empty_at_after_taking(&self, cost: u64) -> Moment {
        self.bucket.empty_at.plus(self.rate.span_of(cost), self.bucket.refill.tokens())
    }

    fn set_empty_at(&mut self, empty_at: Moment) {
        self.bucket.set_empty_at(empty_at, self.now);
    }
}
