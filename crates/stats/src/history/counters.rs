//! What this process has added to its series and not yet flushed.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use sluice_telemetry::Recorders;

use super::series::Series;
use crate::sharded::Sharded;

/// Series of one process. The amounts of further ones are added to the folded series.
const MAX_SERIES: usize = 500;
/// Folded series of one process: one for each kind and currency.
const MAX_FOLDED: usize = 100;
/// How long amounts are added to the same period while the store is away.
const PERIOD: Duration = Duration::from_secs(300);
/// Sums that are kept while the store is away. When there are more, amounts are added to the newest
/// period, so that none is lost.
const MAX_SUMS: usize = 20_000;

/// What a replica has added to its series in a short time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPeriod {
    /// When the amounts were counted.
    pub at: Instant,
    /// The amounts.
    pub sums: BTreeMap<Series, u64>,
}

/// Adds to one series.
#[derive(Debug)]
pub struct SeriesCounter {
    sum: Sharded<1>,
}

/// The counters of all series.
#[derive(Debug, Default)]
pub(crate) struct HistoryCounters {
    series: RwLock<HashMap<Series, Arc<SeriesCounter>>>,
    /// Oldest first.
    periods: Mutex<Vec<HistoryPeriod>>,
}

impl HistoryPeriod {
    /// Makes a period from amounts that were counted at `at`.
    #[must_use]
    pub const fn new(at: Instant, sums: BTreeMap<Series, u64>) -> Self {
        Self { at, sums }
    }
}

impl SeriesCounter {
    /// Adds `amount` in the current hour.
    pub fn add(&self, amount: u64) {
        if amount > 0 {
            self.sum.add(0, amount);
        }
    }

    fn take(&self) -> u64 {
        let [sum] = self.sum.take();
        sum
    }
}

impl HistoryCounters {
    /// The counter of `series`, or of a folded one when there are too many.
    pub(crate) fn series(&self, series: &Series, recorders: &Recorders) -> Arc<SeriesCounter> {
        if let Some(known) = self.series.read().get(series) {
            return Arc::clone(known);
        }
        let mut all = self.series.write();
        let mut place = series.clone();
        if all.len() >= MAX_SERIES && !all.contains_key(series) {
            recorders.history.folded();
            place = series.folded();
            if all.len() >= MAX_SERIES + MAX_FOLDED && !all.contains_key(&place) {
                place = Series::last_resort();
            }
        }
        let counter =
            all.entry(place).or_insert_with(|| Arc::new(SeriesCounter { sum: Sharded::new() }));
        Arc::clone(counter)
    }

    /// Notes that what was counted since the last call was counted `now`.
    pub(crate) fn tick(&self, now: Instant) {
        let series = self.series.read();
        let counted = series.iter().map(|(series, counter)| (series, counter.take()));
        let counted: Vec<_> = counted.filter(|(_, amount)| *amount > 0).collect();
        if counted.is_empty() {
            return;
        }
        let mut periods = self.periods.lock();
        let kept: usize = periods.iter().map(|period| period.sums.len()).sum();
        let continues = |last: &HistoryPeriod| {
            now.saturating_duration_since(last.at) < PERIOD || kept >= MAX_SUMS
        };
        if !periods.last().is_some_and(continues) {
            periods.push(HistoryPeriod::new(now, BTreeMap::new()));
        }
        let Some(period) = periods.last_mut() else { return };
        for (series, amount) in counted {
            let sum = period.sums.entry(series.clone()).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// Returns what was noted since the last call.
    pub(crate) fn take(&self) -> Vec<HistoryPeriod> {
        mem::take(&mut *self.periods.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(periods: &[HistoryPeriod]) -> u64 {
        periods.iter().flat_map(|period| period.sums.values()).sum()
    }

    #[test]
    fn amounts_are_kept_with_the_time_when_they_were_counted() {
        let (counters, recorders) = (HistoryCounters::default(), Recorders::disabled());
        let good = counters.series(&Series::slo("a", "good"), &recorders);
        let start = Instant::now();
        for second in 0..900 {
            good.add(1);
            counters.tick(start + Duration::from_secs(second));
            counters.tick(start + Duration::from_secs(second));
        }
        let periods = counters.take();
        let spans = periods.iter().map(|period| (period.at - start).as_secs());
        let shown: Vec<_> = spans.zip(periods.chunks(1).map(sum)).collect();
        assert_eq!(shown, [(0, 300), (300, 300), (600, 300)]);
        assert!(counters.take().is_empty());
    }

    #[test]
    fn too_many_series_are_folded_and_counted_and_nothing_is_lost() {
        let telemetry = sluice_telemetry::Telemetry::builder().build().unwrap();
        let counters = HistoryCounters::default();
        let series = |number: u64| Series::slo(&format!("objective-{number}"), "good");
        for number in (0..2_000).chain(0..10) {
            counters.series(&series(number), telemetry.recorders()).add(1);
        }
        counters.tick(Instant::now());
        let periods = counters.take();
        assert_eq!((sum(&periods), periods[0].sums.len()), (2_010, 501));
        assert_eq!(periods[0].sums[&Series::slo("other", "good")], 1_500);
        let text = telemetry.prometheus().render().unwrap();
        assert!(text.contains("\nsluice_history_folded_total 1500\n"), "{text}");
        // Even the folded ones are bounded.
        for number in 0..1_000 {
            let part = format!("part-{number}");
            counters.series(&Series::slo("new", &part), telemetry.recorders()).add(1);
        }
        counters.tick(Instant::now());
        let periods = counters.take();
        assert_eq!(sum(&periods), 1_000);
        assert!(periods[0].sums.len() <= MAX_FOLDED + 1, "{}", periods[0].sums.len());
    }

    #[test]
    fn a_long_outage_is_bounded_and_loses_nothing() {
        let (counters, recorders) = (HistoryCounters::default(), Recorders::disabled());
        let series = |number: u64| Series::slo(&format!("objective-{number}"), "good");
        let start = Instant::now();
        for period in 0..100_u32 {
            for number in 0..400 {
                counters.series(&series(number), &recorders).add(1);
            }
            counters.tick(start + PERIOD * period);
        }
        let periods = counters.take();
        assert_eq!((sum(&periods), periods.len()), (40_000, 50));
    }
}
