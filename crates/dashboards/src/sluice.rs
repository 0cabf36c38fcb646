//! "Sluice": how the limiter itself does.

use crate::{
    layout::{Section, arrange},
    model::{Annotations, Dashboard, Link, Panel, Templating, TimeRange, Unit, Variable},
    query::Scope,
};

const FLEET: Scope = Scope::JOB;
const CHOSEN: Scope = Scope::INSTANCE;

/// The dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "sluice",
        title: "Sluice",
        description: "How the limiter itself does: its decisions, the time they take, its store, its replicas and their configuration.",
        tags: vec!["sluice"],
        timezone: "browser",
        schema_version: 39,
        version: 1,
        editable: true,
        graph_tooltip: 1,
        refresh: "10s",
        time: TimeRange { from: "now-1h", to: "now" },
        templating: Templating {
            list: vec![
                Variable::datasource(),
                Variable::label("job", "Job", "sluice_build_info"),
                Variable::label("instance", "Replica", r#"sluice_build_info{job=~"$job"}"#),
            ],
        },
        annotations: Annotations::default(),
        links: vec![Link::to_tagged("ALMA Metrics", "alma")],
        panels: arrange(vec![
            Section { heading: "At a glance", width: 4, height: 4, panels: glance() },
            Section { heading: "Decisions", width: 12, height: 8, panels: decisions() },
            Section { heading: "Time to a decision", width: 12, height: 8, panels: latency() },
            Section { heading: "Store", width: 8, height: 8, panels: store() },
            Section { heading: "Replicas", width: 8, height: 8, panels: replicas() },
        ]),
    }
}

