//! A flush as commands.

use std::time::Duration;

use redis::{Cmd, Pipeline};
use sluice_core::{Tag, Timestamp};

use crate::{
    figures::{
        Deltas, Flush, Held, LATE_START, MAX_DEPLOYMENT_AGE, MAX_ENDPOINTS, MAX_GAUGES, MAX_TOP,
        Phase, REPORT_KEPT, SLICE, SLICES, Slice, Total, at,
    },
    redis::{keys::Keys, scripts},
};

/// The answers at the end of a flush that tell the gauges of the fleet.
pub(super) const GAUGE_ANSWERS: usize = 3;

/// Clients in one command: it holds the server up for some tens of microseconds.
const CHUNK: usize = 500;
/// The most limited clients of one flush that are counted each by itself; all are counted as
/// distinct.
const TOP_OF_A_FLUSH: usize = 200;
/// Deployments that are remembered by id.
const MAX_DEPLOYMENTS: usize = 10_000;
/// The end of a deployment, and the number of a silent replica's last flush, are remembered for as
/// long.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// What stands before an endpoint's name in the hash of endpoints.
pub(super) const REQUESTS: &str = "requests ";
/// Likewise.
pub(super) const REJECTED: &str = "rejected ";
/// Deployments without an id: those started less those finished.
pub(super) const UNNAMED: &str = "deployment.unnamed";

/// The commands that add `flush`: first the time, last the gauges.
pub(super) fn pipeline(keys: &Keys, flush: &Flush, now: Timestamp) -> Pipeline {
    let slice = Slice::at(now);
    let mut pipeline = redis::pipe();
    pipeline.cmd("TIME");
    pipeline.add_command(
        scripts::FIGURES
            .command_by_digest(|command| script_arguments(command, keys, flush, now, slice)),
    );
    let kept = SLICE.as_secs() * (SLICES + 1);
    let mut count = |key: String, clients: &[Tag]| {
        for chunk in clients.chunks(CHUNK) {
            let command = pipeline.cmd("PFADD").arg(&key);
            for client in chunk {
                command.arg(client.to_bytes().as_slice());
            }
        }
        if !clients.is_empty() {
            pipeline.cmd("EXPIRE").arg(&key).arg(kept);
        }
    };
    for (endpoint, more) in &flush.deltas.endpoints {
        count(keys.figures(&format!("clients:{}", slice.number())), &more.clients);
        count(active(keys, slice, endpoint), &more.clients);
    }
    let limited: Vec<Tag> = flush.deltas.limited.keys().copied().collect();
    count(keys.figures(&format!("limited:{}", slice.number())), &limited);
    add_gauge_commands(&mut pipeline, keys, now);
    pipeline
}

/// Asks for the gauges of the fleet, with [`GAUGE_ANSWERS`] answers.
pub(super) fn add_gauge_commands(pipeline: &mut Pipeline, keys: &Keys, now: Timestamp) {
    let oldest = millis(now) - i64::try_from(MAX_DEPLOYMENT_AGE.as_millis()).unwrap_or(i64::MAX);
    pipeline.cmd("HGETALL").arg(keys.figures("gauges"));
    pipeline.cmd("ZCOUNT").arg(keys.figures("running")).arg(format!("({oldest}")).arg("+inf");
    pipeline.cmd("HGET").arg(keys.figures("totals")).arg(UNNAMED);
}

/// The key of an endpoint's clients.
pub(super) fn active(keys: &Keys, slice: Slice, endpoint: &str) -> String {
    keys.figures(&format!("active:{}:{endpoint}", slice.number()))
}

fn script_arguments(command: &mut Cmd, keys: &Keys, flush: &Flush, now: Timestamp, slice: Slice) {
    let top = format!("top:{}", slice.number());
    let names = ["replicas", "totals", "endpoints", "gauges", "running", "finished", &top];
    command.arg(names.len());
    for name in names {
        command.arg(keys.figures(name));
    }
    let Held { http, websocket, grpc, database } = flush.held;
    command
        .arg(&*flush.replica)
        .arg(flush.number)
        .arg(format!("{http} {websocket} {grpc} {database}"))
        .arg(millis(now));
    // Each endpoint has two fields.
    command.arg(2 * MAX_ENDPOINTS).arg(MAX_GAUGES).arg(MAX_DEPLOYMENTS).arg(MAX_TOP);
    let kept = SLICE * u32::try_from(SLICES + 1).unwrap_or(u32::MAX);
    for span in [kept, REPORT_KEPT, MAX_DEPLOYMENT_AGE, REMEMBERED, LATE_START] {
        command.arg(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    }
    lists(command, &flush.deltas, now);
}

fn lists(command: &mut Cmd, deltas: &Deltas, now: Timestamp) {
    let unnamed: i64 = deltas
        .deployments
        .iter()
        .filter(|change| change.id.is_none())
        .map(|change| step(change.phase))
        .sum();
    let totals: Vec<(Total, u64)> =
        deltas.totals.iter().filter(|(_, amount)| *amount > 0).collect();
    command.arg(totals.len() + usize::from(unnamed != 0));
    for (total, amount) in totals {
        command.arg(total.name()).arg(addend(amount));
    }
    if unnamed != 0 {
        command.arg(UNNAMED).arg(unnamed);
    }

    let sums = deltas.endpoints.iter().flat_map(|(endpoint, more)| {
        [(REQUESTS, endpoint, more.requests), (REJECTED, endpoint, more.rejected)]
            .into_iter()
            .filter(|(_, _, amount)| *amount > 0)
    });
    let sums: Vec<_> = sums.collect();
    command.arg(sums.len());
    for (what, endpoint, amount) in sums {
        command.arg(format!("{what}{endpoint}")).arg(addend(amount));
    }

    let named: Vec<_> = deltas
        .deployments
        .iter()
        .filter_map(|change| change.id.as_ref().map(|id| (id, change)))
        .collect();
    command.arg(named.len());
    for (id, change) in named {
        let phase = match change.phase {
            Phase::Started => "started",
            Phase::Finished => "finished",
        };
        command.arg(&**id).arg(phase).arg(millis(at(now, change.at)));
    }

    command.arg(deltas.gauges.len());
    for (key, report) in &deltas.gauges {
        let value = report.value.map(|value| value.to_string()).unwrap_or_default();
        command.arg(key.as_str()).arg(millis(at(now, report.at))).arg(value);
    }

    let mut top: Vec<(&Tag, &u64)> = deltas.limited.iter().collect();
    if top.len() > TOP_OF_A_FLUSH {
        top.select_nth_unstable_by(TOP_OF_A_FLUSH, |(_, a), (_, b)| b.cmp(a));
        top.truncate(TOP_OF_A_FLUSH);
    }
    command.arg(top.len());
    for (client, times) in top {
        command.arg(client.to_string()).arg(times);
    }
}

/// What Redis can add: it counts in signed numbers.
fn addend(amount: u64) -> u64 {
    amount.min(i64::MAX.unsigned_abs())
}

const fn step(phase: Phase) -> i64 {
    match phase {
        Phase::Started => 1,
        Phase::Finished => -1,
    }
}

/// Whole milliseconds since the Unix epoch.
pub(super) const fn millis(time: Timestamp) -> i64 {
    time.unix_micros().div_euclid(1_000)
}
