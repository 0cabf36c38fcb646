//! Calendar months.

use std::fmt;

use sluice_core::Timestamp;

use crate::history::Hour;

/// A month of the Gregorian calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: u64,
    /// From 1 to 12.
    month: u64,
}

impl Month {
    /// Returns the month that contains `time`.
    #[must_use]
    pub fn at(time: Timestamp) -> Self {
        // The algorithm "civil from days" of Howard Hinnant: years begin in March, so that a leap
        // day is the last day of its year.
        let days = Hour::at(time).day() + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let year = era * 400 + year_of_era + u64::from(month_from_march >= 10);
        Self { year, month: (month_from_march + 2) % 12 + 1 }
    }

    /// Returns the first hour of the month.
    #[must_use]
    pub const fn first_hour(self) -> Hour {
        // The reverse, "days from civil".
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let month_from_march = (self.month + 9) % 12;
        let (era, year_of_era) = (year / 400, year % 400);
        let day_of_year = (153 * month_from_march + 2) / 5;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Hour::first_of_day(era * 146_097 + day_of_era - 719_468)
    }

    /// Returns the month after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year + 1, month: 1 },
            month => Self { year: self.year, month: month + 1 },
        }
    }
}

impl fmt::Display for Month {
    /// Writes the month as `2026-11`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Month {
        Month::at(Timestamp::from_unix_micros(seconds * 1_000_000))
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        for (seconds, month) in [
            (0, "1970-01"),
            (951_782_400, "2000-02"),
            (951_868_800, "2000-03"),
            (1_709_164_800, "2024-02"),
            (1_709_251_199, "2024-02"),
            (1_709_251_200, "2024-03"),
            (1_796_083_199, "2026-11"),
            (1_796_083_200, "2026-12"),
            (4_107_542_399, "2100-02"),
            (4_107_542_400, "2100-03"),
        ] {
            assert_eq!(at(seconds).to_string(), month, "{seconds}");
        }
    }

    #[test]
    fn months_follow_one_another_without_a_gap() {
        let (mut month, mut days) = (at(0), 0);
        for _ in 0..12 * 400 {
            let length = month.next().first_hour().day() - month.first_hour().day();
            assert!((28..=31).contains(&length), "{month}: {length} days");
            days += length;
            let last_hour = Hour::from_number(month.next().first_hour().number() - 1);
            for hour in [month.first_hour(), last_hour] {
                let us = i64::try_from(hour.number()).unwrap() * 3_600_000_000;
                assert_eq!(Month::at(Timestamp::from_unix_micros(us)), month);
            }
            month = month.next();
        }
        assert_eq!(days, 146_097, "the days of 400 years");
    }
}
