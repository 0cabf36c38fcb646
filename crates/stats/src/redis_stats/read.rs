//! Requests for the statistics, and what the replies mean.

use std::{collections::HashMap, time::Duration};

use redis::{FromRedisValue, Pipeline, Value};
use sluice_core::Timestamp;
use sluice_store::{Fleet, StoreError};

use super::keys::StatsKeys;
use crate::{
    bounds::MAX_DEPLOYMENT_AGE,
    convert::{nearest, not_negative, unix_millis},
    fleet::{FleetStats, OpenConnections, ReplicaStats, TOP_LIMITED, top_limited},
    gauges::{GaugeKey, Gauges},
    slice::{SLICES, Slice},
    totals::Total,
};

/// Precedes an endpoint's name in the hash of endpoints, in the field of its requests.
pub(super) const REQUESTS: &str = "requests ";
/// The same for its denials.
pub(super) const REJECTED: &str = "rejected ";
/// The field of the totals for the time of the first flush, in ms.
pub(super) const SINCE: &str = "since";
/// The field of the totals for deployments without an id: starts less ends.
pub(super) const UNNAMED: &str = "deployment.unnamed";

/// How many replies [`request_gauges`] causes.
pub(super) const GAUGE_REPLIES: usize = 3;

/// How many clients are read from each time slice to find those denied most often in the hour. More
/// than are reported, since they differ from slice to slice.
const TOP_PER_SLICE: usize = 10 * TOP_LIMITED;

/// The server's time in microseconds, from the reply to `TIME`.
pub(super) fn time(reply: &Value) -> Option<i64> {
    let (seconds, micros): (i64, i64) = redis::from_redis_value(reply.clone()).ok()?;
    Some(seconds * 1_000_000 + micros)
}

/// Requests everything but the time slices.
pub(super) fn request_sums(keys: &StatsKeys, now: Timestamp) -> Pipeline {
    let mut pipeline = redis::pipe();
    for key in [&keys.totals, &keys.endpoints, &keys.replicas] {
        pipeline.cmd("HGETALL").arg(key);
    }
    request_gauges(&mut pipeline, keys, now);
    pipeline
}

/// Reads the replies to [`request_sums`].
pub(super) fn sums(replies: &[Value], now: Timestamp) -> Result<FleetStats, StoreError> {
    let [totals, endpoints, replicas, gauge_replies @ ..] = replies else {
        return Err(unreadable("the replies for the stats are incomplete"));
    };
    let mut stats = FleetStats { gauges: gauges(gauge_replies, now)?, ..FleetStats::default() };

    let numbers: HashMap<String, i64> = typed(totals)?;
    stats.since =
        numbers.get(SINCE).map(|ms| Timestamp::from_unix_micros(ms.saturating_mul(1_000)));
    for &total in Total::ALL {
        stats.totals.add(total, numbers.get(total.name()).copied().map_or(0, not_negative));
    }

    for (field, sum) in typed::<HashMap<String, i64>>(endpoints)? {
        if let Some(endpoint) = field.strip_prefix(REQUESTS) {
            stats.endpoints.entry(endpoint.into()).or_default().requests = not_negative(sum);
        } else if let Some(endpoint) = field.strip_prefix(REJECTED) {
            stats.endpoints.entry(endpoint.into()).or_default().rejected = not_negative(sum);
        }
    }

    for (id, text) in typed::<HashMap<String, String>>(replicas)? {
        let replica = replica(&text, now)
            .ok_or_else(|| unreadable("a replica's entry is not a list of numbers"))?;
        if replica.flushed_ago < Fleet::FORGOTTEN_AFTER {
            stats.replicas.insert(id.into(), replica);
        }
    }
    Ok(stats)
}

/// Requests what the time slices of the last hour contain, including that of each of `endpoints`.
pub(super) fn request_clients<'a>(
    keys: &StatsKeys,
    current: Slice,
    endpoints: impl Iterator<Item = &'a Box<str>>,
) -> Pipeline {
    let mut pipeline = redis::pipe();
    let mut count = |key: &dyn Fn(Slice) -> String| {
        let command = pipeline.cmd("PFCOUNT");
        for slice in current.last_hour() {
            command.arg(key(slice));
        }
    };
    count(&|slice| keys.clients(slice));
    count(&|slice| keys.limited(slice));
    for endpoint in endpoints {
        count(&|slice| keys.active(slice, endpoint));
    }
    for slice in current.last_hour() {
        pipeline
            .cmd("ZREVRANGE")
            .arg(keys.top(slice))
            .arg(0)
            .arg(TOP_PER_SLICE - 1)
            .arg("WITHSCORES");
    }
    pipeline
}

