//! Hours and days of a store's clock.

use sluice_core::Timestamp;

/// How many whole days before today are kept.
pub const HISTORY_DAYS: u64 = 35;

/// An hour of the store's clock, by its number since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u64);

const HOUR_US: i64 = 3_600_000_000;
const HOURS_PER_DAY: u64 = 24;

impl Hour {
    /// Returns the hour that contains `time`. Times before 1970 are in the first hour.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        Self(u64::try_from(time.unix_micros() / HOUR_US).unwrap_or(0))
    }

    /// Makes an hour from its number since the Unix epoch.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Returns the hour's number since the Unix epoch.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the hour after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Returns the first hour of the day with this number since the Unix epoch, in UTC.
    #[must_use]
    pub const fn first_of_day(day: u64) -> Self {
        Self(day.saturating_mul(HOURS_PER_DAY))
    }

    /// Returns the number of the day that contains this hour, in UTC.
    #[must_use]
    pub const fn day(self) -> u64 {
        self.0 / HOURS_PER_DAY
    }

    /// The hour's place in its day, from 0 to 23.
    pub(crate) fn of_day(self) -> usize {
        usize::try_from(self.0 % HOURS_PER_DAY).unwrap_or(0)
    }

    /// The hour to which an amount is added that was counted at `counted`, when it is `now`: never
    /// in the future, and not before yesterday.
    pub(crate) fn for_amount(counted: Timestamp, now: Timestamp) -> Self {
        let now = Self::at(now);
        let oldest = Self::first_of_day(now.day().saturating_sub(1));
        Self::at(counted).clamp(oldest.min(now), now)
    }

    /// The oldest day that may still change when it is `now`. A flush that was sent before midnight
    /// may be added after it, so a day is kept open for an hour longer than amounts are for it.
    pub(crate) fn first_open_day(now: Timestamp) -> u64 {
        Self(Self::at(now).0.saturating_sub(1)).day().saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(number: i64) -> Timestamp {
        Timestamp::from_unix_micros(number * HOUR_US)
    }

    #[test]
    fn an_hour_knows_its_day() {
        let last = Hour::at(Timestamp::from_unix_micros(48 * HOUR_US - 1));
        assert_eq!((last.number(), last.day(), last.of_day()), (47, 1, 23));
        assert_eq!((last.next().day(), last.next().of_day()), (2, 0));
        assert_eq!(Hour::first_of_day(2), last.next());
        assert_eq!(Hour::at(Timestamp::from_unix_micros(-1)).number(), 0);
    }

    #[test]
    fn an_amount_is_placed_yesterday_or_today() {
        let place = |counted, now| Hour::for_amount(hour(counted), hour(now)).number();
        assert_eq!(place(100, 100), 100);
        assert_eq!(place(73, 100), 73, "yesterday begins with hour 72");
        assert_eq!(place(50, 100), 72, "too late");
        assert_eq!(place(101, 100), 100, "never in the future");
        assert_eq!(place(0, 3), 0, "on the first day there is no yesterday");
    }

    #[test]
    fn a_day_that_gets_amounts_is_open() {
        for now in 48..400 {
            let oldest = Hour::for_amount(hour(0), hour(now)).day();
            assert!(Hour::first_open_day(hour(now)) <= oldest, "{now}");
            // A flush that was made up to an hour ago.
            let before = Hour::for_amount(hour(0), hour(now - 1)).day();
            assert!(Hour::first_open_day(hour(now)) <= before, "{now}");
            let open = Hour::at(hour(now)).day() + 1 - Hour::first_open_day(hour(now));
            assert!(open <= 3, "{now}: {open} days are open");
        }
    }
}
