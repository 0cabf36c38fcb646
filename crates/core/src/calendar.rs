//! Windows of the calendar: seconds, minutes, hours, days, weeks, months and years, in a time zone.
//!
//! A window of a day or longer begins at the first instant of a civil day. That is midnight, except
//! where clocks are changed at midnight: it may not exist, so that the day begins at 1:00, or exist
//! twice, so that the day begins at the first of the two.
//!
//! Windows follow each other without a gap: each has a number, and ends where the next one begins.

use std::{fmt, str::FromStr};

use jiff::{
    civil::{Date, Time},
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};

use crate::time::Timestamp;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;
const WEEK_S: i64 = 7 * DAY_S;
/// From the Unix epoch, a Thursday, to the first Monday after it.
const FIRST_MONDAY_S: i64 = 4 * DAY_S;
/// How far from the Unix epoch civil time is computed: more than 6,000 years.
const FARTHEST_S: i64 = 200_000_000_000;

/// The length of a calendar's windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CalendarUnit {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Civil days.
    Day,
    /// Weeks, from Monday to Sunday.
    Week,
    /// Months, which may begin on another day than the first ([`Calendar::anchored_at`]).
    Month,
    /// Years.
    Year,
}

/// Cuts time into windows of one [`CalendarUnit`] each: minutes, days in a time zone, months that
/// begin on their 15th day.
///
/// ```
/// use sluice_core::{Calendar, CalendarUnit, Timestamp};
///
/// let months = Calendar::new(CalendarUnit::Month).in_zone("Europe/Rome")?;
/// // 2026-02-03T00:00:00Z
/// let window = months.window_at(Timestamp::from_unix_micros(1_770_076_800_000_000));
/// // Midnight in Rome is 23:00 in UTC.
/// assert_eq!(window.start().unix_micros(), 1_769_900_400_000_000);
/// assert_eq!(window.end().since(window.start()).as_secs(), 28 * 24 * 60 * 60);
/// # Ok::<_, sluice_core::CalendarError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    unit: CalendarUnit,
    zone: TimeZone,
    /// The day of the month on which windows begin; 1 for other units.
    anchor: i8,
}

/// A window of a [`Calendar`], and the end of the next one. All three are whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    start: Timestamp,
    end: Timestamp,
    next_end: Timestamp,
}

/// The reason why a calendar is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalendarError {
    /// The text is not the name of a unit.
    #[error("`{text}` is not a unit of the calendar: use {}", CalendarUnit::NAMES)]
    Unit {
        /// The text.
        text: String,
    },
    /// The time zone database has no such name.
    #[error(
        "`{name}` is not a time zone: use a name of the IANA time zone database, such as \
         `Europe/Rome`, or `UTC`"
    )]
    UnknownZone {
        /// The name.
        name: String,
    },
    /// A time zone does not change windows of this unit.
    #[error(
        "windows of one {unit} begin at the same time in every time zone: leave the time zone out, \
         or use a day, a week, a month or a year"
    )]
    ZoneOfUnit {
        /// The unit.
        unit: CalendarUnit,
    },
    /// Only a month can begin on another day than its first.
    #[error("windows of one {unit} have no anchor: only a month can begin on a day of its own")]
    AnchorOfUnit {
        /// The unit.
        unit: CalendarUnit,
    },
    /// No month has this day.
    #[error("{day} is not a day of a month: use 1 to 31")]
    Anchor {
        /// The day that was given.
        day: u8,
    },
}

impl CalendarUnit {
    /// The names, for messages.
    pub(crate) const NAMES: &str = "second, minute, hour, day, week, month or year";

    /// Returns the length of a unit that is shorter than a day, in seconds.
    const fn short(self) -> Option<i64> {
        match self {
            Self::Second => Some(1),
            Self::Minute => Some(MINUTE_S),
            Self::Hour => Some(HOUR_S),
            Self::Day | Self::Week | Self::Month | Self::Year => None,
        }
    }
}

impl FromStr for CalendarUnit {
    type Err = CalendarError;

