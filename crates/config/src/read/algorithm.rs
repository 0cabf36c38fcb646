//! How a general limit counts. The key that has its number names the algorithm:
//!
//! ```yaml
//! rate: 1000/minute          # a token bucket, with a `burst`
//! quota: 1_000_000/month     # a calendar window
//! at_most: 100 per 60s       # in any span of this length
//! concurrent: 20             # requests in flight
//! ```
//!
//! Beside `quota`: `timezone`, `anchor`, `smooth`, `count_denied` and `unsettled`. Beside
//! `concurrent`: `hold_for` and `on_lost`.

use std::time::Duration;

use sluice_core::{
    Algorithm, AtMost, Calendar, CalendarError, Concurrent, Counts, Metering, OnLost, Quota, Rate,
    RefillRate,
};

use super::{
    metering,
    number_key::{Key, OF_QUOTA},
    numbers,
};
use crate::{
    error::Refused,
    reader::{Field, Table},
    schema::Scalar,
    words::most_like,
};

/// How a limit counts.
pub(super) struct Counting {
    pub(super) algorithm: Algorithm,
    /// The rate of the second limit, which bounds how fast a quota is used up.
    pub(super) smooth: Option<Rate>,
}

/// Reads how a limit with this key counts; money in units of the currency. `metering` says what it
/// counts but requests; `None` where that could not be read.
pub(super) fn read(
    limit: &Table<'_>,
    key: Result<Key, Refused>,
    metering: Option<Option<Metering>>,
) -> Result<Counting, Refused> {
    let counts_money = metering.flatten().is_some_and(|read| read.counts == Counts::Money);
    // Every key is known, also where it does not belong.
    let [rate, quota, at_most, concurrent] = Key::ALL.map(|key| limit.field(key.name()));
    let burst = limit.field("burst");
    let of_quota = OF_QUOTA.map(|name| limit.field(name));
    let on_lost = limit.field("on_lost");
    let key = key?;
    let belongs = |owner: Key, field: &Field<'_>| match (owner, key) {
        _ if owner == key || !field.is_present() => Ok(()),
        (Key::Rate, Key::Quota) => Err(field.refuse(
            "belongs to `rate`, and this limit has `quota`: write `smooth: { rate: 100/second, \
             burst: 500 }` to bound how fast it is used up, or remove the key",
        )),
        _ => Err(field.refuse(format_args!(
            "belongs to `{}`, and this limit has `{}`: remove the key",
            owner.name(),
            key.name()
        ))),
    };
    let mut all_belong = belongs(Key::Rate, &burst);
    all_belong = all_belong.and(belongs(Key::Concurrent, &on_lost));
    for field in &of_quota {
        all_belong = all_belong.and(belongs(Key::Quota, field));
    }
    let counting = match key {
        Key::Rate => rate_and_burst(&rate, &burst, counts_money)
            .map(|rate| (Algorithm::TokenBucket(rate), None)),
        Key::Quota => {
            let [timezone, anchor, smooth, count_denied, unsettled] = &of_quota;
            let read = quota_of(&quota, [timezone, anchor, smooth, count_denied], counts_money);
            let releases = releases(unsettled, metering);
            read.and_then(|(quota, smooth)| {
                if quota.counts_denied() && metering.flatten().is_some() {
                    count_denied.warn(
                        "a request that is denied uses up its whole estimate, which no settlement \
                         gives back: a client that keeps asking uses up the quota without an \
                         answer. Remove the key, unless you mean that",
                    );
                }
                let quota = match releases? {
                    Some(hold_for) => {
                        quota.releasing(hold_for).map_err(|error| unsettled.refuse(error))?
                    }
                    None => quota,
                };
                Ok((Algorithm::Quota(quota), smooth))
            })
        }
        Key::AtMost => at_most
            .parse_as(Scalar::AtMost, |text| metering::per_period(text, counts_money))
            .map(|at_most| (Algorithm::AtMost(at_most), None)),
        Key::Concurrent => slots(&concurrent, &limit.field("hold_for"), &on_lost)
            .map(|slots| (Algorithm::Concurrent(slots), None)),
    };
    all_belong?;
    counting.map(|(algorithm, smooth)| Counting { algorithm, smooth })
}

