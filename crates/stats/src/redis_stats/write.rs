//! A flush as Redis commands.

use redis::{Cmd, Pipeline};
use sluice_core::{Tag, Timestamp};
use sluice_store::RedisScript;

use super::{
    history::{amount, day_lifetime_ms, keys_of_days},
    keys::StatsKeys,
    packed::{PackedStrings, addend},
    read::{REJECTED, REQUESTS, UNNAMED, request_gauges},
};
use crate::{
    bounds::{
        MAX_DEPLOYMENT_AGE, MAX_DEPLOYMENTS, MAX_ENDPOINTS, MAX_FOLDED_SUMS_PER_DAY, MAX_GAUGES,
        MAX_RUNNING, MAX_SUMS_PER_DAY, MAX_TOP_PER_SLICE, MEMORY_OF_ENDS, REPORT_LIFETIME,
        START_TOLERANCE,
    },
    convert::{store_time, unix_millis},
    fleet::OpenConnections,
    flush::{Deltas, DeploymentPhase, Flush},
    history::Hour,
    running::{Running, RunningChange},
    slice::{SLICE, SLICES, Slice},
    totals::Total,
};

const SOURCE: &str = include_str!("../../../../lua/stats.lua");
const DIGEST: &str = "87d4da8a0f18c0659e650f5583b93f4b84f9000f";

/// Adds a flush to the statistics, once.
pub(super) static SCRIPT: RedisScript = RedisScript::new(SOURCE, DIGEST);

/// Clients in one command, which keeps the server busy for some tens of microseconds.
const CLIENTS_PER_COMMAND: usize = 500;
/// How many of the clients denied in one flush have their denials counted. All of them are counted
/// as distinct clients.
const TOP_PER_FLUSH: usize = 200;

/// The commands that add `flush`. The first reply is the time, the last are the gauges.
pub(super) fn flush(keys: &StatsKeys, flush: &Flush, now: Timestamp) -> Pipeline {
    let slice = Slice::at(now);
    let mut pipeline = redis::pipe();
    pipeline.cmd("TIME");
    pipeline.add_command(
        SCRIPT.command_by_digest(|command| script_arguments(command, keys, flush, now, slice)),
    );
    let lifetime = SLICE.as_secs() * (SLICES + 1);
    let mut count = |key: String, clients: &[Tag]| {
        for chunk in clients.chunks(CLIENTS_PER_COMMAND) {
            let command = pipeline.cmd("PFADD").arg(&key);
            for client in chunk {
                command.arg(client.to_bytes().as_slice());
            }
        }
        if !clients.is_empty() {
            pipeline.cmd("EXPIRE").arg(&key).arg(lifetime);
        }
    };
    for (endpoint, more) in &flush.deltas.endpoints {
        count(keys.clients(slice), &more.clients);
        count(keys.active(slice, endpoint), &more.clients);
    }
    let limited: Vec<Tag> = flush.deltas.limited.keys().copied().collect();
    count(keys.limited(slice), &limited);
    request_gauges(&mut pipeline, keys, now);
    pipeline
}

