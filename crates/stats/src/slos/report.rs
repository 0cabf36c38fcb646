//! How a fleet meets its objectives, by the hourly sums.

use std::ops::Range;

use sluice_core::Timestamp;
use sluice_slo::Slo;

use super::counters::{FAILED, TOTAL};
use crate::history::{History, Hour, Series};

const HOURS_A_DAY: u64 = 24;

/// How a fleet meets its objectives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SloReport {
    /// The objectives, in the order of the configuration.
    pub slos: Vec<SloStatus>,
    /// When the first replica of the fleet flushed: before that, nothing was counted.
    pub since: Option<Timestamp>,
}

/// How one objective is met.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SloStatus {
    /// The objective.
    pub slo: Slo,
    /// The requests in the window: so many days back, to the hour.
    pub requests: u64,
    /// Those that were not good.
    pub failed: u64,
    /// The requests of this hour and the 23 before.
    pub requests_last_day: u64,
    /// Those that were not good.
    pub failed_last_day: u64,
}

impl SloReport {
    /// Makes the report of the time at which `history` was read.
    #[must_use]
    pub fn new(slos: &[Slo], history: &History) -> Self {
        let slos = slos.iter().map(|slo| SloStatus::new(slo.clone(), history)).collect();
        Self { slos, since: history.since() }
    }
}

impl SloStatus {
    fn new(slo: Slo, history: &History) -> Self {
        let end = Hour::at(history.now()).next();
        let days = |days: u64| -> Range<Hour> {
            Hour::from_number(end.number().saturating_sub(days * HOURS_A_DAY))..end
        };
        let sum = |part, hours| history.sum(&Series::slo(slo.name.as_str(), part), hours);
        let window = || days(slo.window_days.into());
        Self {
            requests: sum(TOTAL, window()),
            failed: sum(FAILED, window()),
            requests_last_day: sum(TOTAL, days(1)),
            failed_last_day: sum(FAILED, days(1)),
            slo,
        }
    }

    /// Returns the share of good requests in the window; `None` if there was no request.
    #[must_use]
    pub fn good_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| 1.0 - ratio(self.failed, self.requests))
    }

    /// Returns the share of the error budget that is left: 1 if no request failed, 0 if as many
    /// failed as may, less if more did; `None` if there was no request.
    #[must_use]
    pub fn budget_left(&self) -> Option<f64> {
        (self.requests > 0).then(|| 1.0 - self.failed_per_budget(self.failed, self.requests))
    }

    /// Returns how many times faster than allowed the budget burned in the last day; `None` if
    /// there was no request in it.
    #[must_use]
    pub fn burn_rate_last_day(&self) -> Option<f64> {
        let (failed, requests) = (self.failed_last_day, self.requests_last_day);
        (requests > 0).then(|| self.failed_per_budget(failed, requests))
    }

    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    fn failed_per_budget(&self, failed: u64, requests: u64) -> f64 {
        failed as f64 / self.slo.objective.budget_of(requests)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
