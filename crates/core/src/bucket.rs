//! A bucket's state and its arithmetic: the oracle for `lua/`.
//!
//! The tokens of a bucket lie on a line that rises with time at the limit's rate. The state is the
//! instant at which that line crosses zero (`empty_at`): the level at `now` is the refill between
//! the two. Taking tokens moves the instant on by the time they need to come back. Every such span
//! is a whole number of `1 / refill.tokens` microseconds, so adding and comparing is all there is:
//! nothing drifts, nothing is rounded. This is the theoretical arrival time of ATM Forum's generic
//! cell rate algorithm (af-tm-0121.000, section 4.4), measured from the other end so that a changed
//! burst leaves the level alone.

use std::time::Duration;

use crate::{
    rate::{MAX_FILL_US, Rate},
    refill_rate::Refill,
    time::{Moment, Timestamp},
};

/// The longest that a bucket stands still when the store's clock steps back, in microseconds: one
/// second.
pub const MAX_CLOCK_STEP_US: i64 = 1_000_000;

/// The state of one limit for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    empty_at: Moment,
    refill: Refill,
    /// When the debt was last written; `None` without a debt. Only this tells a debt from a clock
    /// that stepped back.
    indebted_at: Option<Timestamp>,
}

impl Bucket {
    /// A bucket that was never seen: full.
    #[must_use]
    pub const fn full(numbers: &Rate, now: Timestamp) -> Self {
        let refill = numbers.refill();
        let empty_at = Moment::at(now).minus(numbers.fill(), refill.tokens());
        Self { empty_at, refill, indebted_at: None }
    }

    /// A bucket as a store wrote it down; `None` when the parts contradict each other.
    #[must_use]
    pub const fn from_parts(
        empty_at: Moment,
        refill: Refill,
        indebted_at: Option<Timestamp>,
    ) -> Option<Self> {
        if empty_at.fraction < refill.tokens() {
            Some(Self { empty_at, refill, indebted_at })
        } else {
            None
        }
    }

    /// The instant at which the line of tokens crosses zero, in parts of `1 / refill().tokens()`
    /// microseconds.
    #[must_use]
    pub const fn empty_at(&self) -> Moment {
        self.empty_at
    }

    /// The rate under which the state was written.
    #[must_use]
    pub const fn refill(&self) -> Refill {
        self.refill
    }

    /// When the debt was last written; `None` without a debt.
    #[must_use]
    pub const fn indebted_at(&self) -> Option<Timestamp> {
        self.indebted_at
    }

    /// The bucket as `numbers` and `now` see it: read in their units, never above their burst, and
    /// never more than [`MAX_CLOCK_STEP_US`] behind a clock that stepped back.
    #[must_use]
    pub fn settled(self, numbers: &Rate, now: Timestamp) -> Self {
        let mut bucket = self;
        bucket.follow_clock(now);
        if bucket.refill != numbers.refill() {
            bucket.convert(numbers.refill(), now);
        }
        let full = Self::full(numbers, now);
        if bucket.empty_at < full.empty_at {
            return full;
        }
        bucket
    }

    fn follow_clock(&mut self, now: Timestamp) {
        let latest = now.unix_micros() + MAX_CLOCK_STEP_US;
        match self.indebted_at {
            None => {
                // Nobody owes: zero was crossed before the bucket was written, so if it lies ahead
                // the clock went back.
                if self.empty_at.micros >= latest {
                    self.empty_at = Moment { micros: latest, fraction: 0 };
                }
            }
            Some(written) => {
                let step = written.unix_micros() - latest;
                if step > 0 {
                    self.empty_at.micros -= step;
                    self.indebted_at = Some(Timestamp::from_unix_micros(latest));
                }
                if self.empty_at <= Moment::at(now) {
                    self.indebted_at = None;
                }
            }
        }
    }

