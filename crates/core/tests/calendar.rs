//! Windows of the calendar, compared with a walk through time, hour by hour, and second by second
//! where something changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use jiff::tz::{TimeZone, TimeZoneDatabase};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sluice_core::{Calendar, CalendarError, CalendarUnit, Period, Timestamp};

const SECOND_US: i64 = 1_000_000;
const HOUR_S: i64 = 60 * 60;
const DAY_S: i64 = 24 * HOUR_S;
/// 2200-01-01T00:00:00Z
const END_S: i64 = 7_258_118_400;
/// 2040-01-01T00:00:00Z. Later, every year's changes are by the same rule.
const LAST_CHANGE_S: i64 = 2_208_988_800;

const UNITS: [CalendarUnit; 7] = [
    CalendarUnit::Second,
    CalendarUnit::Minute,
    CalendarUnit::Hour,
    CalendarUnit::Day,
    CalendarUnit::Week,
    CalendarUnit::Month,
    CalendarUnit::Year,
];

/// Zones whose days have begun at unusual times.
const UNUSUAL_ZONES: [&str; 12] = [
    "Africa/Cairo",
    "America/Havana",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Australia/Lord_Howe",
    "Europe/Rome",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
];

fn at_second(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(seconds * SECOND_US)
}

fn seconds(at: Timestamp) -> i64 {
    assert_eq!(at.unix_micros() % SECOND_US, 0, "borders are whole seconds");
    at.unix_micros() / SECOND_US
}

/// Reads an instant such as `2018-11-04T03:00:00Z`.
fn at(text: &str) -> Timestamp {
    at_second(text.parse::<jiff::Timestamp>().unwrap().as_second())
}

fn calendar(unit: CalendarUnit, zone: &str) -> Calendar {
    Calendar::new(unit).in_zone(zone).unwrap()
}

/// A calendar as its definition says: the window of a civil date, and the first instant at which
/// the date is in it or beyond.
struct Walk {
    zone: TimeZone,
    unit: CalendarUnit,
    anchor: i64,
}

impl Walk {
    fn of(calendar: &Calendar) -> Self {
        Self {
            zone: TimeZoneDatabase::bundled().get(calendar.zone_name()).unwrap(),
            unit: calendar.unit(),
            anchor: calendar.anchor().into(),
        }
    }

    fn offset_at(&self, second: i64) -> i64 {
        let at = jiff::Timestamp::from_second(second).unwrap();
        self.zone.to_offset(at).seconds().into()
    }

    /// Returns the number of the window that a civil second is in.
    fn number_of(&self, civil_s: i64) -> i64 {
        let days = civil_s.div_euclid(DAY_S);
        let (year, month, day) = civil_from_days(days);
        match self.unit {
            CalendarUnit::Second => civil_s,
            CalendarUnit::Minute => civil_s.div_euclid(60),
            CalendarUnit::Hour => civil_s.div_euclid(HOUR_S),
            CalendarUnit::Day => days,
            // The first day of 1970 was a Thursday.
            CalendarUnit::Week => (days + 3).div_euclid(7),
            CalendarUnit::Month => {
                let first_day = self.anchor.min(days_in_month(year, month));
                year * 12 + month - i64::from(day < first_day)
            }
            CalendarUnit::Year => year,
        }
    }

    /// Returns the longest window in days, with some to spare.
    fn days(&self) -> i64 {
        match self.unit {
            CalendarUnit::Week => 9,
            CalendarUnit::Month => 33,
            CalendarUnit::Year => 368,
            _ => 3,
        }
    }

    /// Returns when the window begins and ends that contains `now_s`, and when the next one ends.
    fn window_at(&self, now_s: i64) -> (i64, i64, i64) {
        let from = now_s - self.days() * DAY_S;
        let mut offset = self.offset_at(from);
        let mut latest = self.number_of(from + offset);
        let (mut start, mut end) = (from, None);
        let mut hour = from;
        loop {
            let next = hour + HOUR_S;
            let next_offset = self.offset_at(next);
            // Civil time is even in an hour in which the offset does not change.
            if offset != next_offset || self.number_of(next + next_offset) > latest {
                for second in hour + 1..=next {
                    let number = self.number_of(second + self.offset_at(second));
                    if number <= latest {
                        continue;
                    }
                    latest = number;
                    match end {
                        _ if second <= now_s => start = second,
                        None => end = Some(second),
                        Some(end) => return (start, end, second),
                    }
                }
            }
            (hour, offset) = (next, next_offset);
            assert!(hour < now_s + 3 * self.days() * DAY_S, "no window ends");
        }
    }
}

