//! `limits`, the general form:
//!
//! ```yaml
//! - name: org-writes
//!   when: { path: /api/**, method: [POST, PUT], header: { x-plan: [gold, silver] }, tier: pro }
//!   per: header:x-org          # client | ip | header:NAME | nothing
//!   rate: 1000/minute          # or another number that `algorithm` reads
//!   burst: 200
//!   cost: header:x-tokens      # or a number; else the request's own
//!   counts: requests           # or what `metering` reads
//!   mode: enforce              # enforce | shadow | off
//!   on_store_failure: local    # local | allow | deny | error
//! ```

use sluice_core::{
    Algorithm, Cost, HeaderMatch, Limit, LimitField, Location, Mode, OnLost, OnStoreFailure, Per,
    Rate, RefillRate, Rule, RuleCost, Terms, When,
};

use super::{
    algorithm::{self, Counting},
    metering,
    number_key::Key,
    numbers,
    places::Places,
    uncounted::WrittenLimit,
};
use crate::{error::Refused, reader::Field};

/// What the name of the limit ends with that bounds how fast a quota is used up.
const SMOOTH: &str = ":smooth";

/// Reads the general limits, in order: those of the policy, and those that are written.
pub(super) fn read(
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    places: &mut Places,
) -> (Vec<Rule>, Vec<WrittenLimit>) {
    let (mut rules, mut written) = (Vec::new(), Vec::new());
    let read = field.items(|item| {
        let (rule, smooth) = rule(rules.len(), item, on_store_failure, places);
        written.push(WrittenLimit { place: item.place(), rule: rule.clone() });
        rules.push(rule);
        rules.extend(smooth);
        Ok(())
    });
    // What was refused has been recorded.
    drop(read);
    (rules, written)
}

/// Where the parts of one limit are noted: a limit with `smooth` is two limits of the policy.
struct LimitPlaces<'p> {
    places: &'p mut Places,
    index: usize,
    is_smooth: bool,
}

impl LimitPlaces<'_> {
    fn note(&mut self, part: LimitField, field: &Field<'_>) {
        let index = self.index;
        if self.is_smooth {
            self.places.note(Location::Limit { index: index + 1, field: part.clone() }, field);
        }
        self.places.note(Location::Limit { index, field: part }, field);
    }

    /// Notes where the second limit comes from.
    fn note_smooth(&mut self, smooth: &Field<'_>) {
        if self.is_smooth {
            let at = Location::Limit { index: self.index + 1, field: LimitField::Name };
            self.places.note(at, smooth);
        }
    }
}

/// Reads a limit, and the second one of a limit with `smooth`. In place of a part that was refused
/// stands one that causes no further error.
fn rule(
    index: usize,
    field: &Field<'_>,
    on_store_failure: OnStoreFailure,
    places: &mut Places,
) -> (Rule, Option<Rule>) {
    let placeholder =
        || Rule::new(field.path().to_string(), Algorithm::TokenBucket(smallest_rate()));
    let mut places = LimitPlaces { places, index, is_smooth: false };
    places.note(LimitField::Name, field);
    let rule = field.table(|limit| {
        let (name, per, cost) = (limit.field("name"), limit.field("per"), limit.field("cost"));
        let smooth_field = limit.field("smooth");
        places.is_smooth = smooth_field.is_present();
        places.note(LimitField::Whole, field);
        for (part, field) in
            [(LimitField::Name, &name), (LimitField::Per, &per), (LimitField::Cost, &cost)]
        {
            places.note(part, field);
        }
        places.note_smooth(&smooth_field);
        let name = name
            .required("every limit needs a name of its own")
            .and_then(|name| name.text().map(str::to_owned));
        let when = limit.field("when").or(When::default(), |field| when(field, &mut places));
        let per = per.or(Per::Client, |field| field.parse_with(read_per));
        let key = Key::of(limit);
        let metering = metering::read(limit, key.ok());
        let counting = algorithm::read(limit, key, metering.as_ref().ok().copied());
        let (algorithm, smooth) = match counting {
            Ok(Counting { algorithm, smooth }) => (Ok(algorithm), smooth),
            Err(refused) => (Err(refused), None),
        };
        let terms = numbers::terms(limit, algorithm, on_store_failure)
            .and_then(|terms| Ok(terms.metering(metering?)));
        let cost = cost.or(RuleCost::Request, read_cost);
        let mut rule = placeholder();
        if let Ok(name) = name {
            rule.name = name;
        }
        rule.when = when.unwrap_or_default();
        rule.per = per.unwrap_or_default();
        let mut smoothing = None;
        if let Ok(terms) = terms {
            warn_if_cut_in_shadow(&limit.field("on_lost"), &terms);
            rule.terms = terms;
            // Only with the limit's own numbers can a cost above them be found.
            rule.cost = cost.unwrap_or_default();
            smoothing = smooth.and_then(|rate| smoothing_of(&rule, rate));
        }
        Ok((rule, smoothing))
    });
    rule.unwrap_or_else(|_| (placeholder(), None))
}

/// Warns of a limit that is to cut requests and never does.
fn warn_if_cut_in_shadow(on_lost: &Field<'_>, terms: &Terms) {
    if let Algorithm::Concurrent(concurrent) = &terms.algorithm
        && concurrent.on_lost() == OnLost::Cut
        && terms.mode == Mode::Shadow
    {
        on_lost.warn("has no effect: a limit in shadow mode never cuts a request");
    }
}

/// Returns the limit that bounds how fast the quota of `rule` is used up; `None` where the name of
/// the rule is no name.
fn smoothing_of(rule: &Rule, rate: Rate) -> Option<Rule> {
    let algorithm = Algorithm::TokenBucket(rate);
    Limit::new(&rule.name, algorithm.clone()).ok()?;
    let mut smooth = rule.clone();
    smooth.name.push_str(SMOOTH);
    smooth.terms.algorithm = algorithm;
    Some(smooth)
}

/// A rate that no tier's factor makes impossible.
fn smallest_rate() -> Rate {
    let rate = RefillRate::per_minute(1).expect("one token per minute is a rate");
    Rate::new(rate, 1).expect("one token comes back within a minute")
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

fn when(field: &Field<'_>, places: &mut LimitPlaces<'_>) -> Result<When, Refused> {
    field.table(|when| {
        let mut texts = |name, part: fn(usize) -> LimitField| {
            let mut entry = 0;
            when.field(name).or(Vec::new(), |field| {
                warn_if_empty(field);
                field.one_or_more(|item| {
                    places.note(part(entry), item);
                    entry += 1;
                    item.text().map(str::to_owned)
                })
            })
        };
        let paths = texts("path", LimitField::Path);
        let methods = texts("method", LimitField::Method);
        let tiers = texts("tier", LimitField::Tier);
        let headers = when.field("header").or(Vec::new(), |field| headers(field, places));
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
fn headers(field: &Field<'_>, places: &mut LimitPlaces<'_>) -> Result<Vec<HeaderMatch>, Refused> {
    let mut entry = 0;
    let mut note = |field: &Field<'_>| {
        places.note(LimitField::Header(entry), field);
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
