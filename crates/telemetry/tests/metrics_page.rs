//! `docs/metrics.md` is generated from the catalogue, and a test checks that it is current.
//!
//! To regenerate it: `UPDATE_DOCS=1 cargo test -p sluice-telemetry --test metrics_page`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fmt::Write, fs, path::Path};

use sluice_telemetry::{
    Label, LabelValues, MAX_CUSTOM_LABELS, MAX_CUSTOM_METRICS, MAX_SERIES, Metric, MetricKind,
    OTHER, catalogue,
};

/// The chapters: the title, an introduction, and the prefixes of the metrics' names.
const CHAPTERS: [(&str, &str, &[&str]); 9] = [
    (
        "HTTP",
        "Requests to the API: those that pass the gateway, those that Sluice decides at any \
         path, those of a Rust program with `MetricsLayer`, and those that applications report at \
         `POST /v1/events`. Requests to Sluice's own endpoints, such as `/v1/check` and \
         `/metrics`, are in `sluice_http_*`.\n\nThe label `endpoint` is, in this order:\n\n1. the \
         pattern of the limit or exempt path that covers the path;\n2. the pattern of \
         [`metrics.endpoints`](configuration.md#metrics) that does;\n3. the path, in which \
         `:id` stands for numbers, UUIDs, hexadecimal words of 16 digits or more, and what looks \
         like a token (12 characters or more with letters and digits, 20 or more with letters of \
         both cases, more than 40, or an `@`): `/users/:id`. The first 100 such paths have a \
         label. Responses with 404, 405, 429 and 499 give a path none, and neither do Sluice's own \
         problem responses through the gateway, so that a client that tries paths does not fill \
         them. Names, such as `/users/ann`, are no identifiers here: list their pattern;\n4. \
         `other`.\n\n[Which \
         series serve which set-up](monitoring.md#where-the-series-come-from).",
        &["http_"],
    ),
    (
        "Language models",
        "Applications report these, and those of the next three chapters, at `POST /v1/events`.",
        &["llm_"],
    ),
    ("Blueprints", "", &["blueprint_"]),
    ("Deployments", "", &["deployment_", "active_deployments"]),
    ("Tools", "", &["tool_"]),
    ("Rate limiting", "", &["rate_limit_"]),
    ("Connections and caches", "", &["active_connections", "database_connections", "cache_"]),
    (
        "The process",
        "The names are those that every Prometheus client library uses.",
        &["process_"],
    ),
    ("Sluice's own metrics", "", &["sluice_"]),
];

fn page() -> String {
    let mut page = format!(
        "# Metrics\n\n\
         These are all metrics on `/metrics`, which OTLP receivers get too. This page is\n\
         generated from the catalogue in `crates/telemetry`: change it there.\n\n\
         A label whose values are names from the configuration or from an application keeps a\n\
         limited number of them. Further names become `{OTHER}`, and are counted in\n\
         `sluice_labels_folded_total`. No metric has more than {MAX_SERIES} series: further label\n\
         combinations are added to one series, which has the label\n\
         `otel_metric_overflow=\"true\"`. Labels never contain clients; of paths, `endpoint` has\n\
         [what is left](#http) without identifiers.\n\n\
         Counters start at 0 when a replica restarts; `rate()` and `increase()` take this into\n\
         account. Totals that survive a restart are on `/monitoring`. The store keeps\n\
         `active_deployments`, `blueprint_resources_count`, `cache_hit_rate`, and every series\n\
         with `scope=\"fleet\"`: all replicas report the same value, so use `max` on them, not\n\
         `sum`.\n"
    );
    let mut listed = 0;
    for (title, text, prefixes) in CHAPTERS {
        write!(page, "\n## {title}\n\n").unwrap();
        if !text.is_empty() {
            write!(page, "{text}\n\n").unwrap();
        }
        page.push_str(
            "| metric | kind | labels | unit | description | example of a query |\n\
             |---|---|---|---|---|---|\n",
        );
        for metric in catalogue()
            .filter(|metric| prefixes.iter().any(|prefix| metric.name.starts_with(prefix)))
        {
            page.push_str(&row(metric));
            listed += 1;
        }
    }
    assert_eq!(listed, catalogue().count(), "every metric is in exactly one chapter");
    write!(
        page,
        "\n## Custom metrics\n\n\
         The configuration can declare up to {MAX_CUSTOM_METRICS} metrics, each with up to\n\
         {MAX_CUSTOM_LABELS} labels. Applications then report values at `POST /v1/events`:\n\n\
         ```yaml\n\
         metrics:\n  \
           custom:\n    \
             - name: my_feature_total\n      \
               kind: counter\n      \
               labels: [operation]\n      \
               help: Counts uses of the feature, by operation.\n    \
             - {{ name: queue_depth, kind: gauge, unit: \"{{job}}\" }}\n    \
             - name: job_seconds\n      \
               kind: histogram\n      \
               labels: [job]\n      \
               unit: s\n      \
               boundaries: [0.5, 1, 5, 30]\n\
         ```\n\n\
         ```json\n\
         {{\n  \
           \"type\": \"counter\",\n  \
           \"name\": \"my_feature_total\",\n  \
           \"labels\": {{ \"operation\": \"export\" }},\n  \
           \"value\": 1\n\
         }}\n\
         ```\n\n\
         The name of a counter ends in `_total`. A gauge belongs to the fleet: all replicas show\n\
         its value, whichever of them received it.\n\n\
         A Rust program that embeds the library declares and records the same kinds of metrics\n\
         with `telemetry.recorders().custom`; they are on the same page as the limiter's\n\
         ([example](../crates/limiter/examples/custom_metrics.rs)).\n"
    )
    .unwrap();
    page
}

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        MetricKind::Histogram(boundaries) => {
            format!("histogram, {} to {}", boundaries.first().unwrap(), boundaries.last().unwrap())
        }
        kind => kind.as_str().to_owned(),
    };
    let labels: Vec<String> = metric.labels.iter().map(label).collect();
    let labels = if labels.is_empty() { "–".to_owned() } else { labels.join("<br>") };
    // A `|` would end the cell, even in code.
    let query = metric.query.replace('|', "\\|");
    format!(
        "| `{}` | {kind} | {labels} | `{}` | {} | `{query}` |\n",
        metric.name, metric.unit, metric.help
    )
}

fn label(label: &Label) -> String {
    match label.values {
        LabelValues::Fixed(values) if values.len() <= 10 => {
            format!(
                "`{}`: {}",
                label.name,
                values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
            )
        }
        LabelValues::Fixed(values) => format!("`{}`: one of {}", label.name, values.len()),
        LabelValues::Capped(1) => format!("`{}`", label.name),
        LabelValues::Capped(cap) => format!("`{}`: up to {cap}", label.name),
    }
}

#[test]
fn the_page_matches_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(written, page)| written != page);
    assert!(
        written == page,
        "docs/metrics.md differs from the catalogue at line {}: \
         run `UPDATE_DOCS=1 cargo test -p sluice-telemetry --test metrics_page`",
        differs.unwrap_or_else(|| written.lines().count().min(page.lines().count())) + 1
    );
}

#[test]
fn every_metric_has_one_row_and_a_query_that_names_it() {
    let page = page();
    for metric in catalogue() {
        let row =
            page.lines().find(|line| line.starts_with(&format!("| `{}` |", metric.name))).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), 7, "{row}");
        assert!(metric.query.contains(metric.name) && !metric.help.is_empty(), "{}", metric.name);
    }
}