fn glance() -> Vec<Panel> {
    vec![
        Panel::stat("Decisions", "Decisions per second; a check of several limits counts once for each.")
            .unit(Unit::OperationsPerSecond)
            .query("", format!("sum({})", CHOSEN.rate("sluice_decisions_total", ""))),
        Panel::stat("Denied", "The share of decisions that deny.")
            .unit(Unit::Share)
            .decimals(1)
            .query("", CHOSEN.share("sluice_decisions_total", r#"outcome="denied""#)),
        Panel::stat("Check, P99", "99 of 100 checks are decided within this time.")
            .unit(Unit::Seconds)
            .thresholds(&[(0.005, "yellow"), (0.01, "red")])
            .query("", CHOSEN.quantile(0.99, "sluice_check_duration_seconds", &[])),
        Panel::stat("Decided without the store", "The share of decisions that a replica took alone, since the store could not be asked.")
            .unit(Unit::Share)
            .decimals(1)
            .thresholds(&[(0.001, "yellow"), (0.01, "red")])
            .query("", CHOSEN.share("sluice_decisions_total", r#"source="local""#)),
        Panel::stat(
            "Replicas without store",
            "Replicas whose breaker is not closed: they do not ask the store, or are about to try it again.",
        )
        .thresholds(&[(1.0, "red")])
        .query("", format!("sum({})", CHOSEN.series("sluice_store_breaker_state", r#"state!="closed""#))),
        Panel::stat("Replicas", "Replicas of the fleet that are alive, as they know of each other.")
            .query("", FLEET.of_fleets("sluice_replicas_live", "", &[])),
    ]
}

fn decisions() -> Vec<Panel> {
    let by_limit = |outcome: &str| {
        format!(
            "topk(10, sum by (limit) ({}))",
            CHOSEN.rate("sluice_decisions_total", &format!(r#"outcome="{outcome}""#))
        )
    };
    vec![
        Panel::time_series("Decisions by outcome", "What the limits said.")
            .unit(Unit::OperationsPerSecond)
            .stacked()
            .query("{{outcome}}", format!("sum by (outcome) ({})", CHOSEN.rate("sluice_decisions_total", ""))),
        Panel::time_series(
            "Decisions by source",
            "Who said it: the store, a lease or a known denial in the replica, or the replica alone while the store was away.",
        )
        .unit(Unit::OperationsPerSecond)
        .stacked()
        .query("{{source}}", format!("sum by (source) ({})", CHOSEN.rate("sluice_decisions_total", ""))),
        Panel::time_series("Denials by limit", "The ten limits that deny most.")
            .unit(Unit::OperationsPerSecond)
            .query("{{limit}}", by_limit("denied")),
        Panel::time_series("Denials in shadow mode, by limit", "The ten limits that would deny most if they were enforced.")
            .unit(Unit::OperationsPerSecond)
            .query("{{limit}}", by_limit("shadow_denied")),
    ]
}

fn latency() -> Vec<Panel> {
    vec![
        Panel::time_series(
            "Check",
            "Half of the checks, 99 of 100 and 999 of 1,000 are decided within these times.",
        )
        .unit(Unit::Seconds)
        .query("P50", CHOSEN.quantile(0.5, "sluice_check_duration_seconds", &[]))
        .query("P99", CHOSEN.quantile(0.99, "sluice_check_duration_seconds", &[]))
        .query("P99.9", CHOSEN.quantile(0.999, "sluice_check_duration_seconds", &[])),
        Panel::time_series(
            "Check by source, P99",
            "99 of 100 checks are decided within this time, by who decided.",
        )
        .unit(Unit::Seconds)
        .query("{{source}}", CHOSEN.quantile(0.99, "sluice_check_duration_seconds", &["source"])),
    ]
}

fn store() -> Vec<Panel> {
    let state = |state: &str| {
        format!(
            "max by (instance) ({})",
            CHOSEN.series("sluice_store_breaker_state", &format!(r#"state="{state}""#))
        )
    };
    let trips = CHOSEN.rate("sluice_store_batch_checks_count", "");
    vec![
        Panel::time_series("Round trips", "Calls to the store per second, by result.")
            .unit(Unit::OperationsPerSecond)
            .stacked()
            .query("{{result}}", format!("sum by (result) ({})", CHOSEN.rate("sluice_store_round_trips_total", ""))),
        Panel::time_series("Round trip", "Half of the calls, and 99 of 100, are answered within these times.")
            .unit(Unit::Seconds)
            .query("P50", CHOSEN.quantile(0.5, "sluice_store_round_trip_duration_seconds", &[]))
            .query("P99", CHOSEN.quantile(0.99, "sluice_store_round_trip_duration_seconds", &[])),
        Panel::time_series(
            "Checks in a round trip",
            "Checks that arrive while a call is under way share the next one: more of them under load.",
        )
        .query("mean", format!("sum({}) / sum({trips})", CHOSEN.rate("sluice_store_batch_checks_sum", "")))
        .query("P99", CHOSEN.quantile(0.99, "sluice_store_batch_checks", &[])),
        Panel::time_series("Errors", "What went wrong with the store, per second.")
            .unit(Unit::PerSecond)
            .query("{{kind}}", format!("sum by (kind) ({})", CHOSEN.rate("sluice_store_errors_total", ""))),
        Panel::states(
            "Breaker",
            "Whether a replica asks the store: closed, it does; open, it leaves the store alone; half open, it tries with one check.",
        )
        .words(&[("0", "closed", "green"), ("1", "half open", "yellow"), ("2", "open", "red")])
        .query("{{instance}}", format!("{} + 2 * {}", state("half_open"), state("open"))),
        Panel::time_series("Connections", "Open connections to the store, by replica.")
            .query("{{instance}}", format!("sum by (instance) ({})", CHOSEN.series("database_connections", r#"scope="replica""#))),
        Panel::time_series(
            "Owed buckets",
            "Buckets that are to be charged for what was admitted while the store was away, by replica: none, some seconds after it is back.",
        )
        .query("{{instance}}", format!("sum by (instance) ({})", CHOSEN.series("sluice_store_owed_buckets", ""))),
        Panel::time_series(
            "Tokens of an outage",
            "What was admitted while the store was away, per second: charged to its buckets afterwards, or dropped, and so admitted beyond the limits.",
        )
        .unit(Unit::PerSecond)
        .query("charged", format!("sum({})", CHOSEN.rate("sluice_store_charged_tokens_total", "")))
        .query("dropped", format!("sum({})", CHOSEN.rate("sluice_store_dropped_tokens_total", ""))),
    ]
}

fn replicas() -> Vec<Panel> {
    let by_instance = |series: String| format!("max by (instance) ({series})");
    vec![
        Panel::time_series(
            "Fleet",
            "Replicas that are alive as they know of each other, and replicas that Prometheus sees: the same number, if all is well.",
        )
        .query("alive", FLEET.of_fleets("sluice_replicas_live", "", &[]))
        .query("seen", format!("count({})", FLEET.series("sluice_build_info", ""))),
        Panel::table(
            "Versions",
            "What the replicas were built from.",
            &[("Value", "Replicas"), ("version", "Version"), ("revision", "Revision")],
        )
        .query_now("", format!("count by (version, revision) ({})", FLEET.series("sluice_build_info", ""))),
        Panel::time_series(
            "Changes of the configuration",
            "Changed files that were put into force, and those that were refused, in five minutes.",
        )
        .query("{{result}}", format!("sum by (result) (increase({}[5m]))", CHOSEN.series("sluice_config_reloads_total", ""))),
        Panel::time_series("CPU", "Cores in use, by replica.")
            .query("{{instance}}", by_instance(CHOSEN.rate("process_cpu_seconds_total", ""))),
        Panel::time_series("Memory", "Resident memory, by replica.")
            .unit(Unit::Bytes)
            .query("{{instance}}", by_instance(CHOSEN.series("process_resident_memory_bytes", ""))),
        Panel::time_series("Open files", "File descriptors in use, sockets included, by replica.")
            .query("{{instance}}", by_instance(CHOSEN.series("process_open_fds", ""))),
        Panel::time_series("Uptime", "Time since the start, by replica.")
            .unit(Unit::Seconds)
            .query("{{instance}}", format!("time() - {}", by_instance(CHOSEN.series("process_start_time_seconds", "")))),
        Panel::time_series("Values without room", "Values of labels that were counted as `other`, in an hour.")
            .query("{{label}}", format!("sum by (label) (increase({}[1h]))", CHOSEN.series("sluice_labels_folded_total", ""))),
    ]
}
