//! Instants and exact spans of time. This crate has no clock: every instant is an argument.

use std::time::Duration;

/// The longest time that a bucket stands still when the store's clock steps back, in microseconds:
/// one second.
pub const MAX_CLOCK_STEP_US: i64 = 1_000_000;

/// An instant in whole microseconds since the Unix epoch, as Redis' `TIME` returns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Creates the instant `micros` microseconds after the Unix epoch, or before it when negative.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the Unix epoch, rounded up so that a client that waits until
    /// then is never too early.
    #[must_use]
    pub const fn unix_seconds_rounded_up(self) -> i64 {
        self.0.div_euclid(1_000_000) + (self.0.rem_euclid(1_000_000) > 0) as i64
    }

    /// Returns the time from `earlier` to this instant, or zero when `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(if micros > 0 { micros.unsigned_abs() } else { 0 })
    }

    /// Returns the instant that is `span` later, or the last representable one.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Returns the instant that is `span` earlier, or the first representable one.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// An exact span of time: whole microseconds and a fraction of one, counted in `1 / per_micro` of a
/// microsecond.
///
/// `per_micro` is [`Refill::tokens`](crate::Refill::tokens) of the rate for which the span was
/// made.
/// Spans of different rates must not be mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Whole microseconds.
    pub micros: i64,
    /// The rest, in `1 / per_micro` of a microsecond: less than `per_micro`.
    pub fraction: u64,
}

/// An exact instant: a [`Timestamp`] and a fraction of a microsecond, in the units of
/// [`Span::fraction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Whole microseconds since the Unix epoch.
    pub micros: i64,
    /// The rest, in `1 / per_micro` of a microsecond: less than `per_micro`.
    pub fraction: u64,
}

impl Moment {
    /// Creates an instant without a fraction.
    #[must_use]
    pub const fn at(at: Timestamp) -> Self {
        Self { micros: at.0, fraction: 0 }
    }

    /// Returns the instant that is `span` later.
    #[must_use]
    pub const fn plus(self, span: Span, per_micro: u64) -> Self {
        let fraction = self.fraction + span.fraction;
        let micros = self.micros.saturating_add(span.micros);
        if fraction >= per_micro {
            Self { micros: micros.saturating_add(1), fraction: fraction - per_micro }
        } else {
            Self { micros, fraction }
        }
    }

    /// Returns the instant that is `span` earlier.
    #[must_use]
    pub const fn minus(self, span: Span, per_micro: u64) -> Self {
        let micros = self.micros.saturating_sub(span.micros);
        if self.fraction < span.fraction {
            Self {
                micros: micros.saturating_sub(1),
                fraction: self.fraction + per_micro - span.fraction,
            }
        } else {
            Self { micros, fraction: self.fraction - span.fraction }
        }
    }

    /// Returns the first whole microsecond that is not before this instant.
    #[must_use]
    pub const fn rounded_up(self) -> Timestamp {
        Timestamp(self.micros.saturating_add((self.fraction > 0) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_seconds_are_rounded_up() {
        assert_eq!(Timestamp::from_unix_micros(2_000_000).unix_seconds_rounded_up(), 2);
        assert_eq!(Timestamp::from_unix_micros(2_000_001).unix_seconds_rounded_up(), 3);
        assert_eq!(Timestamp::from_unix_micros(-1).unix_seconds_rounded_up(), 0);
    }

    #[test]
    fn fractions_are_carried_in_both_directions() {
        let third = Span { micros: 0, fraction: 1 };
        let start = Moment { micros: 5, fraction: 2 };
        assert_eq!(start.plus(third, 3), Moment { micros: 6, fraction: 0 });
        assert_eq!(start.plus(third, 3).minus(third, 3), start);
        assert_eq!(start.rounded_up(), Timestamp::from_unix_micros(6));
    }

    #[test]
    fn the_time_since_a_later_instant_is_zero() {
        let (early, late) = (Timestamp::from_unix_micros(10), Timestamp::from_unix_micros(25));
        assert_eq!(late.since(early), Duration::from_micros(15));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.after(Duration::from_micros(15)), late);
    }
}