/// What `lua/stats.lua` lists in its header.
fn script_arguments(
    command: &mut Cmd,
    keys: &StatsKeys,
    flush: &Flush,
    now: Timestamp,
    slice: Slice,
) {
    let StatsKeys {
        replicas, totals, endpoints, gauges, running, finished, priced, deleted, ..
    } = keys;
    let top = keys.top(slice);
    let [today, yesterday] = &keys_of_days(keys, now);
    let names = [
        replicas, totals, endpoints, gauges, running, finished, &top, today, yesterday, priced,
        deleted,
    ];
    command.arg(names.len()).arg(&names);
    let OpenConnections { http, websocket, grpc, database } = flush.connections;
    command
        .arg(&*flush.replica)
        .arg(flush.number)
        .arg(format!("{http} {websocket} {grpc} {database}"))
        .arg(unix_millis(now));
    // Each endpoint has two fields.
    command.arg(2 * MAX_ENDPOINTS).arg(MAX_GAUGES).arg(MAX_DEPLOYMENTS).arg(MAX_TOP_PER_SLICE);
    let lifetime = SLICE * u32::try_from(SLICES + 1).unwrap_or(u32::MAX);
    for span in [lifetime, REPORT_LIFETIME, MAX_DEPLOYMENT_AGE, MEMORY_OF_ENDS, START_TOLERANCE] {
        command.arg(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    }
    command.arg(MAX_SUMS_PER_DAY).arg(MAX_FOLDED_SUMS_PER_DAY).arg(day_lifetime_ms());
    command.arg(MAX_RUNNING);
    let mut lists = PackedStrings::default();
    add_totals(&mut lists, &flush.deltas);
    add_endpoints(&mut lists, &flush.deltas);
    add_deployments(&mut lists, &flush.deltas, now);
    add_gauges(&mut lists, &flush.deltas, now);
    add_top(&mut lists, &flush.deltas);
    add_history(&mut lists, &flush.deltas, now);
    add_running(&mut lists, &flush.deltas, now);
    command.arg(lists.finish());
}

fn add_totals(lists: &mut PackedStrings, deltas: &Deltas) {
    let totals: Vec<(Total, u64)> =
        deltas.totals.iter().filter(|(_, amount)| *amount > 0).collect();
    let unnamed: i64 = deltas
        .deployments
        .iter()
        .filter(|change| change.id.is_none())
        .map(|change| match change.phase {
            DeploymentPhase::Started => 1,
            DeploymentPhase::Finished => -1,
        })
        .sum();
    lists.push(totals.len() + usize::from(unnamed != 0));
    for (total, amount) in totals {
        lists.push(total.name()).push(addend(amount));
    }
    if unnamed != 0 {
        lists.push(UNNAMED).push(unnamed);
    }
}

fn add_endpoints(lists: &mut PackedStrings, deltas: &Deltas) {
    let fields = deltas.endpoints.iter().flat_map(|(endpoint, more)| {
        [(REQUESTS, endpoint, more.requests), (REJECTED, endpoint, more.rejected)]
    });
    let fields: Vec<_> = fields.filter(|(_, _, amount)| *amount > 0).collect();
    lists.push(fields.len());
    for (kind, endpoint, amount) in fields {
        lists.push(format!("{kind}{endpoint}")).push(addend(amount));
    }
}

fn add_deployments(lists: &mut PackedStrings, deltas: &Deltas, now: Timestamp) {
    let named = deltas.deployments.iter();
    let named: Vec<_> =
        named.filter_map(|change| change.id.as_deref().map(|id| (id, change))).collect();
    lists.push(named.len());
    for (id, change) in named {
        let phase = match change.phase {
            DeploymentPhase::Started => "started",
            DeploymentPhase::Finished => "finished",
        };
        lists.push(id).push(phase).push(unix_millis(store_time(now, change.at)));
    }
}

fn add_gauges(lists: &mut PackedStrings, deltas: &Deltas, now: Timestamp) {
    lists.push(deltas.gauges.len());
    for (key, report) in &deltas.gauges {
        let value = report.value.map(|value| value.to_string()).unwrap_or_default();
        lists.push(key.as_str()).push(unix_millis(store_time(now, report.at))).push(value);
    }
}

fn add_top(lists: &mut PackedStrings, deltas: &Deltas) {
    let mut top: Vec<(&Tag, &u64)> = deltas.limited.iter().collect();
    if top.len() > TOP_PER_FLUSH {
        top.select_nth_unstable_by(TOP_PER_FLUSH, |(_, a), (_, b)| b.cmp(a));
        top.truncate(TOP_PER_FLUSH);
    }
    lists.push(top.len());
    for (client, denials) in top {
        lists.push(client.to_string()).push(denials);
    }
}

fn add_history(lists: &mut PackedStrings, deltas: &Deltas, now: Timestamp) {
    lists.push(deltas.history.iter().map(|period| period.sums.len()).sum::<usize>());
    for period in &deltas.history {
        let hour = Hour::for_amount(store_time(now, period.at), now);
        for (series, added) in &period.sums {
            amount(lists, hour, series, *added, now);
        }
    }
}

fn add_running(lists: &mut PackedStrings, deltas: &Deltas, now: Timestamp) {
    lists.push(deltas.running.len());
    for RunningChange { id, at, created } in &deltas.running {
        let at = unix_millis(store_time(now, *at));
        let state = created.clone().map(|price| Running::new(at, price).to_text());
        lists.push(id).push(at).push(state.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_script_is_a_deliberate_change() {
        assert_eq!(
            redis::Script::new(SOURCE).get_hash(),
            DIGEST,
            "stats.lua was changed. Can older replicas still read what it writes? \
             Then pin the new digest"
        );
    }
}
