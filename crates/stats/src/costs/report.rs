//! The costs of today and of this month.

use std::{collections::BTreeMap, time::Duration};

use super::month::Month;
use crate::history::{CostSource, History, Hour, Series};

/// What the forecast takes for the past of a month that has only begun: the costs of its first hour
/// say nothing about a day.
const SHORTEST_PAST: Duration = Duration::from_secs(24 * 60 * 60);

/// What a fleet has cost in this calendar month, in micro-units.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostReport {
    /// The month.
    pub month: Month,
    /// The costs of all models and deployments, by currency.
    pub totals: BTreeMap<Box<str>, CostSums>,
    /// The costs of each model and of each kind of deployments, by currency.
    pub parts: BTreeMap<(CostSource, Box<str>, Box<str>), CostSums>,
}

/// Costs in micro-units of one currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostSums {
    /// The costs of this day.
    pub today: u64,
    /// The costs of this month so far.
    pub month: u64,
    /// The costs of the whole month if the rest costs as much per hour as the past.
    pub forecast: u64,
}

/// Adds an amount to one of the sums.
type AddTo = fn(&mut CostSums, u64);

impl CostReport {
    /// Makes the report of the month in which `history` was read.
    #[must_use]
    pub fn new(history: &History) -> Self {
        let now = Hour::at(history.now());
        let month = Month::at(history.now());
        let mut report = Self { month, totals: BTreeMap::new(), parts: BTreeMap::new() };
        let ranges: [(_, AddTo); 2] = [
            (month.first_hour()..now.next(), |sums, amount| {
                sums.month = sums.month.saturating_add(amount);
            }),
            (Hour::first_of_day(now.day())..now.next(), |sums, amount| {
                sums.today = sums.today.saturating_add(amount);
            }),
        ];
        for (hours, add) in ranges {
            for (series, amount) in history.sums(hours) {
                let Some((source, name, currency)) = Series::as_cost(series) else { continue };
                add(report.totals.entry(currency.into()).or_default(), amount);
                let key = (source, name.into(), currency.into());
                add(report.parts.entry(key).or_default(), amount);
            }
        }
        for sums in report.totals.values_mut().chain(report.parts.values_mut()) {
            sums.forecast = forecast(sums.month, month, history);
        }
        report
    }
}

/// What the month will cost: the costs so far, and the mean of them per hour for the rest.
fn forecast(so_far: u64, month: Month, history: &History) -> u64 {
    let us = |hour: Hour| i64::try_from(hour.number()).unwrap_or(0).saturating_mul(3_600_000_000);
    let (start, end) = (us(month.first_hour()), us(month.next().first_hour()));
    let now = history.now().unix_micros();
    // Where costs are reported since some day of this month, the days before say nothing.
    let first = history.first_hour(|series| series.as_cost().is_some());
    let start = first.map_or(start, |first| us(first).max(start));
    let past =
        u128::try_from(now.saturating_sub(start)).unwrap_or(0).max(SHORTEST_PAST.as_micros());
    let rest = u128::try_from(end.saturating_sub(now)).unwrap_or(0);
    let rest = (u128::from(so_far) * rest).div_ceil(past);
    u64::try_from(rest).map_or(u64::MAX, |rest| so_far.saturating_add(rest))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_core::Timestamp;

    use super::*;
    use crate::history::DaySums;

    /// 2026-11-01 00:00 UTC.
    const NOVEMBER: u64 = 1_793_491_200 / 3_600;
    const DAY: u64 = 24;

    fn hour(number: u64) -> Timestamp {
        Timestamp::from_unix_micros(i64::try_from(number).unwrap() * 3_600_000_000)
    }

    fn history(now: u64, amounts: &[(u64, &Series, u64)]) -> History {
        let mut days: BTreeMap<u64, DaySums> = BTreeMap::new();
        for (hour, series, amount) in amounts {
            let hour = Hour::from_number(*hour);
            days.entry(hour.day()).or_default().add(series, hour, *amount);
        }
        let days = days.into_iter().map(|(day, sums)| (day, Arc::new(sums))).collect();
        History::new(hour(now), None, days)
    }

    fn sums(today: u64, month: u64, forecast: u64) -> CostSums {
        CostSums { today, month, forecast }
    }

    #[test]
    fn the_month_so_far_is_carried_on() {
        let qwen = Series::cost(CostSource::Llm, "qwen", "USD");
        let small = Series::cost(CostSource::Deployment, "small", "USD");
        let euros = Series::cost(CostSource::Llm, "qwen", "EUR");
        let now = NOVEMBER + 10 * DAY;
        let history = history(
            now,
            &[
                (NOVEMBER - 1, &qwen, 1_000_000),
                (NOVEMBER, &qwen, 10),
                (now, &qwen, 5),
                (now, &small, 100),
                (now - 1, &euros, 7),
                (now, &Series::slo("checkout", "USD"), 1_000),
            ],
        );
        let report = CostReport::new(&history);
        assert_eq!(report.month.to_string(), "2026-11");
        // A third of the month has passed.
        assert_eq!(
            report.totals,
            [("EUR".into(), sums(0, 7, 21)), ("USD".into(), sums(105, 115, 345))].into()
        );
        let part = |source, name: &str, currency: &str| {
            report.parts[&(source, name.into(), currency.into())]
        };
        assert_eq!(part(CostSource::Llm, "qwen", "USD"), sums(5, 15, 45));
        assert_eq!(part(CostSource::Deployment, "small", "USD"), sums(100, 100, 300));
        assert_eq!(report.parts.len(), 3);
    }

    #[test]
    fn the_first_hour_of_a_month_is_not_taken_for_all() {
        let qwen = Series::cost(CostSource::Llm, "qwen", "USD");
        let first = history(NOVEMBER, &[(NOVEMBER, &qwen, 30)]);
        assert_eq!(CostReport::new(&first).totals["USD"], sums(30, 30, 930));
        let started_late = NOVEMBER + 20 * DAY;
        let late = history(started_late + 5 * DAY, &[(started_late, &qwen, 50)]);
        assert_eq!(CostReport::new(&late).totals["USD"], sums(0, 50, 100));
    }

    #[test]
    fn nothing_costs_nothing_and_much_does_not_overflow() {
        assert!(CostReport::new(&history(NOVEMBER, &[])).totals.is_empty());
        let qwen = Series::cost(CostSource::Llm, "qwen", "USD");
        let much = history(NOVEMBER, &[(NOVEMBER, &qwen, u64::MAX)]);
        assert_eq!(CostReport::new(&much).totals["USD"].forecast, u64::MAX);
    }
}
