//! How fast an error budget burns, and when that is too fast.

use crate::objective::Objective;

/// Hours over which rates are computed; the longest is three days.
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// An alert: it fires when any of its burns is too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The name in Prometheus.
    pub name: &'static str,
    /// How urgent it is.
    pub severity: Severity,
    /// What makes it fire.
    pub burns: [Burn; 2],
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody is woken up.
    Critical,
    /// Somebody looks at it on the next day.
    Warning,
}

/// A share of the budget that burns within a long window, and still does in a short one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burn {
    /// The percent of the whole budget that burns within the long window.
    percent: u32,
    /// The hours of the long window.
    hours: u32,
    /// The long window, as Prometheus writes it.
    pub long: &'static str,
    /// The short window, a twelfth of the long one.
    pub short: &'static str,
}

/// The alerts, as the workbook recommends them: 2 % of the budget in an hour or 5 % in six hours
/// wake somebody up, 10 % in a day or in three days are looked at.
pub(crate) const ALERTS: [Alert; 2] = [
    Alert {
        name: "SloBudgetBurnsFast",
        severity: Severity::Critical,
        burns: [Burn::new(2, 1, "1h", "5m"), Burn::new(5, 6, "6h", "30m")],
    },
    Alert {
        name: "SloBudgetBurnsSlowly",
        severity: Severity::Warning,
        burns: [Burn::new(10, 24, "1d", "2h"), Burn::new(10, 72, "3d", "6h")],
    },
];

impl Alert {
    /// Returns every alert.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        &ALERTS
    }
}

impl Severity {
    /// Returns the value of the label `severity`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

impl Burn {
    const fn new(percent: u32, hours: u32, long: &'static str, short: &'static str) -> Self {
        Self { percent, hours, long, short }
    }

    /// Returns how many times faster than allowed the budget of a window of `days` burns here, in
    /// tenths; at least 10, which is just as fast as allowed. `None` if the long window is more
    /// than a seventh of the whole one.
    #[must_use]
    pub fn tenfold_factor(self, days: u32) -> Option<u32> {
        let hours = days * 24;
        let factor = self.percent * hours / (10 * self.hours);
        (self.hours * 7 <= hours).then_some(factor.max(10))
    }

    /// Returns the long window in seconds.
    #[must_use]
    pub const fn long_seconds(self) -> u32 {
        self.hours * 3_600
    }

    /// Returns the share of failures from which on the burn is too fast, as text without the error
    /// of a fraction. `None` as for [`tenfold_factor`](Self::tenfold_factor), and if that share is
    /// all requests or more, since a low objective cannot burn so fast.
    #[must_use]
    pub fn threshold(self, objective: Objective, days: u32) -> Option<String> {
        let ten_millionths = objective.budget_ppm() * self.tenfold_factor(days)?;
        let digits = format!("{ten_millionths:07}");
        (digits.len() == 7).then(|| format!("0.{}", digits.trim_end_matches('0')))
    }
}

/// Returns the windows over which rates are recorded, the shortest first.
pub(crate) const fn windows() -> [&'static str; WINDOWS.len()] {
    WINDOWS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(days: u32) -> Vec<Option<u32>> {
        ALERTS.iter().flat_map(|alert| alert.burns).map(|burn| burn.tenfold_factor(days)).collect()
    }

    #[test]
    fn thirty_days_burn_at_the_factors_of_the_workbook() {
        assert_eq!(factors(30), [Some(144), Some(60), Some(30), Some(10)]);
    }

    #[test]
    fn no_burn_of_a_shorter_window_is_slower_than_allowed() {
        assert_eq!(factors(28), [Some(134), Some(56), Some(28), Some(10)]);
        assert_eq!(factors(7), [Some(33), Some(14), Some(10), None]);
    }

    #[test]
    fn a_threshold_is_exact() {
        let burns = ALERTS.map(|alert| alert.burns).concat();
        let objective = "99.9".parse().unwrap();
        let thresholds: Vec<_> =
            burns.iter().map(|burn| burn.threshold(objective, 30).unwrap()).collect();
        assert_eq!(thresholds, ["0.0144", "0.006", "0.003", "0.001"]);
        assert_eq!(burns[0].threshold("50".parse().unwrap(), 30), None);
        assert_eq!(burns[2].threshold("80".parse().unwrap(), 30).unwrap(), "0.6");
    }

    #[test]
    fn every_window_of_a_burn_is_recorded() {
        for burn in ALERTS.iter().flat_map(|alert| alert.burns) {
            assert!(windows().contains(&burn.long) && windows().contains(&burn.short), "{burn:?}");
        }
    }
}
