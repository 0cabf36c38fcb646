//! "Sluice": the state of the limiter itself.

use crate::{
    layout::{Section, arrange},
    model::{Annotations, Dashboard, Link, Panel, Templating, TimeRange, Unit, Variable},
    selector::Selector,
};

const FLEET: Selector = Selector::JOB;
const SELECTED: Selector = Selector::INSTANCE;

/// Returns the dashboard.
#[must_use]
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "sluice",
        title: "Sluice",
        description: "The state of the limiter itself: its decisions, their latency, its store, \
                      its replicas and their configuration.",
        tags: vec!["sluice"],
        timezone: "browser",
        schema_version: 39,
        version: 1,
        editable: true,
        graph_tooltip: 1,
        refresh: "10s",
        time: TimeRange { from: "now-1h", to: "now" },
        templating: Templating {
            list: Variable::of_fleets()
                .into_iter()
                .chain([Variable::label(
                    "instance",
                    "Replica",
                    r#"sluice_build_info{namespace=~"$namespace", job=~"$job"}"#,
                )])
                .collect(),
        },
        annotations: Annotations::default(),
        links: vec![Link::to_tagged("ALMA Metrics", "alma")],
        panels: arrange(vec![
            Section { heading: "Overview", width: 4, height: 4, panels: overview() },
            Section { heading: "Decisions", width: 12, height: 8, panels: decisions() },
            Section { heading: "Latency of checks", width: 12, height: 8, panels: latency() },
            Section { heading: "Holds", width: 12, height: 8, panels: holds() },
            Section { heading: "Language models", width: 12, height: 8, panels: models() },
            Section { heading: "Store", width: 8, height: 8, panels: store() },
            Section { heading: "Front ends", width: 8, height: 8, panels: front_ends() },
            Section { heading: "Gateway", width: 12, height: 8, panels: gateway() },
            Section { heading: "Envoy's rate limit service", width: 12, height: 8, panels: rls() },
            Section { heading: "Replicas", width: 8, height: 8, panels: replicas() },
        ]),
    }
}

