//! One service level objective.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use sluice_core::PathPattern;

use crate::objective::Objective;

/// The most objectives that a configuration may have: each is counted, and kept by the hour.
pub const MAX_SLOS: usize = 50;
/// The windows that an objective may have, in days. In a shorter one, every alert would be about
/// most of it; sums by the hour are kept for a little longer than the longest.
pub const WINDOW_DAYS: RangeInclusive<u32> = 7..=30;

/// Which share of the requests to an endpoint must be good, over a window of days.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Slo {
    /// Its name.
    pub name: SloName,
    /// The endpoints: each request counts whose metric label `endpoint` this pattern matches.
    pub endpoint: PathPattern,
    /// The share of requests that must be good.
    pub objective: Objective,
    /// The window, in days: in [`WINDOW_DAYS`].
    pub window_days: u32,
    /// When a request is good.
    pub indicator: Indicator,
}

/// When a request is good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Indicator {
    /// When its response has no 5xx status.
    Availability,
    /// When its response took at most this many seconds, whatever its status: one of the
    /// histogram's boundaries.
    Latency(f64),
}

/// The name of an objective: 1 to 40 lower-case letters, digits, `-` and `_`, the first a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SloName(Box<str>);

/// The reason why a text is no name of an objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a name: write 1 to 40 lower-case letters, digits, `-` and `_`, the first a \
     letter, as in `api`"
)]
pub struct SloNameError(String);

/// The reason why a time cannot be the bound of a good request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{given}s is not a boundary of the histogram http_request_duration_seconds, so slower requests \
     cannot be counted: write {}",
    nearest(*.below, *.above)
)]
pub struct LatencyError {
    /// The time, in seconds.
    pub given: f64,
    /// The nearest boundary below, in seconds.
    pub below: Option<f64>,
    /// The nearest boundary above, in seconds.
    pub above: Option<f64>,
}

fn nearest(below: Option<f64>, above: Option<f64>) -> String {
    let time = |seconds: f64| {
        if seconds < 1.0 {
            format!("`{}ms`", (seconds * 1_000_000.0).round() / 1_000.0)
        } else {
            format!("`{seconds}s`")
        }
    };
    let known: Vec<_> = [below, above].into_iter().flatten().map(time).collect();
    known.join(" or ")
}

impl Slo {
    /// Makes an objective of the availability of `endpoint`.
    #[must_use]
    pub fn new(
        name: SloName,
        endpoint: &PathPattern,
        objective: Objective,
        window_days: u32,
    ) -> Self {
        let endpoint = endpoint.of_labels();
        Self { name, endpoint, objective, window_days, indicator: Indicator::Availability }
    }

    /// Sets when a request is good.
    #[must_use]
    pub fn with_indicator(self, indicator: Indicator) -> Self {
        Self { indicator, ..self }
    }

    /// Returns whether the requests of this metric label count. Those of `other` never do.
    #[must_use]
    pub fn covers(&self, endpoint: &str) -> bool {
        endpoint.starts_with('/') && self.endpoint.matches(endpoint)
    }
}

impl Indicator {
    /// Returns the indicator of requests that took at most `most`, which must be one of
    /// `boundaries`: seconds in ascending order.
    ///
    /// # Errors
    /// With the two nearest boundaries, if it is none.
    pub fn latency(most: Duration, boundaries: &[f64]) -> Result<Self, LatencyError> {
        let given = most.as_secs_f64();
        // Boundaries are written with at most four decimals.
        let same = |boundary: &&f64| (**boundary - given).abs() < 1e-7;
        match boundaries.iter().find(same) {
            Some(boundary) => Ok(Self::Latency(*boundary)),
            None => Err(LatencyError {
                given,
                below: boundaries.iter().rfind(|boundary| **boundary < given).copied(),
                above: boundaries.iter().find(|boundary| **boundary > given).copied(),
            }),
        }
    }

    /// Returns whether a request with this status, which took `duration`, is good.
    #[must_use]
    pub fn is_good(self, status: u16, duration: Duration) -> bool {
        match self {
            Self::Availability => !(500..600).contains(&status),
            Self::Latency(most) => duration.as_secs_f64() <= most,
        }
    }
}

impl SloName {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SloName {
    type Err = SloNameError;

    fn from_str(text: &str) -> Result<Self, SloNameError> {
        let is_known =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        let begins_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if begins_well && text.len() <= 40 && text.bytes().all(is_known) {
            Ok(Self(text.into()))
        } else {
            Err(SloNameError(text.chars().take(64).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDARIES: &[f64] = &[0.0005, 0.001, 0.25, 0.5, 1.0, 2.5];

    #[test]
    fn a_latency_is_a_boundary_or_names_the_nearest() {
        let latency = |micros| Indicator::latency(Duration::from_micros(micros), BOUNDARIES);
        assert_eq!(latency(500_000), Ok(Indicator::Latency(0.5)));
        assert_eq!(latency(500), Ok(Indicator::Latency(0.0005)));
        for (micros, expected) in [
            (300_000, "write `250ms` or `500ms`"),
            (1_500_000, "write `1s` or `2.5s`"),
            (100, "write `0.5ms`"),
            (9_000_000, "write `2.5s`"),
        ] {
            let error = latency(micros).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn a_request_is_good_by_status_or_by_time() {
        let (quick, slow) = (Duration::from_millis(500), Duration::from_millis(501));
        let good = |indicator: Indicator, status, took| indicator.is_good(status, took);
        for status in [200, 302, 404, 429, 499] {
            assert!(good(Indicator::Availability, status, slow), "{status}");
        }
        for status in [500, 503, 599] {
            assert!(!good(Indicator::Availability, status, quick), "{status}");
        }
        assert!(good(Indicator::Latency(0.5), 503, quick));
        assert!(!good(Indicator::Latency(0.5), 200, slow));
    }

    #[test]
    fn an_objective_covers_labels_as_metrics_write_them() {
        let covers = |endpoint: &str, label: &str| {
            let name = "api".parse().unwrap();
            let endpoint = PathPattern::parse(endpoint).unwrap();
            Slo::new(name, &endpoint, "99".parse().unwrap(), 7).covers(label)
        };
        for endpoint in ["/büro/**", "/b%C3%BCro/*"] {
            assert!(covers(endpoint, "/b%C3%BCro/a"), "{endpoint}");
        }
        assert!(covers("/a \"b\"", "/a%20%22b%22"));
        assert!(covers("/{id}", "/:id"));
        assert!(!covers("/**", "other"));
    }

    #[test]
    fn names_can_be_labels_and_parts_of_keys() {
        for name in ["api", "a", "fast-1", "v1_reads"] {
            assert_eq!(name.parse::<SloName>().unwrap().as_str(), name);
        }
        for name in ["", "API", "1st", "a b", "a\"b", "-a", &"a".repeat(41)] {
            assert!(name.parse::<SloName>().is_err(), "{name}");
        }
    }
}
