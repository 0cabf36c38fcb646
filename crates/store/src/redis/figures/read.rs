//! The figures, read back.

use std::{collections::HashMap, time::Duration};

use redis::{FromRedisValue, Pipeline, Value};
use sluice_core::Timestamp;

use super::{
    unreadable,
    write::{self, GAUGE_ANSWERS, REJECTED, REQUESTS, millis},
};
use crate::{
    StoreError,
    figures::{
        FleetFigures, GaugeKey, Gauges, Held, ReplicaFigures, SLICES, Slice, TOP_TOLD, Total,
        Totals, most,
    },
    fleet::FORGOTTEN_AFTER,
    redis::keys::Keys,
};

/// How many clients of a slice are looked at for those limited most: more than are told, as they
/// differ from slice to slice.
const TOP_OF_A_SLICE: usize = 10 * TOP_TOLD;

/// The server's time in microseconds, from the answer to `TIME`.
pub(super) fn time(answer: &Value) -> Option<i64> {
    let (seconds, micros): (i64, i64) = redis::from_redis_value(answer.clone()).ok()?;
    Some(seconds * 1_000_000 + micros)
}

/// Asks for all that has names of its own.
pub(super) fn first(keys: &Keys, now: Timestamp) -> Pipeline {
    let mut pipeline = redis::pipe();
    for name in ["totals", "endpoints", "replicas"] {
        pipeline.cmd("HGETALL").arg(keys.figures(name));
    }
    write::add_gauge_commands(&mut pipeline, keys, now);
    pipeline
}

/// Reads the answers to [`first`].
pub(super) fn read_first(answers: &[Value], now: Timestamp) -> Result<FleetFigures, StoreError> {
    let [totals, endpoints, replicas, gauge_answers @ ..] = answers else {
        return Err(unreadable("figures lack answers"));
    };
    let mut figures =
        FleetFigures { gauges: gauges(gauge_answers, now)?, ..FleetFigures::default() };

    let numbers: HashMap<String, i64> = typed(totals)?;
    figures.since =
        numbers.get("since").map(|ms| Timestamp::from_unix_micros(ms.saturating_mul(1_000)));
    let mut totals = Totals::default();
    for &total in Total::ALL {
        totals.add(total, numbers.get(total.name()).copied().map_or(0, natural));
    }
    figures.totals = totals;

    for (field, sum) in typed::<HashMap<String, i64>>(endpoints)? {
        if let Some(endpoint) = field.strip_prefix(REQUESTS) {
            figures.endpoints.entry(endpoint.into()).or_default().requests = natural(sum);
        } else if let Some(endpoint) = field.strip_prefix(REJECTED) {
            figures.endpoints.entry(endpoint.into()).or_default().rejected = natural(sum);
        }
    }

    for (id, text) in typed::<HashMap<String, String>>(replicas)? {
        let replica = replica(&text, now)
            .ok_or_else(|| unreadable("what a replica holds is no list of numbers"))?;
        if replica.told_ago < FORGOTTEN_AFTER {
            figures.replicas.insert(id.into(), replica);
        }
    }
    Ok(figures)
}

/// Asks for what the slices hold, with that of each of `endpoints`.
pub(super) fn second<'a>(
    keys: &Keys,
    slice: Slice,
    endpoints: impl Iterator<Item = &'a Box<str>>,
) -> Pipeline {
    let mut pipeline = redis::pipe();
    for name in ["clients", "limited"] {
        let command = pipeline.cmd("PFCOUNT");
        for slice in slice.looked_at() {
            command.arg(keys.figures(&format!("{name}:{}", slice.number())));
        }
    }
    for slice in slice.looked_at() {
        pipeline
            .cmd("ZREVRANGE")
            .arg(keys.figures(&format!("top:{}", slice.number())))
            .arg(0)
            .arg(TOP_OF_A_SLICE - 1)
            .arg("WITHSCORES");
    }
    for endpoint in endpoints {
        let command = pipeline.cmd("PFCOUNT");
        for slice in slice.looked_at() {
            command.arg(write::active(keys, slice, endpoint));
        }
    }
    pipeline
}

/// Reads the answers to [`second`] into `figures`.
pub(super) fn read_second(answers: &[Value], figures: &mut FleetFigures) -> Result<(), StoreError> {
    let [clients, limited, rest @ ..] = answers else {
        return Err(unreadable("figures lack answers"));
    };
    figures.clients = natural(typed(clients)?);
    figures.limited_clients = natural(typed(limited)?);
    let slices = usize::try_from(SLICES).unwrap_or(usize::MAX);
    let Some((tops, active)) = rest.split_at_checked(slices) else {
        return Err(unreadable("figures lack answers"));
    };
    let mut top: HashMap<Box<str>, u64> = HashMap::new();
    for answer in tops {
        for (client, times) in typed::<Vec<(String, f64)>>(answer)? {
            *top.entry(client.into()).or_default() += whole(times);
        }
    }
    figures.top_limited = most(top.into_iter());
    for (endpoint, answer) in figures.endpoints.values_mut().zip(active) {
        endpoint.active_clients = natural(typed(answer)?);
    }
    Ok(())
}

/// Reads the answers to [`write::add_gauge_commands`].
pub(super) fn gauges(answers: &[Value], now: Timestamp) -> Result<Gauges, StoreError> {
    let [reports, named, unnamed] = answers else {
        return Err(unreadable(&format!("gauges are {GAUGE_ANSWERS} answers")));
    };
    let unnamed: Option<i64> = typed(unnamed)?;
    let mut gauges = Gauges {
        active_deployments: natural(typed(named)?) + unnamed.map_or(0, natural),
        ..Gauges::default()
    };
    for (key, report) in typed::<HashMap<String, String>>(reports)? {
        let (said, value) =
            report.split_once(' ').ok_or_else(|| unreadable("a gauge has no value"))?;
        let (Ok(said), Ok(value)) = (said.parse::<i64>(), value.parse::<f64>()) else {
            return Err(unreadable("a gauge is no number"));
        };
        let key = GaugeKey::from_stored(&key);
        if key.holds_after(age(said, now)) {
            gauges.reported.insert(key, value);
        }
    }
    Ok(gauges)
}

fn replica(text: &str, now: Timestamp) -> Option<ReplicaFigures> {
    let mut numbers = text.split(' ').map(|number| number.parse::<i64>().ok());
    let _last_flush = numbers.next()??;
    let told_ago = age(numbers.next()??, now);
    let mut held = || numbers.next().flatten().map(natural);
    Some(ReplicaFigures {
        held: Held { http: held()?, websocket: held()?, grpc: held()?, database: held()? },
        told_ago,
    })
}

/// How long ago something was at `ms`; a clock that stepped back shows things from the future,
/// which were just now.
fn age(ms: i64, now: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(millis(now).saturating_sub(ms)).unwrap_or(0))
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest number that there is"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

fn typed<T: FromRedisValue>(answer: &Value) -> Result<T, StoreError> {
    redis::from_redis_value(answer.clone())
        .map_err(|error| unreadable(&format!("the figures are not as they were written: {error}")))
}