/// Reads the replies to [`request_clients`], for the endpoints of `stats`.
pub(super) fn clients(replies: &[Value], stats: &mut FleetStats) -> Result<(), StoreError> {
    let incomplete = || unreadable("the replies for the clients are incomplete");
    let [clients, limited, rest @ ..] = replies else { return Err(incomplete()) };
    stats.clients = not_negative(typed(clients)?);
    stats.limited_clients = not_negative(typed(limited)?);
    let (active, tops) = rest.split_at_checked(stats.endpoints.len()).ok_or_else(incomplete)?;
    if u64::try_from(tops.len()) != Ok(SLICES) {
        return Err(incomplete());
    }
    for (endpoint, reply) in stats.endpoints.values_mut().zip(active) {
        endpoint.active_clients = not_negative(typed(reply)?);
    }
    let mut denials: HashMap<Box<str>, u64> = HashMap::new();
    for reply in tops {
        for (client, count) in typed::<Vec<(String, f64)>>(reply)? {
            *denials.entry(client.into()).or_default() += nearest(count);
        }
    }
    stats.top_limited = top_limited(denials);
    Ok(())
}

/// Requests the gauges of the fleet, with [`GAUGE_REPLIES`] commands.
pub(super) fn request_gauges(pipeline: &mut Pipeline, keys: &StatsKeys, now: Timestamp) {
    let max_age = i64::try_from(MAX_DEPLOYMENT_AGE.as_millis()).unwrap_or(i64::MAX);
    let oldest = unix_millis(now) - max_age;
    pipeline.cmd("HGETALL").arg(&keys.gauges);
    pipeline.cmd("ZCOUNT").arg(&keys.running).arg(format!("({oldest}")).arg("+inf");
    pipeline.cmd("HGET").arg(&keys.totals).arg(UNNAMED);
}

/// Reads the replies to [`request_gauges`].
pub(super) fn gauges(replies: &[Value], now: Timestamp) -> Result<Gauges, StoreError> {
    let [reports, named, unnamed] = replies else {
        return Err(unreadable("the replies for the gauges are incomplete"));
    };
    let unnamed: Option<i64> = typed(unnamed)?;
    let mut gauges = Gauges {
        active_deployments: not_negative(typed(named)?) + unnamed.map_or(0, not_negative),
        ..Gauges::default()
    };
    for (key, report) in typed::<HashMap<String, String>>(reports)? {
        let (reported, value) =
            report.split_once(' ').ok_or_else(|| unreadable("a gauge has no value"))?;
        let (Ok(reported), Ok(value)) = (reported.parse::<i64>(), value.parse::<f64>()) else {
            return Err(unreadable("a gauge is not a number"));
        };
        let key = GaugeKey::from_stored(&key);
        if key.is_valid_after(age(reported, now)) {
            gauges.reported.insert(key, value);
        }
    }
    Ok(gauges)
}

fn replica(text: &str, now: Timestamp) -> Option<ReplicaStats> {
    let mut numbers = text.split(' ').map(|number| number.parse::<i64>().ok());
    let _last_flush = numbers.next()??;
    let flushed_ago = age(numbers.next()??, now);
    let mut count = || numbers.next().flatten().map(not_negative);
    let connections =
        OpenConnections { http: count()?, websocket: count()?, grpc: count()?, database: count()? };
    Some(ReplicaStats { connections, flushed_ago })
}

/// How long ago the instant `ms` was. After the clock has stepped back, an instant in the future
/// counts as now.
fn age(ms: i64, now: Timestamp) -> Duration {
    Duration::from_millis(not_negative(unix_millis(now).saturating_sub(ms)))
}

pub(super) fn typed<T: FromRedisValue>(reply: &Value) -> Result<T, StoreError> {
    redis::from_redis_value(reply.clone()).map_err(|error| {
        unreadable(&format!("the stats in Redis have an unexpected form: {error}"))
    })
}

pub(super) fn unreadable(what: &str) -> StoreError {
    StoreError::Unreadable { what: what.to_owned() }
}
