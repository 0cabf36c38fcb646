//! Counts of tokens and answers, as JSON writes them.

use sluice_core::Cost;

/// The largest count that a request or an answer may state.
pub(crate) const MOST: u64 = Cost::MAX.tokens();

/// The digits of [`MOST`].
const MOST_DIGITS: i64 = 13;

/// Why a number is not a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotACount {
    /// Below zero.
    Negative,
    /// Not a whole number.
    Fraction,
    /// Above [`MOST`].
    TooLarge,
    /// No number at all.
    NotANumber,
}

/// Reads a JSON number that is whole and at most [`MOST`], in whatever notation: `1000`, `1e3` and
/// `1000.0` are the same number. No float is involved, so that none is rounded.
pub(crate) fn count(text: &str) -> Result<u64, NotACount> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text),
    };
    let (mantissa, exponent) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || mantissa.ends_with('.') {
        return Err(NotACount::NotANumber);
    }
    let digits = || whole.bytes().chain(fraction.bytes());
    let leading = digits().take_while(|digit| *digit == b'0').count();
    let trailing = digits().rev().take_while(|digit| *digit == b'0').count();
    let length = whole.len() + fraction.len();
    if leading == length {
        return Ok(0);
    }
    if negative {
        return Err(NotACount::Negative);
    }
    // The number is its significant digits, times ten to the power of `zeros`.
    let significant = length - leading - trailing;
    let zeros = exponent.saturating_add(as_i64(trailing)).saturating_sub(as_i64(fraction.len()));
    if zeros < 0 {
        return Err(NotACount::Fraction);
    }
    if zeros.saturating_add(as_i64(significant)) > MOST_DIGITS {
        return Err(NotACount::TooLarge);
    }
    let value = digits()
        .skip(leading)
        .take(significant)
        .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    let value = (0..zeros).fold(value, |value, _| value * 10);
    if value > MOST { Err(NotACount::TooLarge) } else { Ok(value) }
}

/// Reads an exponent. One beyond any number of this program is as good as the largest.
fn exponent_of(text: &str) -> Result<i64, NotACount> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotACount::NotANumber);
    }
    let size = digits.parse::<u32>().map_or(i64::from(u32::MAX), i64::from);
    Ok(if text.starts_with('-') { -size } else { size })
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_notation_of_a_whole_number_is_that_number() {
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("-0.0e5", 0),
            ("7", 7),
            ("10.0", 10),
            ("1e3", 1_000),
            ("1E+3", 1_000),
            ("12.50e1", 125),
            ("1000e-3", 1),
            ("1000000000000", MOST),
            ("1e12", MOST),
            ("0.000001e18", MOST),
        ];
        for (text, value) in cases {
            assert_eq!(count(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_count_says_why() {
        let cases = [
            ("-1", NotACount::Negative),
            ("-0.5", NotACount::Negative),
            ("0.5", NotACount::Fraction),
            ("1e-1", NotACount::Fraction),
            ("12.34e1", NotACount::Fraction),
            ("1e-99999999999999", NotACount::Fraction),
            ("1000000000001", NotACount::TooLarge),
            ("1e13", NotACount::TooLarge),
            ("1e300", NotACount::TooLarge),
            ("1e99999999999999", NotACount::TooLarge),
            ("9999999999999999999999", NotACount::TooLarge),
            ("", NotACount::NotANumber),
            ("-", NotACount::NotANumber),
            ("1.", NotACount::NotANumber),
            (".5", NotACount::NotANumber),
            ("1e", NotACount::NotANumber),
            ("1e+-1", NotACount::NotANumber),
            ("many", NotACount::NotANumber),
            ("true", NotACount::NotANumber),
            ("\"5\"", NotACount::NotANumber),
        ];
        for (text, error) in cases {
            assert_eq!(count(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,24}") {
            if let Ok(value) = count(&text) {
                prop_assert!(value <= MOST);
            }
        }

        #[test]
        fn a_number_is_read_exactly(value in 0..=MOST, zeros in 0..4_usize) {
            prop_assert_eq!(count(&value.to_string()), Ok(value));
            let shifted = format!("{value}{}e-{zeros}", "0".repeat(zeros));
            prop_assert_eq!(count(&shifted), Ok(value));
        }
    }
}
