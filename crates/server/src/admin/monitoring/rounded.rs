//! Means and shares in a form that people and programs can read.

use serde::{Serialize, Serializer};

/// A number with up to three decimals. An integer is written without a fraction, for clients that
/// expect integers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rounded(f64);

impl Rounded {
    pub(super) fn new(number: f64) -> Self {
        Self((number * 1_000.0).round() / 1_000.0)
    }

    /// The share or mean `sum / count`; 0 if `count` is 0.
    #[expect(clippy::cast_precision_loss, reason = "three decimals need less precision")]
    pub(super) fn ratio(sum: u64, count: u64) -> Self {
        if count == 0 { Self(0.0) } else { Self::new(sum as f64 / count as f64) }
    }

    /// The mean in milliseconds of durations with the sum `sum_us`, in microseconds; 0 if `count`
    /// is 0.
    #[expect(clippy::cast_precision_loss, reason = "three decimals need less precision")]
    pub(super) fn mean_ms(sum_us: u64, count: u64) -> Self {
        if count == 0 { Self(0.0) } else { Self::new(sum_us as f64 / 1_000.0 / count as f64) }
    }
}

impl Serialize for Rounded {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a number that is too large for an integer is written as a float"
    )]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_up_to_three_decimals() {
        let written = |number: Rounded| serde_json::to_string(&number).unwrap();
        assert_eq!(written(Rounded::ratio(562_500, 1_250)), "450");
        assert_eq!(written(Rounded::ratio(2, 3)), "0.667");
        assert_eq!(written(Rounded::ratio(1, 0)), "0");
        assert_eq!(written(Rounded::mean_ms(2_500, 2)), "1.25");
        assert_eq!(written(Rounded::new(1e300)), "1e+300");
    }
}
