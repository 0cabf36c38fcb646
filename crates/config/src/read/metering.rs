//! What a limit counts in place of requests:
//!
//! ```yaml
//! counts: total_tokens       # requests | input_tokens | output_tokens | total_tokens | cost
//! weights: { input: 1, cached_input: 0.1, cache_write: 1.25, output: 4 }
//! hold_for: 5m
//! ```

use std::{fmt::Display, str::FromStr, time::Duration};

use sluice_core::{
    AtMost, AtMostError, Cost, Counts, Metering, MicroUnits, Quota, QuotaError, RefillRate,
    RefillRateError, TokenWeights,
};

use super::number_key::Key;
use crate::{
    error::Refused,
    reader::{Field, Table},
};

/// The largest rate and the largest burst of a limit that counts money.
const MAX_MONEY: MicroUnits = MicroUnits::new(Cost::MAX.tokens());

/// Reads how a limit with its number under this key meters what requests use; `None` for a limit
/// that counts requests.
pub(super) fn read(limit: &Table<'_>, key: Option<Key>) -> Result<Option<Metering>, Refused> {
    let (counts, weights) = (limit.field("counts"), limit.field("weights"));
    let hold_for = limit.field("hold_for");
    let counted = counts.or(None, |field| {
        field.choice(&[
            ("requests", None),
            ("input_tokens", Some(Counts::INPUT_TOKENS)),
            ("output_tokens", Some(Counts::OUTPUT_TOKENS)),
            ("total_tokens", Some(Counts::TOTAL_TOKENS)),
            ("cost", Some(Counts::Money)),
        ])
    });
    let weighed = weights.optional(|field| weights_of(field, counted.ok().flatten()));
    if key == Some(Key::Concurrent) {
        // `hold_for` is how long a slot is kept.
        return match (counted?, weighed?) {
            (None, _) => Ok(None),
            (Some(_), _) => Err(counts.refuse(
                "a request in flight holds one slot, whatever it uses: remove the key, or write a \
                 second limit with a `rate` or a `quota` that counts this",
            )),
        };
    }
    let held = hold_for.or(Metering::HOLD_FOR, |field| {
        field.duration(Duration::from_secs(1)..=Metering::LONGEST_HOLD)
    });
    let (counted, weighed, hold_for_read) = (counted?, weighed?, held?);
    let Some(counts) = counted else {
        if hold_for.is_present() {
            return Err(hold_for.refuse(
                "a limit that counts requests holds nothing: write what else it `counts`, as in \
                 `counts: total_tokens`, or remove the key. (Beside `concurrent`, it says for how \
                 long a slot is kept.)",
            ));
        }
        return Ok(None);
    };
    let counts = weighed.map_or(counts, Counts::Tokens);
    Ok(Some(Metering { counts, hold_for: hold_for_read }))
}

/// Reads the weights of the tokens that a limit counts.
fn weights_of(field: &Field<'_>, counts: Option<Counts>) -> Result<TokenWeights, Refused> {
    field.table(|table| {
        let [input, cached_input, cache_write, output] =
            ["input", "cached_input", "cache_write", "output"].map(|kind| {
                let field = table.field(kind);
                let weight = field.optional(weight);
                (field, weight)
            });
        let Some(Counts::Tokens(counted)) = counts else {
            return Err(field.refuse(
                "only tokens have weights: write `counts: total_tokens`, or remove the key",
            ));
        };
        for ((field, _), of_kind) in [
            (&input, counted.input),
            (&cached_input, counted.cached_input),
            (&cache_write, counted.cache_write),
            (&output, counted.output),
        ] {
            if field.is_present() && of_kind == 0 {
                return Err(field.refuse(
                    "the limit does not count these tokens: write `counts: total_tokens`, or \
                     remove the key",
                ));
            }
        }
        let of_input = input.1?.unwrap_or(counted.input);
        // What the cache holds is input too.
        let weights = TokenWeights {
            input: of_input,
            cached_input: cached_input.1?.unwrap_or(of_input),
            cache_write: cache_write.1?.unwrap_or(of_input),
            output: output.1?.unwrap_or(counted.output),
        };
        let nothing = TokenWeights { input: 0, cached_input: 0, cache_write: 0, output: 0 };
        if weights == nothing {
            field.warn("every weight is 0, so that the limit counts nothing and denies nothing");
        }
        Ok(weights)
    })
}

/// Reads a weight, in thousandths.
fn weight(field: &Field<'_>) -> Result<u32, Refused> {
    let (number, one) = (field.number()?, f64::from(TokenWeights::ONE));
    let thousandths = (number * one).round();
    let is_whole = (thousandths - number * one).abs() < 1e-6;
    if !(0.0..=f64::from(TokenWeights::MAX)).contains(&thousandths) || !is_whole {
        let most = TokenWeights::MAX / TokenWeights::ONE;
        return Err(field.refuse(format_args!(
            "{number} is not a weight: write a number from 0 to {most} with at most three decimals"
        )));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from 0 to MAX"
    )]
    Ok(thousandths as u32)
}

/// What a limit admits in a period, which may be an amount of money.
pub(super) trait PerPeriod: FromStr<Err: Display> {
    /// Examples with amounts of money.
    const OF_MONEY: &'static str;

    /// Whether the text does not have the form at all.
    fn is_of_syntax(error: &Self::Err) -> bool;
}

impl PerPeriod for RefillRate {
    const OF_MONEY: &'static str = "`10/day`, or `0.5 per 90m`";

    fn is_of_syntax(error: &RefillRateError) -> bool {
        matches!(error, RefillRateError::Syntax { .. })
    }
}

impl PerPeriod for Quota {
    const OF_MONEY: &'static str = "`500/month`, or `0.5/hour`";

    fn is_of_syntax(error: &QuotaError) -> bool {
        matches!(error, QuotaError::Syntax { .. })
    }
}

impl PerPeriod for AtMost {
    const OF_MONEY: &'static str = "`0.5 per 60s`";

    fn is_of_syntax(error: &AtMostError) -> bool {
        matches!(error, AtMostError::Syntax { .. })
    }
}

/// Reads what a limit admits in a period: `60/minute`; of a limit that counts money, units of the
/// currency, `0.5/hour`.
pub(super) fn per_period<T: PerPeriod>(text: &str, counts_money: bool) -> Result<T, String> {
    if !counts_money {
        return text.parse::<T>().map_err(|error| error.to_string());
    }
    let no_amount = || format!("`{text}` is no amount per period: write {}", T::OF_MONEY);
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (amount, period) = text.split_at(end.unwrap_or(text.len()));
    let number: f64 = amount.replace('_', "").parse().map_err(|_| no_amount())?;
    let amount =
        MicroUnits::exactly(number, MAX_MONEY).map_err(|error| format!("{number} {error}"))?;
    format!("{}{period}", amount.get())
        .parse::<T>()
        .map_err(|error| if T::is_of_syntax(&error) { no_amount() } else { error.to_string() })
}

/// Reads the burst of a limit that counts money: units of the currency, in micro-units.
pub(super) fn money(field: &Field<'_>) -> Result<u64, Refused> {
    let number = field.number()?;
    let amount = MicroUnits::exactly(number, MAX_MONEY)
        .map_err(|error| field.refuse(format_args!("{number} {error}")))?;
    if amount == MicroUnits::default() {
        return Err(
            field.refuse("a burst of 0 admits nothing: write the most that can be saved up")
        );
    }
    Ok(amount.get())
}