/// Reads the rate and the burst, in units of the currency where the limit counts money.
fn rate_and_burst(
    rate: &Field<'_>,
    burst: &Field<'_>,
    counts_money: bool,
) -> Result<Rate, Refused> {
    let read_rate = rate.clone().required("write `rate: 60/minute`").and_then(|rate| {
        let scalar = if counts_money { Scalar::MoneyRate } else { Scalar::Rate };
        rate.parse_as(scalar, |text| {
            metering::per_period::<RefillRate>(text, counts_money).map_err(|error| {
                // A week, a month and a year are windows of the calendar.
                match metering::per_period::<Quota>(text, counts_money) {
                    Ok(_) => format!("{error}. For windows of the calendar, write `quota: {text}`"),
                    Err(_) => error,
                }
            })
        })
    });
    let read_burst = burst
        .clone()
        .required("write the most tokens that can be saved up, as in `burst: 10`")
        .and_then(
            |burst| {
                if counts_money { metering::money(&burst) } else { numbers::tokens(&burst) }
            },
        );
    numbers::check_rate(burst, read_rate?, read_burst?)
}

/// Reads a quota, and the rate that bounds how fast it is used up.
fn quota_of(
    quota: &Field<'_>,
    [timezone, anchor, smooth, count_denied]: [&Field<'_>; 4],
    counts_money: bool,
) -> Result<(Quota, Option<Rate>), Refused> {
    let read = quota.parse_as(Scalar::Quota, |text| {
        metering::per_period::<Quota>(text, counts_money).map_err(
            |error| match metering::per_period::<AtMost>(text, counts_money) {
                Ok(_) => format!("{error}. For a span of any length, write `at_most: {text}`"),
                Err(_) => error,
            },
        )
    });
    let zone = timezone.optional(|field| field.text().map(str::to_owned));
    let day = anchor.optional(|field| field.integer(1..=31));
    let counts_denied = count_denied.or(false, Field::bool);
    let smoothed = smooth.optional(|field| {
        if !field.is_table() {
            return Err(field.refuse("must be a table: write `{ rate: 5/second, burst: 10 }`"));
        }
        field.table(|table| {
            rate_and_burst(&table.field("rate"), &table.field("burst"), counts_money)
        })
    });
    let read = read?;
    let calendar = read.calendar().clone();
    let zoned = match zone? {
        Some(zone) => in_zone(timezone, &zone, calendar.clone()),
        None => Ok(calendar.clone()),
    };
    let anchored = match day? {
        Some(day) => {
            let day = u8::try_from(day).unwrap_or(u8::MAX);
            let zoned = zoned.as_ref().unwrap_or(&calendar).clone();
            zoned.anchored_at(day).map_err(|error| anchor.refuse(error))
        }
        None => zoned.clone(),
    };
    zoned?;
    let quota = read.with_calendar(anchored?);
    let quota = if counts_denied? { quota.counting_denied() } else { quota };
    Ok((quota, smoothed?))
}

/// Reads after what time a quota releases what is not settled; `None` if that stays used.
fn releases(
    unsettled: &Field<'_>,
    metering: Option<Option<Metering>>,
) -> Result<Option<Duration>, Refused> {
    let releases =
        unsettled.or(false, |field| field.choice(&[("charge", false), ("release", true)]))?;
    match metering {
        Some(Some(metering)) if releases => Ok(Some(metering.hold_for)),
        Some(None) if unsettled.is_present() => Err(unsettled.refuse(
            "what a limit of requests takes is final, so there is nothing to settle: write what \
             else it `counts`, as in `counts: total_tokens`, or remove the key",
        )),
        _ => Ok(None),
    }
}

fn in_zone(field: &Field<'_>, name: &str, calendar: Calendar) -> Result<Calendar, Refused> {
    calendar.in_zone(name).map_err(|error| {
        let names: Vec<String> = match error {
            CalendarError::UnknownZone { .. } => Calendar::zone_names().collect(),
            _ => Vec::new(),
        };
        match most_like(name, names.iter().map(String::as_str)) {
            Some(meant) => field.refuse(format_args!("{error} (did you mean `{meant}`?)")),
            None => field.refuse(error),
        }
    })
}

/// Reads how many requests may be in flight, for how long a slot is kept that is not renewed, and
/// what happens to a request whose slot is lost.
fn slots(
    concurrent: &Field<'_>,
    hold_for: &Field<'_>,
    on_lost: &Field<'_>,
) -> Result<Concurrent, Refused> {
    let slots = concurrent.integer(1..=Concurrent::MAX_SLOTS.into());
    let term = hold_for.or(Concurrent::DEFAULT_TERM, |field| {
        field.duration(Concurrent::MIN_TERM..=Concurrent::MAX_TERM)
    });
    let on_lost = on_lost.or(OnLost::default(), |field| {
        field.choice(&[("finish", OnLost::Finish), ("cut", OnLost::Cut)])
    });
    let slots = Concurrent::new(slots?).map_err(|error| concurrent.refuse(error))?;
    let slots = slots.with_term(term?).map_err(|error| hold_for.refuse(error))?;
    Ok(slots.with_on_lost(on_lost?))
}