/// Returns year, month and day of a day since the Unix epoch, year by year and month by month.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let mut year = 1969 + days.div_euclid(366);
    let mut rest = days - days_before(year);
    while rest >= days_in_year(year) {
        rest -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while rest >= days_in_month(year, month) {
        rest -= days_in_month(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

fn days_before(year: i64) -> i64 {
    let leap_days = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

fn days_in_year(year: i64) -> i64 {
    365 + i64::from(days_in_month(year, 2) == 29)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Instants from 1970 to 2200, half of them within two days of a change of the zone's offset.
fn instants(zone: &TimeZone) -> impl Strategy<Value = i64> + use<> {
    let changes: Vec<i64> = zone
        .following(jiff::Timestamp::UNIX_EPOCH)
        .map(|change| change.timestamp().as_second())
        .take_while(|&second| second < LAST_CHANGE_S)
        .collect();
    let changes = if changes.is_empty() { vec![0] } else { changes };
    let near = (prop::sample::select(changes), -2 * DAY_S..2 * DAY_S);
    prop_oneof![0..END_S, near.prop_map(|(change, distance)| (change + distance).max(0)),]
        .prop_flat_map(|second| {
            (Just(second), 0..SECOND_US).prop_map(|(second, micros)| second * SECOND_US + micros)
        })
}

/// A time zone, unusual ones more often than others, and an instant.
fn zones_and_instants() -> impl Strategy<Value = (String, i64)> {
    let all: Vec<String> = Calendar::zone_names().collect();
    let unusual: Vec<String> = UNUSUAL_ZONES.map(str::to_owned).to_vec();
    prop_oneof![prop::sample::select(all), prop::sample::select(unusual)].prop_flat_map(|name| {
        let zone = TimeZoneDatabase::bundled().get(&name).unwrap();
        (Just(name), instants(&zone))
    })
}

fn anchors() -> impl Strategy<Value = u8> {
    prop_oneof![Just(1_u8), Just(29_u8), Just(30_u8), Just(31_u8), 1..=31_u8]
}

/// Checks what every window promises, and returns it.
fn checked_window(calendar: &Calendar, now: Timestamp) -> Period {
    let window = calendar.window_at(now);
    assert!(window.start() <= now && now < window.end(), "{window:?} does not contain {now:?}");
    assert!(window.end() < window.next_end(), "{window:?}");
    window
}

fn compare_with_walk(unit: CalendarUnit, cases: u32) {
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    let result = runner.run(&(zones_and_instants(), anchors()), |((zone, now_us), anchor)| {
        let mut calendar = calendar(unit, &zone);
        if unit == CalendarUnit::Month {
            calendar = calendar.anchored_at(anchor).unwrap();
        }
        let window = checked_window(&calendar, Timestamp::from_unix_micros(now_us));
        let window = (seconds(window.start()), seconds(window.end()), seconds(window.next_end()));
        prop_assert_eq!(window, Walk::of(&calendar).window_at(now_us.div_euclid(SECOND_US)));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn days_equal_a_walk_through_time() {
    compare_with_walk(CalendarUnit::Day, 400);
}

#[test]
fn weeks_equal_a_walk_through_time() {
    compare_with_walk(CalendarUnit::Week, 200);
}

#[test]
fn months_equal_a_walk_through_time() {
    compare_with_walk(CalendarUnit::Month, 150);
}

#[test]
fn years_equal_a_walk_through_time() {
    compare_with_walk(CalendarUnit::Year, 8);
}

#[test]
fn windows_follow_each_other_without_a_gap() {
    let mut runner = TestRunner::new(Config { cases: 2_000, ..Config::default() });
    let cases = (zones_and_instants(), prop::sample::select(UNITS.to_vec()), anchors());
    let result = runner.run(&cases, |((zone, now_us), unit, anchor)| {
        let mut calendar = Calendar::new(unit);
        if !matches!(unit, CalendarUnit::Second | CalendarUnit::Minute | CalendarUnit::Hour) {
            calendar = calendar.in_zone(&zone).unwrap();
        }
        if unit == CalendarUnit::Month {
            calendar = calendar.anchored_at(anchor).unwrap();
        }
        let window = checked_window(&calendar, Timestamp::from_unix_micros(now_us));
        let just_before = |at: Timestamp| Timestamp::from_unix_micros(at.unix_micros() - 1);
        prop_assert_eq!(checked_window(&calendar, window.start()), window);
        prop_assert_eq!(checked_window(&calendar, just_before(window.end())), window);
        let next = checked_window(&calendar, window.end());
        prop_assert_eq!((next.start(), next.end()), (window.end(), window.next_end()));
        let last = checked_window(&calendar, just_before(window.start()));
        prop_assert_eq!((last.end(), last.next_end()), (window.start(), window.end()));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn aligned_windows_are_those_that_the_formula_gives() {
    let mut runner = TestRunner::new(Config { cases: 2_000, ..Config::default() });
    let cases = (0..END_S, prop::sample::select(UNITS.to_vec()));
    let result = runner.run(&cases, |(now_s, unit)| {
        let calendar = Calendar::new(unit);
        let window = checked_window(&calendar, at_second(now_s));
        let Some((period_s, offset_s)) = calendar.aligned() else {
            prop_assert!(matches!(unit, CalendarUnit::Month | CalendarUnit::Year));
            return Ok(());
        };
        let (period_s, offset_s) =
            (i64::try_from(period_s).unwrap(), i64::try_from(offset_s).unwrap());
        let start = now_s - (now_s - offset_s).rem_euclid(period_s);
        prop_assert_eq!(window.start(), at_second(start));
        prop_assert_eq!(window.end(), at_second(start + period_s));
        prop_assert_eq!(window.next_end(), at_second(start + 2 * period_s));
        if !matches!(unit, CalendarUnit::Second | CalendarUnit::Minute | CalendarUnit::Hour) {
            // The same zone by another name, which is not known to be aligned.
            let other = Calendar::new(unit).in_zone("Etc/UTC").unwrap();
            prop_assert_eq!(other.aligned(), None);
            prop_assert_eq!(checked_window(&other, at_second(now_s)), window);
        }
        Ok(())
    });
    result.unwrap();
}

#[test]
fn days_begin_at_their_first_instant() {
    for (zone, now, start, end) in [
        // Clocks go forward at 2:00, and back at 3:00.
        ("Europe/Rome", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("Europe/Rome", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        // Forward at midnight: the day begins at 1:00.
        (
            "America/Sao_Paulo",
            "2018-11-04T12:00:00Z",
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z",
        ),
        // Back at midnight: the last hour of the day before comes twice.
        (
            "America/Sao_Paulo",
            "2018-02-17T12:00:00Z",
            "2018-02-17T02:00:00Z",
            "2018-02-18T03:00:00Z",
        ),
        // By half an hour.
        (
            "Australia/Lord_Howe",
            "2026-04-05T00:00:00Z",
            "2026-04-04T13:00:00Z",
            "2026-04-05T13:30:00Z",
        ),
        // From 5:30 to 5:45 hours before UTC at midnight: the day begins at 0:15.
        ("Asia/Kathmandu", "1986-01-01T12:00:00Z", "1985-12-31T18:30:00Z", "1986-01-01T18:15:00Z"),
        // Back at 0:01, to 23:01 of the day before: the day begins at the first midnight.
        (
            "America/St_Johns",
            "2006-10-29T02:45:00Z",
            "2006-10-29T02:30:00Z",
            "2006-10-30T03:30:00Z",
        ),
        // Forward at 23:30 of the day before: the day begins at 0:30.
        ("America/Toronto", "1919-03-31T12:00:00Z", "1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z"),
        // The 30th was left out.
        ("Pacific/Apia", "2011-12-29T12:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2011-12-30T12:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
    ] {
        let window = checked_window(&calendar(CalendarUnit::Day, zone), at(now));
        assert_eq!((window.start(), window.end()), (at(start), at(end)), "{zone} at {now}");
    }
}

#[test]
fn months_begin_on_their_anchor_or_on_their_last_day() {
    for (anchor, now, start, end, next_end) in [
        (1, "2026-02-28T23:59:59Z", "2026-02-01", "2026-03-01", "2026-04-01"),
        (15, "2026-01-03T00:00:00Z", "2025-12-15", "2026-01-15", "2026-02-15"),
        (29, "2026-02-28T00:00:00Z", "2026-02-28", "2026-03-29", "2026-04-29"),
        (29, "2028-02-28T00:00:00Z", "2028-01-29", "2028-02-29", "2028-03-29"),
        (30, "2026-02-27T00:00:00Z", "2026-01-30", "2026-02-28", "2026-03-30"),
        (30, "2028-03-01T00:00:00Z", "2028-02-29", "2028-03-30", "2028-04-30"),
        (31, "2026-04-30T00:00:00Z", "2026-04-30", "2026-05-31", "2026-06-30"),
        (31, "2026-12-31T00:00:00Z", "2026-12-31", "2027-01-31", "2027-02-28"),
        (31, "2100-02-28T12:00:00Z", "2100-02-28", "2100-03-31", "2100-04-30"),
    ] {
        let calendar = Calendar::new(CalendarUnit::Month).anchored_at(anchor).unwrap();
        let window = checked_window(&calendar, at(now));
        let midnight = |day: &str| at(&format!("{day}T00:00:00Z"));
        assert_eq!(
            (window.start(), window.end(), window.next_end()),
            (midnight(start), midnight(end), midnight(next_end)),
            "on day {anchor} at {now}"
        );
    }
}

#[test]
fn weeks_begin_on_monday_and_years_on_their_first_day() {
    // 2026-11-29 is a Sunday.
    let week =
        checked_window(&calendar(CalendarUnit::Week, "Europe/Rome"), at("2026-11-29T22:59:59Z"));
    assert_eq!(week.start(), at("2026-11-22T23:00:00Z"));
    assert_eq!(week.end(), at("2026-11-29T23:00:00Z"));
    let year =
        checked_window(&calendar(CalendarUnit::Year, "Asia/Tokyo"), at("2027-12-31T15:00:00Z"));
    assert_eq!(year.start(), at("2027-12-31T15:00:00Z"));
    assert_eq!(year.end(), at("2028-12-31T15:00:00Z"));
    assert_eq!(year.next_end(), at("2029-12-31T15:00:00Z"));
}

#[test]
fn windows_exist_however_far_away() {
    let days = [0, 1, -1, 2_000_000, -2_000_000].map(|day: i64| day * DAY_S * SECOND_US);
    for unit in UNITS {
        let rome = Calendar::new(unit).in_zone("Europe/Rome");
        for calendar in [Ok(Calendar::new(unit)), rome].into_iter().flatten() {
            for now_us in days {
                checked_window(&calendar, Timestamp::from_unix_micros(now_us));
            }
            for now_us in [i64::MIN, i64::MAX] {
                let window = calendar.window_at(Timestamp::from_unix_micros(now_us));
                assert!(window.start() < window.end() && window.end() < window.next_end());
            }
        }
    }
}

#[test]
fn what_makes_no_sense_for_a_unit_is_refused() {
    let months = Calendar::new(CalendarUnit::Month);
    for name in ["Rome", "Europe/Roma", "", "Etc/Unknown"] {
        assert_eq!(
            months.clone().in_zone(name),
            Err(CalendarError::UnknownZone { name: name.to_owned() })
        );
    }
    let rome = months.clone().in_zone("europe/ROME").unwrap();
    assert_eq!(rome.zone_name(), "Europe/Rome");
    assert_eq!(months.clone().in_zone("utc").unwrap(), months);
    assert_eq!(months.zone_name(), "UTC");
    assert_eq!(months.clone().anchored_at(0), Err(CalendarError::Anchor { day: 0 }));
    assert_eq!(months.clone().anchored_at(32), Err(CalendarError::Anchor { day: 32 }));
    assert_eq!(months.clone().anchored_at(200), Err(CalendarError::Anchor { day: 200 }));
    assert_eq!(months.anchored_at(31).unwrap().anchor(), 31);
    for unit in UNITS {
        let calendar = Calendar::new(unit);
        if unit != CalendarUnit::Month {
            assert_eq!(calendar.clone().anchored_at(1), Err(CalendarError::AnchorOfUnit { unit }));
        }
        let shorter_than_a_day =
            matches!(unit, CalendarUnit::Second | CalendarUnit::Minute | CalendarUnit::Hour);
        assert_eq!(
            calendar.in_zone("Europe/Rome").is_err(),
            shorter_than_a_day,
            "a {unit} in Rome"
        );
        assert_eq!(unit.to_string().parse(), Ok(unit));
    }
    assert_eq!(
        "fortnight".parse::<CalendarUnit>().unwrap_err().to_string(),
        "`fortnight` is not a unit of the calendar: use second, minute, hour, day, week, month or \
         year"
    );
}
