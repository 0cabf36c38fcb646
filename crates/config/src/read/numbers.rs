//! The rate and burst of a limit, in every form in which they can be written.
//!
//! `20` is 20 requests per minute; `{ requests_per_minute: 20, burst_size: 10 }` and `{ rate:
//! 20/minute, burst: 10 }` mean the same. `off` is no limit; `default` takes an endpoint out. Only
//! general limits count in other ways (`algorithm`).

use sluice_core::{
    Algorithm, Cost, Endpoint, LimitSpec, MAX_TOKENS, Mode, OnStoreFailure, Precision, Rate,
    RefillRate, Terms,
};

use super::{number_key::Key, store::ON_FAILURE};
use crate::{
    error::Refused,
    reader::{Field, Table},
};

/// The value of an endpoint that has no limit of its own, as if it were not written.
const AS_DEFAULT: &str = "default";
/// The burst of a default, an endpoint or a tier that names none.
pub(super) const BURST: u64 = 10;

/// What a default, an endpoint or a tier is for. A general limit would say it as a condition.
#[derive(Clone, Copy, Default)]
pub(super) struct Scope<'a> {
    pub(super) path: Option<&'a str>,
    pub(super) tier: Option<&'a str>,
}

impl Scope<'_> {
    /// The example of a general limit in place of one with `key`.
    fn general_limit(self, key: Key) -> String {
        let path = self.path.map(|path| format!("path: {}/**", path.trim_end_matches('/')));
        let tier = self.tier.map(|tier| format!("tier: {tier}"));
        let conditions: Vec<String> = path.into_iter().chain(tier).collect();
        let when = if conditions.is_empty() {
            String::new()
        } else {
            format!("when: {{ {} }}, ", conditions.join(", "))
        };
        format!("`limits: [{{ name: NAME, {when}{} }}]`", key.example())
    }

    /// Refuses what only a general limit can have.
    pub(super) fn refuse_other_algorithms(self, table: &Table<'_>) -> Result<(), Refused> {
        let belongs = |name: &str, key: Key| {
            let example = self.general_limit(key);
            format!("only an entry of `limits` has `{name}`: write it as {example}")
        };
        for key in Key::OF_LIMITS {
            let word = table.refuse_elsewhere(&[key.name()], |name| belongs(name, key));
            let beside = table.refuse_elsewhere(key.beside(), |name| belongs(name, key));
            word.and(beside)?;
        }
        let algorithm = table.field("algorithm");
        let written = algorithm.text_if_any();
        match Key::OF_LIMITS.into_iter().find(|key| written == Some(key.name())) {
            Some(key) => Err(algorithm.refuse(format_args!(
                "only an entry of `limits` can be `{}`: write it as {}",
                key.name(),
                self.general_limit(key)
            ))),
            None => algorithm.or((), |field| field.choice(&[("token_bucket", ())])),
        }
    }
}

/// Reads the limit of the default or of an endpoint: a number, a table or `off`. Unless the table
/// says it, it has this `burst`, and `on_store_failure` happens when the store fails.
pub(super) fn limit_spec(
    field: &Field<'_>,
    scope: Scope<'_>,
    burst: u64,
    on_store_failure: OnStoreFailure,
) -> Result<LimitSpec, Refused> {
    if field.is_off() {
        Ok(LimitSpec::Off)
    } else if field.is_table() {
        field.table(|table| {
            let only_rate = scope.refuse_other_algorithms(table);
            let rate = rate(table, only_rate, burst).map(Algorithm::TokenBucket);
            terms(table, rate, on_store_failure).map(LimitSpec::Limit)
        })
    } else {
        field.refuse_other_words_for_off()?;
        let rate = check_rate(field, per_minute(field)?, burst)?;
        let terms = Terms::new(Algorithm::TokenBucket(rate));
        Ok(LimitSpec::Limit(terms.on_store_failure(on_store_failure)))
    }
}

/// Reads endpoints by their paths, as [`limit_spec`] does; `note` gets the field of each.
pub(super) fn endpoints(
    field: &Field<'_>,
    tier: Option<&str>,
    burst: u64,
    on_store_failure: OnStoreFailure,
    mut note: impl FnMut(String, &Field<'_>),
) -> Vec<Endpoint> {
    let entries = field.entries().unwrap_or_default();
    let endpoint = |(path, field): (&str, Field<'_>)| {
        note(path.to_owned(), &field);
        if field.text_if_any() == Some(AS_DEFAULT) {
            return None;
        }
        let scope = Scope { path: Some(path), tier };
        let limit = limit_spec(&field, scope, burst, on_store_failure).unwrap_or(LimitSpec::Off);
        Some(Endpoint::new(path, limit))
    };
    entries.into_iter().filter_map(endpoint).collect()
}

/// Reads the terms of a limit that counts like this.
pub(super) fn terms(
    table: &Table<'_>,
    algorithm: Result<Algorithm, Refused>,
    on_store_failure: OnStoreFailure,
) -> Result<Terms, Refused> {
    let mode = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow), ("off", Mode::Off)];
    let mode = table.field("mode").or(Mode::default(), |field| field.choice(&mode));
    let precision_field = table.field("precision");
    let precision = precision_field.or(Precision::default(), precision);
    let failure =
        table.field("on_store_failure").or(on_store_failure, |field| field.choice(&ON_FAILURE));
    let (algorithm, precision) = (algorithm?, precision?);
    if precision == Precision::Leased && algorithm.rate().is_none() {
        return Err(precision_field.refuse(
            "only the tokens of a `rate` can be leased: replicas ask the store about every request \
             under another limit. Remove the key",
        ));
    }
    let terms = Terms::new(algorithm).mode(mode?).precision(precision);
    Ok(terms.on_store_failure(failure?))
}

