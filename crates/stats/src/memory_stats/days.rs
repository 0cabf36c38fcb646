//! Hourly sums.

use std::{collections::BTreeMap, sync::Arc};

use sluice_core::Timestamp;

use crate::{
    bounds::{MAX_FOLDED_SUMS_PER_DAY, MAX_SUMS_PER_DAY},
    convert::store_time,
    history::{DaySums, HISTORY_DAYS, HistoryPeriod, Hour, Series},
};

/// The hourly sums of the last days, by the number of the day.
#[derive(Debug, Default)]
pub(super) struct Days(BTreeMap<u64, Arc<DaySums>>);

impl Days {
    /// Adds what a replica has counted.
    pub(super) fn add(&mut self, periods: &[HistoryPeriod], now: Timestamp) {
        let today = Hour::at(now).day();
        self.0.retain(|day, _| *day + HISTORY_DAYS >= today);
        for period in periods {
            let hour = Hour::for_amount(store_time(now, period.at), now);
            for (series, amount) in &period.sums {
                self.add_to(hour, series, *amount);
            }
        }
    }

    /// Adds to the sum of a series in an hour.
    pub(super) fn add_to(&mut self, hour: Hour, series: &Series, amount: u64) {
        // A day is copied only while a reader holds it.
        let day = Arc::make_mut(self.0.entry(hour.day()).or_default());
        let has_room = |max, series: &Series| day.len() < max || day.has(series, hour);
        let folded = series.folded();
        if has_room(MAX_SUMS_PER_DAY, series) {
            day.add(series, hour, amount);
        } else if has_room(MAX_FOLDED_SUMS_PER_DAY, &folded) {
            day.add(&folded, hour, amount);
        }
    }

    /// The days that are shown when it is `now`.
    pub(super) fn last(&self, now: Timestamp) -> BTreeMap<u64, Arc<DaySums>> {
        let today = Hour::at(now).day();
        let days = self.0.range(today.saturating_sub(HISTORY_DAYS)..=today);
        days.map(|(day, sums)| (*day, Arc::clone(sums))).collect()
    }
}