fn overview() -> Vec<Panel> {
    let not_closed = SELECTED.series("sluice_store_breaker_state", r#"state!="closed""#);
    vec![
        Panel::stat(
            "Decisions",
            "Decisions per second. A check of several limits counts once for each of them.",
        )
        .unit(Unit::OperationsPerSecond)
        .query("", format!("sum({})", SELECTED.rate("sluice_decisions_total", ""))),
        Panel::stat("Denied", "The share of decisions that deny the request.")
            .unit(Unit::Share)
            .decimals(1)
            .query("", SELECTED.share("sluice_decisions_total", r#"outcome="denied""#)),
        Panel::stat("Check latency, P99", "The time within which 99% of the checks are decided.")
            .unit(Unit::Seconds)
            .thresholds(&[(0.005, "yellow"), (0.01, "red")])
            .query("", SELECTED.quantile(0.99, "sluice_check_duration_seconds", &[])),
        Panel::stat(
            "Decided locally",
            "The share of decisions that a replica made alone, because the store was not \
             available.",
        )
        .unit(Unit::Share)
        .decimals(1)
        .thresholds(&[(0.001, "yellow"), (0.01, "red")])
        .query("", SELECTED.share("sluice_decisions_total", r#"source="local""#)),
        Panel::stat(
            "Replicas without a store",
            "The number of replicas whose circuit breaker is open or half open, so that they \
             decide locally.",
        )
        .thresholds(&[(1.0, "red")])
        .query("", format!("sum({not_closed})")),
        Panel::stat(
            "Live replicas",
            "The number of live replicas in the fleet, as the replicas report it.",
        )
        .query("", FLEET.sum_of_fleets("sluice_replicas_live", "", &[])),
    ]
}

fn decisions() -> Vec<Panel> {
    let by_limit = |outcome: &str| {
        format!(
            "topk(10, sum by (limit) ({}))",
            SELECTED.rate("sluice_decisions_total", &format!(r#"outcome="{outcome}""#))
        )
    };
    vec![
        Panel::time_series("Decisions by outcome", "Decisions per second, by outcome.")
            .unit(Unit::OperationsPerSecond)
            .stacked()
            .query("{{outcome}}", sum_of_rate("outcome", "sluice_decisions_total")),
        Panel::time_series(
            "Decisions by source",
            "Decisions per second, by where they were made: in the store, or in a replica alone \
             while the store was not available.",
        )
        .unit(Unit::OperationsPerSecond)
        .stacked()
        .query("{{source}}", sum_of_rate("source", "sluice_decisions_total")),
        Panel::time_series(
            "Denials by limit",
            "Denials per second of the ten limits with the most.",
        )
        .unit(Unit::OperationsPerSecond)
        .query("{{limit}}", by_limit("denied")),
        Panel::time_series(
            "Denials in shadow mode, by limit",
            "Decisions per second that would deny if the limit were enforced, of the ten limits \
             with the most.",
        )
        .unit(Unit::OperationsPerSecond)
        .query("{{limit}}", by_limit("shadow_denied")),
    ]
}

fn holds() -> Vec<Panel> {
    let used = |quantile| SELECTED.quantile(quantile, "sluice_hold_used_ratio", &[]);
    let increase =
        |counter, matchers| format!("sum(increase({}[1h]))", FLEET.series(counter, matchers));
    let by_limit = |kind: &str| {
        let matchers = format!(r#"kind="{kind}""#);
        format!("sum by (limit) ({})", SELECTED.rate("sluice_hold_tokens_total", &matchers))
    };
    let (charged, overrun) = (by_limit("charged"), by_limit("overrun"));
    let held = increase("sluice_holds_total", r#"outcome="held", step="reserve""#);
    let settled = increase("sluice_settlements_total", r#"state=~"settled|late""#);
    vec![
        Panel::time_series(
            "Reservations and extensions",
            "Reservations of tokens and money per second, and extensions of them, by outcome. \
             Denied: a limit had too few tokens. Conflict: the id is held with other costs.",
        )
        .unit(Unit::OperationsPerSecond)
        .stacked()
        .query("{{outcome}}", sum_of_rate("outcome", "sluice_holds_total")),
        Panel::time_series(
            "Settlements",
            "Settlements per second, by what became of them. Late: the store did not know the \
             hold. Failed: the store did not answer, and the estimate stays charged.",
        )
        .unit(Unit::OperationsPerSecond)
        .stacked()
        .query("{{state}}", sum_of_rate("state", "sluice_settlements_total")),
        Panel::time_series(
            "Used of what was held",
            "What settled holds were charged as a part of their estimates: the median, and what \
             95% of them stay below. Above 100%, estimates are too low.",
        )
        .unit(Unit::Share)
        .query("P50", used(0.5))
        .query("P95", used(0.95)),
        Panel::time_series(
            "Never settled",
            "The share of the reservations of the last hour that were not settled, of the whole \
             fleet: those in flight, and those that their callers have forgotten, which stay \
             charged.",
        )
        .unit(Unit::Share)
        .query("", format!("clamp_min(1 - {settled} / ({held} > 0), 0)")),
        Panel::time_series(
            "Slots held, by limit",
            "Slots that requests in flight hold of limits with `concurrent`, over the selected \
             replicas: the ten limits with the most.",
        )
        .query(
            "{{limit}}",
            format!("topk(10, sum by (limit) ({}))", SELECTED.series("sluice_slots_held", "")),
        ),
        Panel::time_series(
            "Slots lost",
            "Slots per second that were not renewed in time, so that others may have them. \
             Finish: their requests go on. Cut: they are cut off.",
        )
        .unit(Unit::OperationsPerSecond)
        .query(
            "{{on_lost}}",
            format!("{} or vector(0)", sum_of_rate("on_lost", "sluice_slots_lost_total")),
        ),
        Panel::time_series(
            "Tokens held by limit",
            "Tokens per second that estimates hold, of the ten limits with the most. A token of a \
             limit of money is a millionth of the currency.",
        )
        .unit(Unit::PerSecond)
        .query("{{limit}}", format!("topk(10, {})", by_limit("held"))),
        Panel::time_series(
            "Charged beyond the estimate",
            "Of what settled holds are charged, the share that was not held before, of the ten \
             limits with the most: it has passed the limit.",
        )
        .unit(Unit::Share)
        .query("{{limit}}", format!("topk(10, ({overrun} or 0 * {charged}) / ({charged} > 0))")),
    ]
}

fn models() -> Vec<Panel> {
    let by_model = |labels: &str, counter: &str| {
        format!("topk(10, sum by ({labels}) ({}))", SELECTED.rate(counter, ""))
    };
    let of_vendor = |counter: &str| format!("sum({}) or vector(0)", SELECTED.rate(counter, ""));
    vec![
        Panel::time_series(
            "Tokens by model",
            "Tokens per second that models receive and generate, of the ten models with the most.",
        )
        .unit(Unit::PerSecond)
        .query("received by {{model}}", by_model("model", "llm_tokens_consumed_total"))
        .query("generated by {{model}}", by_model("model", "llm_tokens_generated_total")),
        Panel::time_series(
            "Money by model",
            "What requests to models cost per hour, of the ten models that cost the most.",
        )
        .query(
            "{{model}}, {{currency}}",
            format!("3600 * {}", by_model("model, currency", "llm_cost_total")),
        ),
        Panel::time_series(
            "Requests in flight by model",
            "How many requests to models there are at a time, on average: the time that they take \
             together, per second. A request counts when it has ended.",
        )
        .query("{{model}}", by_model("model", "llm_generation_duration_seconds_sum")),
        Panel::time_series(
            "Usage that is not reported",
            "Answers per second that the gateway does not meter to the token. Missing: complete \
             answers without usage, whose estimate stands. Estimated: answers that were cut short. \
             Ignored: reports that are not believed. Refused: requests that cannot be estimated.",
        )
        .unit(Unit::PerSecond)
        .query("missing", of_vendor("sluice_llm_usage_missing_total"))
        .query("estimated", of_vendor("sluice_llm_usage_estimated_total"))
        .query("ignored", of_vendor("sluice_llm_usage_ignored_total"))
        .query("refused", of_vendor("sluice_llm_requests_refused_total")),
    ]
}

fn latency() -> Vec<Panel> {
    let quantile =
        |quantile, by: &[&str]| SELECTED.quantile(quantile, "sluice_check_duration_seconds", by);
    vec![
        Panel::time_series(
            "Check latency",
            "The times within which 50%, 99% and 99.9% of the checks are decided.",
        )
        .unit(Unit::Seconds)
        .query("P50", quantile(0.5, &[]))
        .query("P99", quantile(0.99, &[]))
        .query("P99.9", quantile(0.999, &[])),
        Panel::time_series(
            "Check latency by source, P99",
            "The time within which 99% of the checks are decided, by where they are decided.",
        )
        .unit(Unit::Seconds)
        .query("{{source}}", quantile(0.99, &["source"])),
    ]
}

fn store() -> Vec<Panel> {
    vec![
        Panel::time_series("Round trips", "Round trips to the store per second, by result.")
            .unit(Unit::OperationsPerSecond)
            .stacked()
            .query("{{result}}", sum_of_rate("result", "sluice_store_round_trips_total")),
        round_trip_latency(),
        checks_per_round_trip(),
        Panel::time_series("Store errors", "Errors of the store per second, by kind.")
            .unit(Unit::PerSecond)
            .query("{{kind}}", sum_of_rate("kind", "sluice_store_errors_total")),
        circuit_breaker(),
        Panel::time_series("Connections", "Open connections to the store, by replica.").query(
            "{{instance}}",
            sum_by_instance(&SELECTED.series("database_connections", r#"scope="replica""#)),
        ),
        Panel::time_series(
            "Buckets to charge",
            "Buckets that are still to be charged for tokens admitted while the store was not \
             available, by replica. The number returns to 0 some seconds after the store is back.",
        )
        .query("{{instance}}", sum_by_instance(&SELECTED.series("sluice_store_owed_buckets", ""))),
        tokens_admitted_in_outages(),
    ]
}

fn round_trip_latency() -> Panel {
    let quantile =
        |quantile| SELECTED.quantile(quantile, "sluice_store_round_trip_duration_seconds", &[]);
    Panel::time_series(
        "Round trip latency",
        "The times within which 50% and 99% of the round trips finish.",
    )
    .unit(Unit::Seconds)
    .query("P50", quantile(0.5))
    .query("P99", quantile(0.99))
}

fn checks_per_round_trip() -> Panel {
    let checks = SELECTED.rate("sluice_store_batch_checks_sum", "");
    let round_trips = SELECTED.rate("sluice_store_batch_checks_count", "");
    Panel::time_series(
        "Checks per round trip",
        "Checks that arrive during a round trip share the next one, so this number grows with the \
         load.",
    )
    .query("mean", format!("sum({checks}) / sum({round_trips})"))
    .query("P99", SELECTED.quantile(0.99, "sluice_store_batch_checks", &[]))
}

fn circuit_breaker() -> Panel {
    let state = |state: &str| {
        format!(
            "max by (instance) ({})",
            SELECTED.series("sluice_store_breaker_state", &format!(r#"state="{state}""#))
        )
    };
    Panel::states(
        "Circuit breaker",
        "Closed: checks go to the store. Open: no check goes to the store. Half open: one check at \
         a time goes to the store, to find out whether it is available again.",
    )
    .texts(&[("0", "closed", "green"), ("1", "half open", "yellow"), ("2", "open", "red")])
    .query("{{instance}}", format!("{} + 2 * {}", state("half_open"), state("open")))
}

fn tokens_admitted_in_outages() -> Panel {
    let sum_of_rate = |counter| format!("sum({})", SELECTED.rate(counter, ""));
    Panel::time_series(
        "Tokens admitted in outages",
        "Tokens per second that were admitted while the store was not available: those charged to \
         their buckets afterwards, and those dropped, which exceed the limits.",
    )
    .unit(Unit::PerSecond)
    .query("charged", sum_of_rate("sluice_store_charged_tokens_total"))
    .query("dropped", sum_of_rate("sluice_store_dropped_tokens_total"))
}

fn front_ends() -> Vec<Panel> {
    let requests = "sluice_http_requests_total";
    let slow = SELECTED.quantile(0.99, "sluice_http_request_duration_seconds", &["endpoint"]);
    vec![
        Panel::time_series(
            "Requests to Sluice's endpoints",
            "Requests to Sluice's own HTTP endpoints per second: checks, forward-auth, events, \
             probes and scrapes. The dashboard ALMA Metrics shows the requests to the API.",
        )
        .unit(Unit::RequestsPerSecond)
        .stacked()
        .query("{{endpoint}}", sum_of_rate("endpoint", requests)),
        Panel::time_series(
            "Response time, P99",
            "The time within which 99% of the requests to each of Sluice's own endpoints get \
             their response.",
        )
        .unit(Unit::Seconds)
        .query("{{endpoint}}", slow),
        Panel::time_series(
            "Errors",
            "Responses of Sluice's own endpoints per second, by status: 4xx without the 429 of a \
             denied request, and 5xx.",
        )
        .unit(Unit::RequestsPerSecond)
        .query(
            "{{status}}",
            format!(
                "sum by (status) ({})",
                SELECTED.rate(requests, r#"status=~"4..|4xx|5..|5xx", status!="429""#)
            ),
        ),
    ]
}

fn gateway() -> Vec<Panel> {
    let requests = "sluice_upstream_requests_total";
    let failed = r#"result=~"5xx|unconnected|broke|late|busy""#;
    let by_upstream = |rate: &str| format!("sum by (upstream) ({rate})");
    let all = by_upstream(&SELECTED.rate(requests, ""));
    let healthy = SELECTED.series("sluice_upstream_healthy", "");
    vec![
        Panel::time_series(
            "Upstream requests by result",
            "Requests to upstreams per second, by the class of the response's status, or why there \
             was none: no connection, a broken one, or a late response.",
        )
        .unit(Unit::RequestsPerSecond)
        .stacked()
        .query("{{result}}", sum_of_rate("result", requests)),
        Panel::time_series(
            "Upstream errors",
            "The share of requests with a 5xx response or none, by upstream.",
        )
        .unit(Unit::Share)
        .query(
            "{{upstream}}",
            format!("({} or 0 * {all}) / {all}", by_upstream(&SELECTED.rate(requests, failed))),
        ),
        Panel::time_series(
            "Upstream latency, P99",
            "The time within which 99% of the responses begin, by upstream.",
        )
        .unit(Unit::Seconds)
        .query(
            "{{upstream}}",
            SELECTED.quantile(0.99, "sluice_upstream_response_duration_seconds", &["upstream"]),
        ),
        Panel::states(
            "Upstream health",
            "Up: all replicas send requests to the upstream. Down: at least one does not, because \
             the upstream fails its health checks.",
        )
        .texts(&[("0", "down", "red"), ("1", "up", "green")])
        .query("{{upstream}}", format!("min by (upstream) ({healthy})")),
    ]
}

fn rls() -> Vec<Panel> {
    let unmatched = SELECTED.rate("sluice_rls_descriptors_total", r#"result="unmatched""#);
    let quantile =
        |quantile| SELECTED.quantile(quantile, "sluice_rls_request_duration_seconds", &[]);
    vec![
        Panel::time_series(
            "Calls by code",
            "Calls per second, by the code of their response or error. CANCELLED: Envoy gave the \
             call up, for example because its timeout is too short.",
        )
        .unit(Unit::OperationsPerSecond)
        .stacked()
        .query("{{code}}", sum_of_rate("code", "sluice_rls_requests_total")),
        Panel::time_series(
            "Calls by domain",
            "Calls per second, by domain. Those in no domain of the rules are `other`.",
        )
        .unit(Unit::OperationsPerSecond)
        .query("{{domain}}", sum_of_rate("domain", "sluice_rls_requests_total")),
        Panel::time_series(
            "Call latency",
            "The times within which 50% and 99% of the calls are answered. Envoy waits 20 ms by \
             default.",
        )
        .unit(Unit::Seconds)
        .query("P50", quantile(0.5))
        .query("P99", quantile(0.99)),
        Panel::time_series(
            "Not limited",
            "Descriptors per second that match no rule, by domain, and calls whose domain no rules \
             file has.",
        )
        .unit(Unit::PerSecond)
        .query("{{domain}}", format!("sum by (domain) ({unmatched})"))
        .query(
            "unknown domain",
            format!("sum({})", SELECTED.rate("sluice_rls_unknown_domains_total", "")),
        ),
    ]
}

fn replicas() -> Vec<Panel> {
    let refused = SELECTED.series("sluice_config_refused", "");
    let builds = FLEET.series("sluice_build_info", "");
    let reloads = SELECTED.series("sluice_config_reloads_total", "");
    let folded = SELECTED.series("sluice_labels_folded_total", "");
    let by_instance = |series: String| format!("max by (instance) ({series})");
    vec![
        Panel::time_series(
            "Fleet",
            "Live replicas as the replicas report them, replicas that Prometheus scrapes, and \
             replicas that the configuration expects. In a healthy fleet the numbers are equal.",
        )
        .query("live", FLEET.sum_of_fleets("sluice_replicas_live", "", &[]))
        .query("scraped", format!("count({builds})"))
        .query("expected", FLEET.sum_of_fleets("sluice_replicas_expected", "", &[])),
        Panel::table(
            "Versions",
            "The versions and revisions that the replicas were built from.",
            &[("Value", "Replicas"), ("version", "Version"), ("revision", "Revision")],
        )
        .query_now("", format!("count by (version, revision) ({builds})")),
        Panel::time_series(
            "Configuration reloads",
            "Reloads of a changed configuration in five minutes: those applied, and those refused \
             because the configuration was invalid.",
        )
        .query("{{result}}", format!("sum by (result) (increase({reloads}[5m]))")),
        Panel::states(
            "Configuration",
            "Refused: the configuration that was read last is invalid, and the replica continues \
             with the previous one.",
        )
        .texts(&[("0", "active", "green"), ("1", "refused", "red")])
        .query("{{instance}}", by_instance(refused)),
        Panel::time_series("CPU", "CPU cores in use, by replica.")
            .query("{{instance}}", by_instance(SELECTED.rate("process_cpu_seconds_total", ""))),
        Panel::time_series("Memory", "Resident memory, by replica.").unit(Unit::Bytes).query(
            "{{instance}}",
            by_instance(SELECTED.series("process_resident_memory_bytes", "")),
        ),
        Panel::time_series("Open files", "Open file descriptors, sockets included, by replica.")
            .query("{{instance}}", by_instance(SELECTED.series("process_open_fds", ""))),
        Panel::time_series("Uptime", "The time since the start, by replica.")
            .unit(Unit::Seconds)
            .query(
                "{{instance}}",
                format!(
                    "time() - {}",
                    by_instance(SELECTED.series("process_start_time_seconds", ""))
                ),
            ),
        Panel::time_series(
            "Replaced label values",
            "Label values that were counted as `other` in an hour, because their label had reached \
             its cap.",
        )
        .query("{{label}}", format!("sum by (label) (increase({folded}[1h]))")),
    ]
}

fn sum_of_rate(label: &str, counter: &str) -> String {
    format!("sum by ({label}) ({})", SELECTED.rate(counter, ""))
}

fn sum_by_instance(series: &str) -> String {
    format!("sum by (instance) ({series})")
}
