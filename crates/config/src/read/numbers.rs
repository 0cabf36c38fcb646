//! The numbers of a limit, in every form they can be written in.
//!
//! `20` is 20 requests per minute; `{ requests_per_minute: 20, burst_size: 10 }` and `{ rate:
//! 20/minute, burst: 10 }` say the same. `off` is no limit.

use sluice_core::{
    Algorithm, Cost, LimitSpec, MAX_TOKENS, Mode, OnStoreFailure, Precision, Rate, RefillRate,
    Terms,
};

use super::store::ON_FAILURE;
use crate::reader::{Field, Table};

/// The burst of a default, an endpoint or a tier that names none.
const BURST: u64 = 10;

/// A default's or an endpoint's limit: a number, a table or `off`. While the store cannot,
/// `on_store_failure` answers unless the table says who.
pub(super) fn limit_spec(field: &Field<'_>, on_store_failure: OnStoreFailure) -> Option<LimitSpec> {
    if field.is_off() {
        Some(LimitSpec::Off)
    } else if field.is_table() {
        field.table(|table| {
            let numbers = numbers(table);
            terms(table, numbers, on_store_failure).map(LimitSpec::Limit)
        })
    } else {
        let algorithm = Algorithm::TokenBucket(bucket(field, per_minute(field)?, BURST)?);
        Some(LimitSpec::Limit(Terms::new(algorithm).on_store_failure(on_store_failure)))
    }
}

/// The terms of a limit with these numbers.
pub(super) fn terms(
    table: &Table<'_>,
    numbers: Option<Rate>,
    on_store_failure: OnStoreFailure,
) -> Option<Terms> {
    let algorithm = optional(&table.field("algorithm"), Some(()), |field| {
        field.choice(&[("token_bucket", ())])
    });
    let mode = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow), ("off", Mode::Off)];
    let mode = optional(&table.field("mode"), Some(Mode::default()), |field| field.choice(&mode));
    let precision = optional(&table.field("precision"), Some(Precision::default()), precision);
    let failure = optional(&table.field("on_store_failure"), Some(on_store_failure), |field| {
        field.choice(&ON_FAILURE)
    });
    let ((), algorithm) = (algorithm?, Algorithm::TokenBucket(numbers?));
    let terms = Terms::new(algorithm).mode(mode?).precision(precision?);
    Some(terms.on_store_failure(failure?))
}

fn precision(field: &Field<'_>) -> Option<Precision> {
    match field.text_if_any() {
        Some("leased") => {
            field.refuse("`leased` is not there yet: write `exact`, or remove the key")
        }
        _ => field.choice(&[("exact", Precision::Exact)]),
    }
}

/// The rate and burst of a table in either spelling; the rate must be there.
pub(super) fn numbers(table: &Table<'_>) -> Option<Rate> {
    let (short_rate, long_rate) = (table.field("requests_per_minute"), table.field("rate"));
    let rate = match said(&short_rate, &long_rate) {
        Said::Neither => {
            short_rate.missing("write `requests_per_minute: 60`, or `rate: 60/minute`")
        }
        Said::First => per_minute(&short_rate),
        Said::Second => long_rate.parse(),
        Said::Both => None,
    };
    let (short_burst, long_burst) = (table.field("burst_size"), table.field("burst"));
    let (at, burst) = match said(&short_burst, &long_burst) {
        Said::Neither => (if short_rate.is_said() { &short_rate } else { &long_rate }, Some(BURST)),
        Said::First => (&short_burst, tokens(&short_burst)),
        Said::Second => (&long_burst, tokens(&long_burst)),
        Said::Both => (&long_burst, None),
    };
    bucket(at, rate?, burst?)
}

enum Said {
    Neither,
    First,
    Second,
    Both,
}

/// Which of two spellings was used. (Of two layers' spellings, the earlier one's is gone by now.)
/// Both are refused.
fn said(first: &Field<'_>, second: &Field<'_>) -> Said {
    match (first.is_said(), second.is_said()) {
        (false, false) => Said::Neither,
        (true, false) => Said::First,
        (false, true) => Said::Second,
        (true, true) => {
            second
                .refuse::<()>(format_args!("says the same as {}: keep one of them", first.path()));
            Said::Both
        }
    }
}

fn per_minute(field: &Field<'_>) -> Option<RefillRate> {
    let tokens = field.integer(0..=MAX_TOKENS)?;
    RefillRate::per_minute(tokens).map_or_else(|error| field.refuse(error), Some)
}

/// A burst.
pub(super) fn tokens(field: &Field<'_>) -> Option<u64> {
    field.integer(1..=Cost::MAX.tokens())
}

/// The bucket of these numbers; when they do not fit together, the mistake is noted at `at`.
pub(super) fn bucket(at: &Field<'_>, rate: RefillRate, burst: u64) -> Option<Rate> {
    Rate::new(rate, burst).map_or_else(|error| at.refuse(error), Some)
}

/// What `read` makes of the field, or `absent` when nothing was said there.
pub(super) fn optional<'a, T>(
    field: &Field<'a>,
    absent: Option<T>,
    read: impl FnOnce(&Field<'a>) -> Option<T>,
) -> Option<T> {
    if field.is_said() { read(field) } else { absent }
}
