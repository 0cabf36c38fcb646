//! `limits`, the general form:
//!
//! ```yaml
//! - name: org-writes
//!   when: { path: /api/**, method: [POST, PUT], header: { x-plan: [gold, silver] }, tier: pro }
//!   per: header:x-org          # client | ip | header:NAME | nothing
//!   rate: 1000/minute
//!   burst: 200
//!   cost: header:x-tokens      # or a number; else the request's own
//!   counts: requests           # or what `metering` reads
//!   mode: enforce              # enforce | shadow | off
//!   on_store_failure: local    # local | allow | deny | error
//! ```

use sluice_core::{
    Algorithm, Cost, Counts, HeaderMatch, LimitField, Location, OnStoreFailure, Per, Rate,
    RefillRate, Rule, RuleCost, When,
};

use super::{metering, numbers, places::Places};
use crate::{
    error::Refused,
    reader::{Field, Table},
};

/// Reads the general limits, in order.
pub(super) fn read(
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    places: &mut Places,
) -> Vec<Rule> {
    let mut index = 0;
    let rules = field.items(|item| {
        let rule = rule(index, item, on_store_failure, places);
        index += 1;
        Ok(rule)
    });
    rules.unwrap_or_default()
}

/// Reads a limit. In place of a part that was refused stands one that causes no further error.
fn rule(
    index: usize,
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    places: &mut Places,
) -> Rule {
    let at = |field| Location::Limit { index, field };
    let placeholder =
        || Rule::new(field.path().to_string(), Algorithm::TokenBucket(smallest_rate()));
    places.note(at(LimitField::Name), field);
    let rule = field.table(|limit| {
        let (name, per, cost) = (limit.field("name"), limit.field("per"), limit.field("cost"));
        for (part, field) in
            [(LimitField::Name, &name), (LimitField::Per, &per), (LimitField::Cost, &cost)]
        {
            places.note(at(part), field);
        }
        let name = name
            .required("every limit needs a name of its own")
            .and_then(|name| name.text().map(str::to_owned));
        let when = limit.field("when").or(When::default(), |field| when(index, field, places));
        let per = per.or(Per::Client, |field| field.parse_with(read_per));
        let metering = metering::read(limit);
        let counts_money = metering
            .as_ref()
            .is_ok_and(|read| read.is_some_and(|read| read.counts == Counts::Money));
        let rate = rate_and_burst(limit, counts_money);
        let terms = numbers::terms(limit, rate, on_store_failure)
            .and_then(|terms| Ok(terms.metering(metering?)));
        let cost = cost.or(RuleCost::Request, read_cost);
        let mut rule = placeholder();
        if let Ok(name) = name {
            rule.name = name;
        }
        rule.when = when.unwrap_or_default();
        rule.per = per.unwrap_or_default();
        if let Ok(terms) = terms {
            rule.terms = terms;
            // Only with the limit's own burst can a cost above it be found.
            rule.cost = cost.unwrap_or_default();
        }
        Ok(rule)
    });
    rule.unwrap_or_else(|_| placeholder())
}

/// A rate that no tier's factor makes impossible.
fn smallest_rate() -> Rate {
    let rate = RefillRate::per_minute(1).expect("one token per minute is a rate");
    Rate::new(rate, 1).expect("one token comes back within a minute")
}

/// Reads the rate and the burst, in units of the currency where the limit counts money.
fn rate_and_burst(limit: &Table<'_>, counts_money: bool) -> Result<Rate, Refused> {
    let (rate, burst) = (limit.field("rate"), limit.field("burst"));
    let read_rate = rate
        .required("write `rate: 60/minute`")
        .and_then(|rate| if counts_money { metering::money_rate(&rate) } else { rate.rate() });
    let read_burst = burst
        .clone()
        .required("write the most tokens that can be saved up, as in `burst: 10`")
        .and_then(
            |burst| {
                if counts_money { metering::money(&burst) } else { numbers::tokens(&burst) }
            },
        );
    numbers::check_rate(&burst, read_rate?, read_burst?)
}

fn read_per(text: &str) -> Result<Per, String> {
    match text {
        "client" => Ok(Per::Client),
        "ip" => Ok(Per::Address),
        "nothing" => Ok(Per::Everyone),
        _ => match text.strip_prefix("header:") {
            Some(name) => Ok(Per::Header(name.to_owned())),
            None => Err(format!(
                "`{text}` has no buckets: write `client`, `ip`, `header:NAME` or `nothing`"
            )),
        },
    }
}

fn read_cost(field: &Field<'_>) -> Result<RuleCost, Refused> {
    if let Some(name) = field.text_if_any().and_then(|text| text.strip_prefix("header:")) {
        return Ok(RuleCost::Header(name.to_owned()));
    }
    let tokens = field.integer(0..=Cost::MAX.tokens())?;
    Cost::new(tokens).map(RuleCost::Fixed).map_err(|error| field.refuse(error))
}

/// Warns of an empty list, which every request meets.
fn warn_if_empty(field: &Field<'_>) {
    if field.is_empty() {
        field.warn("is empty, and so no condition: write what has to match, or remove the key");
    }
}

fn when(index: usize, field: &Field<'_>, places: &mut Places) -> Result<When, Refused> {
    field.table(|when| {
        let mut texts = |name, part: fn(usize) -> LimitField| {
            let mut entry = 0;
            when.field(name).or(Vec::new(), |field| {
                warn_if_empty(field);
                field.one_or_more(|item| {
                    places.note(Location::Limit { index, field: part(entry) }, item);
                    entry += 1;
                    item.text().map(str::to_owned)
                })
            })
        };
        let paths = texts("path", LimitField::Path);
        let methods = texts("method", LimitField::Method);
        let tiers = texts("tier", LimitField::Tier);
        let headers = when.field("header").or(Vec::new(), |field| headers(index, field, places));
        let mut when = When::default();
        when.paths = paths?;
        when.methods = methods?;
        when.headers = headers?;
        when.tiers = tiers?;
        Ok(when)
    })
}

/// Reads the headers that a request must have: names, or a table of names and values, of which one
/// must be there (`true`: any value).
fn headers(
    index: usize,
    field: &Field<'_>,
    places: &mut Places,
) -> Result<Vec<HeaderMatch>, Refused> {
    let mut entry = 0;
    let mut note = |field: &Field<'_>| {
        places.note(Location::Limit { index, field: LimitField::Header(entry) }, field);
        entry += 1;
    };
    warn_if_empty(field);
    if !field.is_table() {
        return field.one_or_more(|item| {
            note(item);
            item.text().map(|name| HeaderMatch { name: name.to_owned(), values: Vec::new() })
        });
    }
    let header = |(name, field): (&str, Field<'_>)| {
        note(&field);
        warn_if_empty(&field);
        let values = if field.is_true() {
            Vec::new()
        } else {
            field.one_or_more(|value| value.text().map(str::to_owned))?
        };
        Ok(HeaderMatch { name: name.to_owned(), values })
    };
    // Every header is read, so that every error is recorded.
    let headers: Vec<_> = field.entries()?.into_iter().map(header).collect();
    headers.into_iter().collect()
}
