//! Amounts of money, in whole millionths of a currency unit.

use std::{fmt, str::FromStr};

/// An amount of money in whole micro-units: millionths of a unit of some currency.
///
/// Sums of whole numbers do not drift, as sums of fractions would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroUnits(u64);

/// A currency: three capital letters, as ISO 4217 writes them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Why a number is not an amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// The number is negative, or not a finite number.
    #[error("is not an amount of money: write a number that is not below 0")]
    NotAnAmount,
    /// The number is larger than the largest possible amount.
    #[error("is too much: at most {}", .most.units())]
    TooMuch {
        /// The largest possible amount.
        most: MicroUnits,
    },
    /// The number has more than six decimals.
    #[error("is finer than a millionth: write at most six decimals")]
    TooFine,
}

/// Why a text is not a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a currency: write three capital letters, as in `USD`")]
pub struct CurrencyError;

/// Micro-units in a unit.
const PER_UNIT: u64 = 1_000_000;
/// Digits of a micro-unit after the point of a unit.
const DECIMALS: usize = 6;

impl MicroUnits {
    /// Makes an amount of this many micro-units.
    #[must_use]
    pub const fn new(micro_units: u64) -> Self {
        Self(micro_units)
    }

    /// Makes an amount of this many whole units.
    #[must_use]
    pub const fn from_units(units: u32) -> Self {
        Self(units as u64 * PER_UNIT)
    }

    /// Makes an amount of this many units, rounded up to whole micro-units.
    ///
    /// The number is taken as it is written in decimals: 0.1 is 100,000 micro-units, although the
    /// nearest binary fraction is larger than 0.1.
    ///
    /// # Errors
    /// When the number is negative or not finite, or more than `most`.
    pub fn rounded_up(units: f64, most: Self) -> Result<Self, MoneyError> {
        let (amount, rest) = Self::split(units, most)?;
        let amount = Self(amount.0.saturating_add(u64::from(rest)));
        if amount > most { Err(MoneyError::TooMuch { most }) } else { Ok(amount) }
    }

    /// Makes an amount of exactly this many units, which has at most six decimals.
    ///
    /// # Errors
    /// When the number is negative or not finite, more than `most`, or finer than a micro-unit.
    pub fn exactly(units: f64, most: Self) -> Result<Self, MoneyError> {
        match Self::split(units, most)? {
            (amount, false) => Ok(amount),
            (_, true) => Err(MoneyError::TooFine),
        }
    }

    /// The whole micro-units of a number of units, and whether there are further decimals.
    fn split(units: f64, most: Self) -> Result<(Self, bool), MoneyError> {
        if !units.is_finite() || units < 0.0 {
            return Err(MoneyError::NotAnAmount);
        }
        // The shortest decimals that mean this number. They have no exponent.
        let text = units.abs().to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let (kept, rest) = decimals.split_at(decimals.len().min(DECIMALS));
        let too_much = MoneyError::TooMuch { most };
        let micro_units = format!("{whole}{kept:0<DECIMALS$}").parse().map_err(|_| too_much)?;
        let rest = rest.bytes().any(|digit| digit != b'0');
        if Self(micro_units) > most { Err(too_much) } else { Ok((Self(micro_units), rest)) }
    }

    /// Returns the amount in micro-units.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the amount in units, to be shown: sums are made of micro-units.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "shown amounts are far below 2^53 micro-units")]
    pub fn units(self) -> f64 {
        self.0 as f64 / PER_UNIT as f64
    }
}

impl Currency {
    /// US dollars.
    pub const USD: Self = Self(*b"USD");

    /// Returns the currency as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            Ok(_) | Err(_) => Err(CurrencyError),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: MicroUnits = MicroUnits::from_units(1_000_000);

    #[test]
    fn amounts_are_rounded_up_as_they_are_written() {
        for (units, expected) in [
            (0.0, 0),
            (-0.0, 0),
            (0.1, 100_000),
            (0.004_2, 4_200),
            (1.1, 1_100_000),
            (0.000_000_1, 1),
            (0.000_001, 1),
            (0.000_001_000_1, 2),
            (1e-300, 1),
            (1_000_000.0, 1_000_000_000_000),
        ] {
            assert_eq!(MicroUnits::rounded_up(units, MOST), Ok(MicroUnits(expected)), "{units}");
        }
    }

    #[test]
    fn what_is_no_amount_is_an_error() {
        for units in [-0.01, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(MicroUnits::rounded_up(units, MOST), Err(MoneyError::NotAnAmount));
        }
        for units in [1_000_000.000_001, 1e300] {
            let error = MicroUnits::rounded_up(units, MOST).unwrap_err();
            assert_eq!(error.to_string(), "is too much: at most 1000000", "{units}");
        }
        assert_eq!(MicroUnits::exactly(0.15, MOST), Ok(MicroUnits(150_000)));
        assert_eq!(MicroUnits::exactly(0.000_000_5, MOST), Err(MoneyError::TooFine));
    }

    #[test]
    fn a_currency_has_three_capital_letters() {
        assert_eq!("EUR".parse::<Currency>().unwrap().as_str(), "EUR");
        for text in ["", "eur", "EURO", "E R", "E€", "ÄÖ"] {
            assert_eq!(text.parse::<Currency>(), Err(CurrencyError), "{text}");
        }
    }
}
