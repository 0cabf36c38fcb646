//! The share of requests that must be good.

use std::{fmt, str::FromStr};

/// The share of requests that must be good, such as 99.9 %.
///
/// It is kept as the share that may fail, in millionths: exact, so that thresholds of alerts do not
/// show the error of a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objective {
    /// More than 0 and less than 1,000,000.
    budget_ppm: u32,
}

/// The reason why a text is no objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// The text is no number of percent with at most four decimals.
    #[error("`{0}` is not a share: write percent with at most four decimals, as in `99.9`")]
    NotPercent(String),
    /// Nothing may fail.
    #[error("an objective of 100 % leaves no request that may fail: write less, such as `99.99`")]
    Everything,
    /// The share is above 100 % or is 0.
    #[error("`{0}` is not between 0 and 100: write the percent of good requests, as in `99.9`")]
    OutOfRange(String),
}

impl Objective {
    const ALL_PPM: u32 = 1_000_000;

    /// Returns the share of requests that may fail, in millionths: more than 0, less than a
    /// million.
    #[must_use]
    pub const fn budget_ppm(self) -> u32 {
        self.budget_ppm
    }

    /// Returns the share of requests that must be good, from 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(Self::ALL_PPM - self.budget_ppm) / f64::from(Self::ALL_PPM)
    }

    /// Returns the percent of requests that must be good.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(Self::ALL_PPM - self.budget_ppm) / 10_000.0
    }

    /// Returns how many of `total` requests may fail.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn budget_of(self, total: u64) -> f64 {
        total as f64 * f64::from(self.budget_ppm) / f64::from(Self::ALL_PPM)
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    /// Parses percent, such as `99.9`, with an optional `%`.
    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let not_percent = || ObjectiveError::NotPercent(text.to_owned());
        let digits = text.strip_suffix('%').map_or(text, str::trim_end);
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !are_digits(whole) || !are_digits(decimals) || decimals.len() > 4 {
            return Err(if digits.starts_with('-') {
                ObjectiveError::OutOfRange(text.to_owned())
            } else {
                not_percent()
            });
        }
        // A percent is 10,000 millionths.
        let whole: u32 = whole.parse().map_err(|_| ObjectiveError::OutOfRange(text.to_owned()))?;
        let decimals: u32 = format!("{decimals:0<4}").parse().map_err(|_| not_percent())?;
        match whole.checked_mul(10_000).and_then(|ppm| ppm.checked_add(decimals)) {
            Some(Self::ALL_PPM) => Err(ObjectiveError::Everything),
            Some(ppm @ 1..Self::ALL_PPM) => Ok(Self { budget_ppm: Self::ALL_PPM - ppm }),
            _ => Err(ObjectiveError::OutOfRange(text.to_owned())),
        }
    }
}

/// Writes percent without the sign: `99.9`.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ppm = Self::ALL_PPM - self.budget_ppm;
        let (whole, decimals) = (ppm / 10_000, ppm % 10_000);
        if decimals == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{decimals:04}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_with_up_to_four_decimals_is_an_objective() {
        for (text, ppm, shown) in [
            ("99.9", 1_000, "99.9"),
            ("99.9%", 1_000, "99.9"),
            ("99.9 %", 1_000, "99.9"),
            ("99", 10_000, "99"),
            ("99.50", 5_000, "99.5"),
            ("99.9999", 1, "99.9999"),
            ("0.0001", 999_999, "0.0001"),
        ] {
            let objective: Objective = text.parse().unwrap();
            assert_eq!((objective.budget_ppm(), &*objective.to_string()), (ppm, shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_objective_says_what_would_be() {
        for (text, expected) in [
            ("100", "an objective of 100 % leaves no request that may fail"),
            ("100.0000", "an objective of 100 % leaves no request that may fail"),
            ("0", "`0` is not between 0 and 100"),
            ("100.1", "`100.1` is not between 0 and 100"),
            ("99999999999", "`99999999999` is not between 0 and 100"),
            ("-1", "`-1` is not between 0 and 100"),
            ("99.99999", "`99.99999` is not a share"),
            ("high", "`high` is not a share"),
            ("NaN", "`NaN` is not a share"),
            (".9", "`.9` is not a share"),
            ("", "`` is not a share"),
        ] {
            let error = text.parse::<Objective>().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn the_budget_is_a_share_of_the_requests() {
        let objective: Objective = "99.9".parse().unwrap();
        assert!((objective.budget_of(10_000) - 10.0).abs() < 1e-9);
        assert!((objective.ratio() - 0.999).abs() < 1e-12);
    }
}
