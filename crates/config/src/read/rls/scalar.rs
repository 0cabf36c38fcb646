//! The meaning of a scalar in these files.
//!
//! envoyproxy/ratelimit reads them as YAML 1.1: `yes` is true, `010` is eight, `08` and `1.0` are
//! fractions. Which files are good depends on it, so this follows the rules of YAML 1.1
//! (<https://yaml.org/type/>) as far as that reader follows them. Whatever a scalar means, its text
//! is possible where text is expected.

use yaml_rust2::parser::Tag;

use crate::document::{Scalar, is_core};

/// The meaning of `text`; `is_plain` without quotes.
#[expect(clippy::unnecessary_wraps, reason = "the YAML reader takes meanings that may refuse")]
pub(super) fn meaning(text: &str, is_plain: bool, tag: Option<&Tag>) -> Result<Scalar, String> {
    Ok(match tag.map(|tag| (is_core(tag), tag.suffix.as_str())) {
        None if is_plain => plain(text),
        Some((true, "int" | "float" | "bool" | "null" | "timestamp")) => plain(text),
        _ => Scalar::Text,
    })
}

/// The meaning of `text` without quotes.
pub(super) fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'.' => fraction(text).map_or(Scalar::Text, Scalar::Float),
        b'+' | b'-' | b'0'..=b'9' => {
            let digits = text.replace('_', "");
            let number = integer(&digits)
                .map(Scalar::Integer)
                .or_else(|| fraction(&digits).map(Scalar::Float));
            number.unwrap_or(Scalar::Text)
        }
        _ => Scalar::Text,
    }
}

/// A whole number in base 10, or as its prefix says.
fn integer(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some(_) if lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // `from_str_radix` would take a second sign.
    let magnitude = digits
        .bytes()
        .all(|b| b.is_ascii_alphanumeric())
        .then(|| i128::from_str_radix(digits, radix).ok())??;
    let unsigned = sign == 1 && text.as_bytes()[0] != b'+';
    let (least, most) =
        (i128::from(i64::MIN), if unsigned { i128::from(u64::MAX) } else { i128::from(i64::MAX) });
    Some(sign * magnitude).filter(|number| (least..=most).contains(number))
}

/// A number with a point or an exponent, or one too large for an integer: `[-+]? (.d+ | d+ (.d*)?)
/// (e [-+]? d+)?`.
fn fraction(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = unsigned
        .split_once(['e', 'E'])
        .map_or((unsigned, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, part)) => {
            digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty())
        }
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits_of_it = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !digits_of_it.is_empty() && digits(digits_of_it)
    });
    (mantissa_fits && exponent_fits)
        .then(|| text.parse().ok())
        .flatten()
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_false_and_null_have_the_words_of_yaml_1_1() {
        for text in ["y", "Yes", "ON", "true", "True"] {
            assert_eq!(plain(text), Scalar::Bool(true), "{text}");
        }
        for text in ["n", "No", "OFF", "false", "FALSE"] {
            assert_eq!(plain(text), Scalar::Bool(false), "{text}");
        }
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(plain(text), Scalar::Null, "{text}");
        }
        assert_eq!(plain("oN"), Scalar::Text);
    }

    #[test]
    fn whole_numbers_have_prefixes_and_underscores() {
        let known = [
            ("60", 60),
            ("1_000", 1_000),
            ("-5", -5),
            ("+5", 5),
            ("0x1F", 31),
            ("0o17", 15),
            ("017", 15),
            ("0b101", 5),
            ("-0b11", -3),
            ("0", 0),
        ];
        for (text, number) in known {
            assert_eq!(plain(text), Scalar::Integer(number), "{text}");
        }
        assert_eq!(plain("18446744073709551615"), Scalar::Integer(u64::MAX.into()));
        assert_eq!(plain("-9223372036854775808"), Scalar::Integer(i64::MIN.into()));
    }

    #[test]
    fn other_numbers_are_fractions() {
        for text in ["1.5", "1.", ".5", "-1e3", "08", "1e-7", "18446744073709551616", ".inf"] {
            assert!(matches!(plain(text), Scalar::Float(_)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "50.0.0.5",
            "2001-12-14",
            "1e",
            "+",
            "-",
            ".",
            "--5",
            "+-5",
            "0x",
            "0xg",
            "1e999",
            "foo*",
            "1.2.3",
            "5m",
            "_5",
        ] {
            assert_eq!(plain(text), Scalar::Text, "{text}");
        }
        assert_eq!(meaning("5", false, None), Ok(Scalar::Text), "quoted");
    }

    #[test]
    fn a_tag_wins_over_quotes() {
        let tag = |handle: &str, suffix: &str| Tag {
            handle: handle.to_owned(),
            suffix: suffix.to_owned(),
        };
        assert_eq!(meaning("5", true, Some(&tag("tag:yaml.org,2002:", "str"))), Ok(Scalar::Text));
        assert_eq!(meaning("5", false, Some(&tag("!!", "int"))), Ok(Scalar::Integer(5)));
        assert_eq!(meaning("5", true, Some(&tag("!", "secret"))), Ok(Scalar::Text));
    }
}
