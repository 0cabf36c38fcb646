//! `costs: { currency: USD, budget: 500, llm: { MODEL: { input_per_1m: 0.15, ... } },
//! deployment: { KIND: { per_hour: 0.2 } } }`.

use sluice_core::{Currency, MicroUnits, Prices, TokenPrices};

use crate::{
    error::Refused,
    reader::{Field, Table},
    settings::CostSettings,
};

/// The longest name of a model or a kind, in bytes, as in events.
const MAX_NAME_BYTES: usize = 128;
/// The most models, and the most kinds.
const MAX_NAMES: usize = 1_000;
/// The largest price.
const MAX_PRICE: MicroUnits = MicroUnits::from_units(1_000_000);
/// The largest budget.
const MAX_BUDGET: MicroUnits = MicroUnits::from_units(1_000_000_000);

pub(super) fn read(costs: &Field<'_>) -> Result<CostSettings, Refused> {
    costs.table(|costs| {
        let currency = costs.field("currency");
        let currency = currency.text().and_then(|text| {
            let parsed = text.parse::<Currency>();
            parsed.map_err(|error| currency.refuse(format_args!("`{text}` {error}")))
        });
        let budget = costs.field("budget").optional(budget);
        let llm = costs.field("llm").or(Vec::new(), |llm| names(llm, "models", token_prices));
        let deployment =
            costs.field("deployment").or(Vec::new(), |kinds| names(kinds, "kinds", hourly_price));
        let mut prices = Prices::new(currency?);
        for (name, of_model) in llm? {
            prices = prices.with_model(name, of_model);
        }
        for (name, per_hour) in deployment? {
            prices = prices.with_deployment(name, per_hour);
        }
        Ok(CostSettings { prices, budget: budget? })
    })
}

/// Reads a table whose keys are names as in events.
pub(super) fn names<'a, T>(
    field: &Field<'a>,
    what: &str,
    read: impl Fn(&Table<'a>) -> Result<T, Refused>,
) -> Result<Vec<(&'a str, T)>, Refused> {
    let entries = field.entries()?;
    if entries.len() > MAX_NAMES {
        let count = entries.len();
        return Err(field.refuse(format_args!(
            "{count} {what} are too many: at most {MAX_NAMES} are possible"
        )));
    }
    // Every entry is read, so that every error is recorded.
    let entry = |(name, field): (&'a str, Field<'a>)| {
        let value = field.table(&read);
        let is_name =
            (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        if !is_name {
            return Err(field.refuse(format_args!(
                "this is no possible name: write 1 to {MAX_NAME_BYTES} bytes without control \
                 characters"
            )));
        }
        Ok((name, value?))
    };
    let entries: Vec<_> = entries.into_iter().map(entry).collect();
    entries.into_iter().collect()
}

fn token_prices(model: &Table<'_>) -> Result<TokenPrices, Refused> {
    let required = |name| {
        let field = model.field(name);
        field.required("write the price of a million tokens").and_then(|field| price(&field))
    };
    let (input, output) = (required("input_per_1m"), required("output_per_1m"));
    let [cached_input, cache_write] =
        ["cached_input_per_1m", "cache_write_per_1m"].map(|name| model.field(name).optional(price));
    let mut prices = TokenPrices::new(input?, output?);
    if let Some(cached_input) = cached_input? {
        prices.cached_input = cached_input;
    }
    if let Some(cache_write) = cache_write? {
        prices.cache_write = cache_write;
    }
    Ok(prices)
}

fn hourly_price(kind: &Table<'_>) -> Result<MicroUnits, Refused> {
    let field = kind.field("per_hour");
    field.required("write the price of an hour").and_then(|field| price(&field))
}

fn price(field: &Field<'_>) -> Result<MicroUnits, Refused> {
    amount(field, MAX_PRICE)
}

fn budget(field: &Field<'_>) -> Result<MicroUnits, Refused> {
    let budget = amount(field, MAX_BUDGET)?;
    if budget == MicroUnits::default() {
        return Err(
            field.refuse("a budget of 0 is exceeded at once: write more, or remove the key")
        );
    }
    Ok(budget)
}

fn amount(field: &Field<'_>, most: MicroUnits) -> Result<MicroUnits, Refused> {
    let number = field.number()?;
    MicroUnits::exactly(number, most)
        .map_err(|error| field.refuse(format_args!("{number} {error}")))
}