    /// Reads `second`, `minute`, `hour`, `day`, `week`, `month` or `year`, and the short forms of a
    /// rate's units: `s`, `sec`, `m`, `min`, `h`, `d`. So `m` is a minute.
    fn from_str(text: &str) -> Result<Self, CalendarError> {
        match text {
            "second" | "sec" | "s" => Ok(Self::Second),
            "minute" | "min" | "m" => Ok(Self::Minute),
            "hour" | "h" => Ok(Self::Hour),
            "day" | "d" => Ok(Self::Day),
            "week" => Ok(Self::Week),
            "month" => Ok(Self::Month),
            "year" => Ok(Self::Year),
            _ => Err(CalendarError::Unit { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for CalendarUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        })
    }
}

impl Calendar {
    /// Creates a calendar in UTC, whose months begin on their first day.
    #[must_use]
    pub const fn new(unit: CalendarUnit) -> Self {
        Self { unit, zone: TimeZone::UTC, anchor: 1 }
    }

    /// Returns the calendar in the time zone of this name, from the IANA time zone database that is
    /// part of this crate. Upper and lower case are the same.
    ///
    /// # Errors
    /// When there is no such time zone, or the unit is shorter than a day.
    pub fn in_zone(self, name: &str) -> Result<Self, CalendarError> {
        if self.unit.short().is_some() {
            return Err(CalendarError::ZoneOfUnit { unit: self.unit });
        }
        match TimeZoneDatabase::bundled().get(name) {
            Ok(zone) if !zone.is_unknown() => Ok(Self { zone, ..self }),
            _ => Err(CalendarError::UnknownZone { name: name.to_owned() }),
        }
    }

    /// Returns the calendar with months that begin on this day, such as a billing period. In a
    /// month without it they begin on its last day.
    ///
    /// # Errors
    /// When `day` is not in 1 to 31, or the unit is not the month.
    pub fn anchored_at(self, day: u8) -> Result<Self, CalendarError> {
        if self.unit != CalendarUnit::Month {
            return Err(CalendarError::AnchorOfUnit { unit: self.unit });
        }
        match i8::try_from(day) {
            Ok(anchor @ 1..=31) => Ok(Self { anchor, ..self }),
            _ => Err(CalendarError::Anchor { day }),
        }
    }

    /// Returns the names of all time zones.
    pub fn zone_names() -> impl Iterator<Item = String> {
        let names: Vec<String> =
            TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect();
        names.into_iter()
    }

    /// Returns the length of the windows.
    #[must_use]
    pub const fn unit(&self) -> CalendarUnit {
        self.unit
    }

    /// Returns the name of the time zone.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// Returns the day of the month on which months begin; 1 for other units.
    #[must_use]
    pub const fn anchor(&self) -> u8 {
        self.anchor.unsigned_abs()
    }

    /// Returns the length of the windows and the start of one of them, both in seconds, if they are
    /// all equally long: the window that contains `now` begins at `now - (now - offset) % period`.
    #[must_use]
    pub fn aligned(&self) -> Option<(u64, u64)> {
        let (period_s, offset_s) = self.aligned_s()?;
        Some((period_s.unsigned_abs(), offset_s.unsigned_abs()))
    }

    fn aligned_s(&self) -> Option<(i64, i64)> {
        match self.unit {
            CalendarUnit::Day if self.is_in_utc() => Some((DAY_S, 0)),
            CalendarUnit::Week if self.is_in_utc() => Some((WEEK_S, FIRST_MONDAY_S)),
            unit => unit.short().map(|period_s| (period_s, 0)),
        }
    }

    fn is_in_utc(&self) -> bool {
        self.zone == TimeZone::UTC
    }

