//! `docs/metrics.md` is written from the catalogue, and cannot go stale.
//!
//! After a change of the catalogue: `UPDATE_DOCS=1 cargo test -p sluice-telemetry --test
//! metrics_page`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fmt::Write, fs, path::Path};

use sluice_telemetry::{
    Label, LabelValues, MAX_CUSTOM_LABELS, MAX_CUSTOM_METRICS, MAX_SERIES, Metric, MetricKind,
    OTHER, catalogue,
};

/// The chapters, each with what it tells and how the names in it begin.
const CHAPTERS: [(&str, &str, &[&str]); 9] = [
    (
        "HTTP",
        "What Sluice's own HTTP port answered. Of `/v1/check` that is the question, not the request that was asked about.",
        &["http_"],
    ),
    (
        "Language models",
        "Reported by applications at `POST /v1/events`, as are the next three.",
        &["llm_"],
    ),
    ("Blueprints", "", &["blueprint_"]),
    ("Deployments", "", &["deployment_", "active_deployments"]),
    ("Tools", "", &["tool_"]),
    ("Rate limiting", "", &["rate_limit_"]),
    ("Connections and caches", "", &["active_connections", "database_connections", "cache_"]),
    ("The process", "Under the names that every Prometheus client library has.", &["process_"]),
    ("Sluice's own", "", &["sluice_"]),
];

fn page() -> String {
    let mut page = format!(
        "# Metrics\n\n\
         Everything on `/metrics`, which OTLP receivers get too. This page is written from the catalogue in `crates/telemetry`: change it there.\n\n\
         A label that holds names from a configuration or an application keeps so many of them; the rest become `{OTHER}`, and are counted in\n\
         `sluice_labels_folded_total`. No metric has more than {MAX_SERIES} series: what goes beyond is added up in one of them, which is labelled\n\
         `otel_metric_overflow=\"true\"`. Labels never hold clients or raw paths.\n\n\
         Counters begin anew when a replica restarts, and `rate()` and `increase()` know that. What survives every replica is told by `/monitoring`.\n\
         `active_deployments`, `blueprint_resources_count`, `cache_hit_rate`, and what has `scope=\"fleet\"` are kept in the store: every replica tells the\n\
         same number, so take their `max`, not their `sum`.\n"
    );
    let mut told = 0;
    for (title, text, prefixes) in CHAPTERS {
        write!(page, "\n## {title}\n\n").unwrap();
        if !text.is_empty() {
            write!(page, "{text}\n\n").unwrap();
        }
        page.push_str("| metric | kind | labels | unit | what it tells | a query to start from |\n|---|---|---|---|---|---|\n");
        for metric in catalogue()
            .filter(|metric| prefixes.iter().any(|prefix| metric.name.starts_with(prefix)))
        {
            page.push_str(&row(metric));
            told += 1;
        }
    }
    assert_eq!(told, catalogue().count(), "every metric stands in one chapter");
    write!(
        page,
        "\n## Your own\n\n\
         Up to {MAX_CUSTOM_METRICS} metrics, each with up to {MAX_CUSTOM_LABELS} labels, can be declared and then reported at `POST /v1/events`:\n\n\
         ```yaml\n\
         metrics:\n  \
           custom:\n    \
             - {{ name: my_feature_total, kind: counter, labels: [operation], help: How often the feature was used. }}\n    \
             - {{ name: queue_depth, kind: gauge, unit: \"{{job}}\" }}\n    \
             - {{ name: job_seconds, kind: histogram, labels: [job], unit: s, boundaries: [0.5, 1, 5, 30] }}\n\
         ```\n\n\
         ```json\n\
         {{ \"type\": \"counter\", \"name\": \"my_feature_total\", \"labels\": {{ \"operation\": \"export\" }}, \"value\": 1 }}\n\
         ```\n\n\
         The name of a counter ends in `_total`. A gauge is a fact of the fleet: whichever replica it was reported to, all tell it.\n"
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
    // A bar would end the cell, also inside of code.
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
fn the_page_of_metrics_is_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = page();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(page.lines()).position(|(written, page)| written != page);
    assert!(
        written == page,
        "docs/metrics.md differs from the catalogue at line {}: run `UPDATE_DOCS=1 cargo test -p sluice-telemetry --test metrics_page`",
        differs.unwrap_or_else(|| written.lines().count().min(page.lines().count())) + 1
    );
}

#[test]
fn every_metric_has_a_row_with_its_unit_and_a_query_that_names_it() {
    let page = page();
    for metric in catalogue() {
        let row =
            page.lines().find(|line| line.starts_with(&format!("| `{}` |", metric.name))).unwrap();
        assert_eq!(row.replace("\\|", "").matches('|').count(), 7, "{row}");
        assert!(metric.query.contains(metric.name) && !metric.help.is_empty(), "{}", metric.name);
    }
}