/// Reads how exactly a fleet keeps a limit.
pub(super) fn precision(field: &Field<'_>) -> Result<Precision, Refused> {
    field.choice(&[("exact", Precision::Exact), ("leased", Precision::Leased)])
}

/// Reads the rate and burst of a table in either spelling; the rate is required, and without a
/// burst it has this one. What the table has in place of a rate may have been refused before.
pub(super) fn rate(
    table: &Table<'_>,
    only_rate: Result<(), Refused>,
    burst: u64,
) -> Result<Rate, Refused> {
    let (short_rate, long_rate) = (table.field("requests_per_minute"), table.field("rate"));
    let rate = match (short_rate.is_present(), long_rate.is_present()) {
        (false, false) => only_rate.and_then(|()| {
            Err(short_rate.missing("write `requests_per_minute: 60`, or `rate: 60/minute`"))
        }),
        (true, false) => per_minute(&short_rate),
        (false, true) => long_rate.rate(),
        (true, true) => Err(refuse_both(&short_rate, &long_rate)),
    };
    let own = self::burst(table);
    only_rate?;
    match (rate?, own?) {
        (rate, Some((at, burst))) => check_rate(&at, rate, burst),
        (rate, None) if short_rate.is_present() => check_rate(&short_rate, rate, burst),
        (rate, None) => check_rate(&long_rate, rate, burst),
    }
}

/// Reads the burst of a table in either spelling, if it has one.
pub(super) fn burst<'a>(table: &Table<'a>) -> Result<Option<(Field<'a>, u64)>, Refused> {
    let (short, long) = (table.field("burst_size"), table.field("burst"));
    match (short.is_present(), long.is_present()) {
        (true, true) => Err(refuse_both(&short, &long)),
        (true, false) => tokens(&short).map(|burst| Some((short, burst))),
        (false, true) => tokens(&long).map(|burst| Some((long, burst))),
        (false, false) => Ok(None),
    }
}

/// Reads a rate that is a number per minute, a text or a table. Without a burst, in the table or
/// beside it, it has the rate's own tokens.
pub(super) fn rate_or_table(
    field: &Field<'_>,
    beside: Option<(Field<'_>, u64)>,
) -> Result<Rate, Refused> {
    let with_burst = |rate: RefillRate, burst: Option<(Field<'_>, u64)>| match burst {
        Some((at, burst)) => check_rate(&at, rate, burst),
        None => check_rate(field, rate, rate.tokens()),
    };
    if !field.is_table() {
        let rate = match field.text_if_any() {
            Some(text) if text.contains(|c: char| !c.is_ascii_digit() && c != '_') => field.parse(),
            _ => per_minute(field),
        };
        return with_burst(rate?, beside);
    }
    field.table(|table| {
        let (short, long) = (table.field("requests_per_minute"), table.field("rate"));
        let own = burst(table);
        let rate = match (short.is_present(), long.is_present()) {
            (false, false) => {
                Err(short.missing("write `requests_per_minute: 600`, or `rate: 600/minute`"))
            }
            (true, false) => per_minute(&short),
            (false, true) => long.parse(),
            (true, true) => Err(refuse_both(&short, &long)),
        };
        match (own?, beside) {
            (Some((own, _)), Some((beside, _))) => Err(refuse_both(&own, &beside)),
            (own, beside) => with_burst(rate?, own.or(beside)),
        }
    })
}

/// Refuses two spellings in one layer. (Of two layers' spellings, only the later one is left.)
fn refuse_both(short: &Field<'_>, long: &Field<'_>) -> Refused {
    long.refuse(format_args!("means the same as {}: keep one of them", short.path()))
}

fn per_minute(field: &Field<'_>) -> Result<RefillRate, Refused> {
    let tokens = field.integer_or_zero(1..=MAX_TOKENS)?;
    RefillRate::per_minute(tokens).map_err(|error| field.refuse(error))
}

/// Reads a burst.
pub(super) fn tokens(field: &Field<'_>) -> Result<u64, Refused> {
    field.integer(1..=Cost::MAX.tokens())
}

/// Returns the rate with this burst. If they do not go together, the error is recorded at `at`.
pub(super) fn check_rate(at: &Field<'_>, rate: RefillRate, burst: u64) -> Result<Rate, Refused> {
    Rate::new(rate, burst).map_err(|error| at.refuse(error))
}