    /// Returns the window that contains `now`.
    ///
    /// Further than 6,000 years from the Unix epoch, it is the last or the first one that can be
    /// computed.
    #[must_use]
    pub fn window_at(&self, now: Timestamp) -> Period {
        let now_s = now.unix_micros().div_euclid(1_000_000).clamp(-FARTHEST_S, FARTHEST_S);
        if let Some((period_s, offset_s)) = self.aligned_s() {
            let start_s = now_s - (now_s - offset_s).rem_euclid(period_s);
            return Period::from_seconds(start_s, start_s + period_s, start_s + 2 * period_s);
        }
        let mut number = self.number_at(now_s);
        let mut start_s = self.start_of(number);
        // Clocks may be set back to the day before, just after a day began: that window has begun.
        let mut end_s = self.start_of(number + 1);
        while end_s <= now_s {
            number += 1;
            (start_s, end_s) = (end_s, self.start_of(number + 1));
        }
        // A day that a time zone left out, as at the date line, has no window.
        let mut next_end_s = self.start_of(number + 2);
        while next_end_s <= end_s {
            number += 1;
            next_end_s = self.start_of(number + 2);
        }
        Period::from_seconds(start_s, end_s, next_end_s)
    }

    /// Returns the number of the window that civil time is in at `now_s`.
    fn number_at(&self, now_s: i64) -> i64 {
        let now = timestamp(now_s);
        let offset = self.zone.to_offset(now);
        let day = (now_s + i64::from(offset.seconds())).div_euclid(DAY_S);
        match self.unit {
            CalendarUnit::Week => (day - FIRST_MONDAY_S / DAY_S).div_euclid(7),
            CalendarUnit::Month => {
                let date = offset.to_datetime(now).date();
                let month = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
                if date.day() < self.first_day_of(date) { month - 1 } else { month }
            }
            CalendarUnit::Year => offset.to_datetime(now).date().year().into(),
            _ => day,
        }
    }

    /// Returns when the window of this number begins, in seconds.
    fn start_of(&self, number: i64) -> i64 {
        let first_day = |year: i64, month: i64| {
            let narrow = |part: i64| i8::try_from(part).expect("a month is less than 128");
            let year = i16::try_from(year).expect("6,000 years fit");
            Date::new(year, narrow(month), 1).expect("every year of these has this month")
        };
        self.first_instant_of(match self.unit {
            CalendarUnit::Week => date_of(number * 7 + FIRST_MONDAY_S / DAY_S),
            CalendarUnit::Month => {
                let first = first_day(number.div_euclid(12), number.rem_euclid(12) + 1);
                let day = self.first_day_of(first);
                Date::new(first.year(), first.month(), day).expect("it is a day of this month")
            }
            CalendarUnit::Year => first_day(number, 1),
            _ => date_of(number),
        })
    }

    /// Returns the day on which the window begins that begins in the month of `date`.
    fn first_day_of(&self, date: Date) -> i8 {
        self.anchor.min(date.days_in_month())
    }

    /// Returns the first instant at which civil time is not before this date, in seconds.
    fn first_instant_of(&self, date: Date) -> i64 {
        let midnight = date.to_datetime(Time::midnight());
        let midnight_s =
            Offset::UTC.to_timestamp(midnight).expect("6,000 years are in its range").as_second();
        let at = |offset: Offset| midnight_s - i64::from(offset.seconds());
        match self.zone.to_ambiguous_timestamp(midnight).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            AmbiguousOffset::Fold { before, .. } => at(before),
            AmbiguousOffset::Gap { before, after } => {
                // The day begins when the clock is set, which may be some time before what would be
                // midnight.
                let mut changes = self.zone.following(timestamp(at(after)));
                changes
                    .find(|change| change.offset() == after)
                    .map_or(at(before), |change| change.timestamp().as_second())
            }
        }
    }
}

fn timestamp(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(seconds).expect("6,000 years are in its range")
}

/// Returns the date of a day, counted from the Unix epoch.
fn date_of(day: i64) -> Date {
    Offset::UTC.to_datetime(timestamp(day * DAY_S)).date()
}

impl Period {
    const fn from_seconds(start_s: i64, end_s: i64, next_end_s: i64) -> Self {
        Self {
            start: Timestamp::from_unix_micros(start_s * 1_000_000),
            end: Timestamp::from_unix_micros(end_s * 1_000_000),
            next_end: Timestamp::from_unix_micros(next_end_s * 1_000_000),
        }
    }

    /// Returns when the window begins.
    #[must_use]
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// Returns when the window ends, and the next one begins.
    #[must_use]
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// Returns when the next window ends.
    #[must_use]
    pub const fn next_end(&self) -> Timestamp {
        self.next_end
    }
}