    /// Reads the same tokens in another rate's units. In doubles, as in Lua and in the same order,
    /// so that both round alike: the level may lose less than a microsecond's refill, once per
    /// change of a limit's numbers.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn convert(&mut self, refill: Refill, now: Timestamp) {
        let age = (now.unix_micros() - self.empty_at.micros) as f64;
        let tokens = (age * self.refill.tokens as f64 - self.empty_at.fraction as f64)
            / self.refill.micros as f64;
        let age = (tokens * refill.micros as f64 / refill.tokens as f64).floor();
        let micros =
            now.unix_micros().saturating_sub(age as i64).min(now.unix_micros() + MAX_FILL_US);
        self.empty_at = Moment { micros, fraction: 0 };
        self.refill = refill;
    }

    /// Whether `cost` tokens are there at `now`. The bucket is settled.
    #[must_use]
    pub fn covers(&self, numbers: &Rate, cost: u64, now: Timestamp) -> bool {
        self.after_taking(numbers, cost) <= Moment::at(now)
    }

    /// Takes `cost` tokens, below zero if need be; the debt is paid by refill, and never grows
    /// beyond 50 years of it. The bucket is settled.
    pub fn take(&mut self, numbers: &Rate, cost: u64, now: Timestamp) {
        self.empty_at = self.after_taking(numbers, cost);
        let deepest = now.unix_micros() + MAX_FILL_US;
        if self.empty_at.micros >= deepest {
            self.empty_at = Moment { micros: deepest, fraction: 0 };
        }
        self.mark_debt(now);
    }

    /// Puts `cost` tokens back, up to the burst. The bucket is settled.
    pub fn give_back(&mut self, numbers: &Rate, cost: u64, now: Timestamp) {
        self.empty_at = self.empty_at.minus(numbers.span_of(cost), self.refill.tokens());
        let full = Self::full(numbers, now);
        if self.empty_at < full.empty_at {
            self.empty_at = full.empty_at;
        }
        self.mark_debt(now);
    }

    fn mark_debt(&mut self, now: Timestamp) {
        self.indebted_at = (self.empty_at > Moment::at(now)).then_some(now);
    }

    fn after_taking(&self, numbers: &Rate, cost: u64) -> Moment {
        self.empty_at.plus(numbers.span_of(cost), self.refill.tokens())
    }

    /// Whole tokens at `now`, rounded down; none while there is a debt. The bucket is settled.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> u64 {
        let age = now.unix_micros().saturating_sub(self.empty_at.micros);
        let Ok(age) = u64::try_from(age) else { return 0 };
        let (per_micro, micros, fraction) =
            (self.refill.tokens, self.refill.micros, self.empty_at.fraction);
        // As in `span_of`: 64 bits nearly always suffice, and dividing 128 is slow.
        match age.checked_mul(per_micro) {
            Some(parts) => parts.saturating_sub(fraction) / micros,
            None => {
                let parts =
                    (u128::from(age) * u128::from(per_micro)).saturating_sub(fraction.into());
                u64::try_from(parts / u128::from(micros)).unwrap_or(u64::MAX)
            }
        }
    }

    /// The first microsecond at which `cost` tokens are there; `None` when the bucket never holds
    /// that many. The bucket is settled.
    #[must_use]
    pub fn covers_at(&self, numbers: &Rate, cost: u64) -> Option<Timestamp> {
        (cost <= numbers.burst()).then(|| self.after_taking(numbers, cost).rounded_up())
    }

    /// The first microsecond at which the bucket is full, and its state can be forgotten. The
    /// bucket is settled.
    #[must_use]
    pub const fn full_at(&self, numbers: &Rate) -> Timestamp {
        self.empty_at.plus(numbers.fill(), self.refill.tokens()).rounded_up()
    }

    /// How long until the bucket is full again: zero when it is. The bucket is settled.
    #[must_use]
    pub const fn full_in(&self, numbers: &Rate, now: Timestamp) -> Duration {
        self.full_at(numbers).since(now)
    }
}
