//! Hourly sums as they are kept and read.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    sync::Arc,
};

use sluice_core::Timestamp;

use super::{hour::Hour, series::Series};

/// The hourly sums of a fleet over the last days, as a store has them. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    now: Timestamp,
    since: Option<Timestamp>,
    /// By the number of the day.
    days: BTreeMap<u64, Arc<DaySums>>,
}

/// The sums of a day, by the hour.
type ByHour = [u64; 24];

/// The hourly sums of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaySums {
    series: HashMap<Series, ByHour>,
    /// How many sums are not zero.
    sums: usize,
}

impl History {
    pub(crate) const fn new(
        now: Timestamp,
        since: Option<Timestamp>,
        days: BTreeMap<u64, Arc<DaySums>>,
    ) -> Self {
        Self { now, since, days }
    }

    /// Returns when the sums were read, by the store's clock.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns when the first replica of the fleet flushed; `None` if none has yet.
    #[must_use]
    pub const fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Returns what was added to `series` in these hours, which saturates.
    #[must_use]
    pub fn sum(&self, series: &Series, hours: Range<Hour>) -> u64 {
        let days = self.days_of(&hours).filter_map(|(day, sums)| Some((day, sums.get(series)?)));
        days.map(|(day, sums)| part(day, sums, &hours)).fold(0, u64::saturating_add)
    }

    /// Returns what was added in these hours to each series, without those to which nothing was.
    #[must_use]
    pub fn sums(&self, hours: Range<Hour>) -> BTreeMap<&Series, u64> {
        let mut sums = BTreeMap::new();
        for (day, of_day) in self.days_of(&hours) {
            for (series, by_hour) in &of_day.series {
                let more = part(day, by_hour, &hours);
                if more > 0 {
                    let sum: &mut u64 = sums.entry(series).or_default();
                    *sum = sum.saturating_add(more);
                }
            }
        }
        sums
    }

    /// Returns what was added to `series` in each hour, oldest first, without hours in which
    /// nothing was.
    pub fn by_hour<'a>(&'a self, series: &'a Series) -> impl Iterator<Item = (Hour, u64)> + 'a {
        self.days.iter().filter_map(move |(day, sums)| Some((day, sums.get(series)?))).flat_map(
            |(day, sums)| {
                (Hour::first_of_day(*day).number()..)
                    .map(Hour::from_number)
                    .zip(sums.iter().copied())
                    .filter(|(_, sum)| *sum > 0)
            },
        )
    }

    /// Returns the first hour in which something was added to a series that `is_wanted`.
    #[must_use]
    pub fn first_hour(&self, is_wanted: impl Fn(&Series) -> bool) -> Option<Hour> {
        let first_of_day = |(day, sums): (&u64, &Arc<DaySums>)| {
            let wanted = sums.series.iter().filter(|(series, _)| is_wanted(series));
            let firsts = wanted.filter_map(|(_, by_hour)| by_hour.iter().position(|sum| *sum > 0));
            let first = u64::try_from(firsts.min()?).ok()?;
            Some(Hour::from_number(Hour::first_of_day(*day).number() + first))
        };
        self.days.iter().find_map(first_of_day)
    }

    fn days_of(&self, hours: &Range<Hour>) -> impl Iterator<Item = (u64, &DaySums)> {
        let days = hours.start.day()..hours.end.next().day().saturating_add(1);
        self.days.range(days).map(|(day, sums)| (*day, &**sums))
    }
}

/// The sum of those hours of a day that are in `hours`.
fn part(day: u64, sums: &ByHour, hours: &Range<Hour>) -> u64 {
    let numbers = Hour::first_of_day(day).number()..;
    let of_hour = numbers.zip(sums).filter(|(hour, _)| hours.contains(&Hour::from_number(*hour)));
    of_hour.map(|(_, sum)| *sum).fold(0, u64::saturating_add)
}

impl DaySums {
    /// Adds to the sum of `series` in this hour of the day.
    pub(crate) fn add(&mut self, series: &Series, hour: Hour, amount: u64) {
        if amount == 0 {
            return;
        }
        let sums = match self.series.get_mut(series) {
            Some(sums) => sums,
            None => self.series.entry(series.clone()).or_default(),
        };
        let sum = &mut sums[hour.of_day()];
        self.sums += usize::from(*sum == 0);
        *sum = sum.saturating_add(amount);
    }

    /// Whether something was added to `series` in this hour of the day.
    pub(crate) fn has(&self, series: &Series, hour: Hour) -> bool {
        self.get(series).is_some_and(|sums| sums[hour.of_day()] > 0)
    }

    /// How many sums are not zero.
    pub(crate) const fn len(&self) -> usize {
        self.sums
    }

    fn get(&self, series: &Series) -> Option<&ByHour> {
        self.series.get(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_the_hours_that_are_asked_for() {
        let [a, b] = ["a", "b"].map(|name| Series::slo(name, "good"));
        let mut days: BTreeMap<u64, DaySums> = BTreeMap::new();
        for (series, hour, amount) in [(&a, 47, 1), (&a, 48, 10), (&a, 49, 100), (&b, 49, 7)] {
            let hour = Hour::from_number(hour);
            days.entry(hour.day()).or_default().add(series, hour, amount);
        }
        let days = days.into_iter().map(|(day, sums)| (day, Arc::new(sums))).collect();
        let history = History::new(Timestamp::from_unix_micros(0), None, days);
        let range = |from, to| Hour::from_number(from)..Hour::from_number(to);
        assert_eq!(history.sum(&a, range(0, 100)), 111);
        assert_eq!(history.sum(&a, range(47, 48)), 1);
        assert_eq!(history.sum(&a, range(48, 49)), 10);
        assert_eq!(history.sum(&a, range(48, 48)), 0);
        assert_eq!(history.sums(range(49, 60)), [(&a, 100), (&b, 7)].into());
        let first = |name| history.first_hour(|series| series.as_slo() == Some((name, "good")));
        assert_eq!((first("a"), first("c")), (Some(Hour::from_number(47)), None));
        assert_eq!(first("b"), Some(Hour::from_number(49)));
        let by_hour: Vec<_> = history.by_hour(&a).map(|(hour, sum)| (hour.number(), sum)).collect();
        assert_eq!(by_hour, [(47, 1), (48, 10), (49, 100)]);
    }

    #[test]
    fn a_sum_does_not_overflow() {
        let (series, hour) = (Series::slo("a", "good"), Hour::from_number(5));
        let mut day = DaySums::default();
        day.add(&series, hour, u64::MAX);
        day.add(&series, hour, 1);
        day.add(&series, hour.next(), 1);
        day.add(&series, hour.next().next(), 0);
        assert_eq!((day.len(), day.has(&series, hour)), (2, true));
        let history =
            History::new(Timestamp::from_unix_micros(0), None, [(0, Arc::new(day))].into());
        assert_eq!(history.sum(&series, Hour::from_number(0)..Hour::from_number(24)), u64::MAX);
    }
}
