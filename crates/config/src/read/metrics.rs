//! `metrics: { endpoints: ["/users/{id}"], custom: [{ name: my_feature_total, kind: counter,
//! labels: [operation], help: "...", unit: "1" }] }`.

use sluice::stats::events::{CustomKind, CustomMetric};
use sluice_core::{EndpointPatterns, Policy};
use sluice_telemetry::{MAX_CUSTOM_METRICS, MAX_VALUE_BYTES};

use crate::{
    error::Refused,
    reader::{Field, Table},
    settings::MetricsSettings,
};

/// The most patterns of `metrics.endpoints`: half of those that metrics have room for, because the
/// limits' patterns come first.
const MAX_ENDPOINTS: usize = 100;

/// The kinds by their words.
const KINDS: [(&str, Kind); 3] =
    [("counter", Kind::Counter), ("gauge", Kind::Gauge), ("histogram", Kind::Histogram)];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Reads the section. `policy` has the patterns that precede those of `endpoints`.
pub(super) fn read(
    metrics: &Field<'_>,
    policy: Option<&Policy>,
) -> Result<MetricsSettings, Refused> {
    metrics.or(MetricsSettings::default(), |metrics| {
        metrics.table(|metrics| {
            let endpoints = metrics
                .field("endpoints")
                .or(EndpointPatterns::default(), |list| endpoints(list, policy));
            let custom = metrics.field("custom").or(Vec::new(), custom);
            Ok(MetricsSettings { endpoints: endpoints?, custom: custom? })
        })
    })
}

fn endpoints(list: &Field<'_>, policy: Option<&Policy>) -> Result<EndpointPatterns, Refused> {
    let limits = policy.map(patterns_of).unwrap_or_default();
    let mut patterns = EndpointPatterns::default();
    list.items(|item| {
        let written = item.text()?;
        if written.len() > MAX_VALUE_BYTES {
            return Err(item.refuse(format_args!(
                "the pattern has {} bytes: a label has room for {MAX_VALUE_BYTES}",
                written.len()
            )));
        }
        let covering = limits.find_covering(written).map_err(|error| item.refuse(error))?;
        if let Some(covering) = covering {
            item.warn(format_args!(
                "has no effect: requests have the label of the limit or exempt path `{covering}`, \
                 which covers it. Remove one of them"
            ));
        }
        match patterns.insert(written).map_err(|error| item.refuse(error))? {
            Some(first) => Err(item.refuse(format_args!("covers the same paths as `{first}`"))),
            None => Ok(()),
        }
    })?;
    if patterns.len() > MAX_ENDPOINTS {
        return Err(list.refuse(format_args!(
            "{} patterns are too many: metrics have room for {MAX_ENDPOINTS}",
            patterns.len()
        )));
    }
    Ok(patterns)
}

/// Returns the patterns of a policy. The first of its labels is none.
fn patterns_of(policy: &Policy) -> EndpointPatterns {
    let mut patterns = EndpointPatterns::default();
    for label in policy.endpoints().iter().skip(1) {
        let inserted = patterns.insert(label);
        debug_assert!(inserted.is_ok(), "{label}");
    }
    patterns
}

fn custom(list: &Field<'_>) -> Result<Vec<CustomMetric>, Refused> {
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut next_index = 0;
    let metrics = list.items(|item| {
        let index = next_index;
        next_index += 1;
        let metric = item.table(|table| metric(item, table))?;
        if let Some((name, first)) = names.iter().find(|(name, _)| name == metric.name()) {
            return Err(
                item.refuse(format_args!("`{name}` is already metrics.custom[{first}]: keep one"))
            );
        }
        names.push((metric.name().to_owned(), index));
        Ok(metric)
    })?;
    if metrics.len() > MAX_CUSTOM_METRICS {
        return Err(list.refuse(format_args!(
            "{} metrics are too many: at most {MAX_CUSTOM_METRICS} can be declared",
            metrics.len()
        )));
    }
    Ok(metrics)
}

fn metric(item: &Field<'_>, table: &Table<'_>) -> Result<CustomMetric, Refused> {
    let name =
        table.field("name").required("write the name for /metrics").and_then(|field| field.text());
    let kind = table
        .field("kind")
        .required("write `counter`, `gauge` or `histogram`")
        .and_then(|field| field.choice(&KINDS));
    let labels = table
        .field("labels")
        .or(Vec::new(), |field| field.items(|label| label.text().map(str::to_owned)));
    let help = table.field("help").optional(Field::text);
    let unit = table.field("unit").optional(Field::text);
    let boundaries = table.field("boundaries").or(Vec::new(), |field| {
        if kind.is_ok_and(|kind| kind != Kind::Histogram) {
            return Err(field.refuse("only a histogram has boundaries: remove the key"));
        }
        field.items(Field::number)
    });
    let kind = match kind? {
        Kind::Counter => CustomKind::Counter,
        Kind::Gauge => CustomKind::Gauge,
        Kind::Histogram => CustomKind::Histogram(boundaries?),
    };
    let labels = labels?;
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let (name, help, unit) = (name?, help?, unit?);
    let mut metric = CustomMetric::new(name, kind, &labels).map_err(|error| item.refuse(error))?;
    if let Some(help) = help {
        metric = metric.with_help(help);
    }
    if let Some(unit) = unit {
        metric = metric.with_unit(unit);
    }
    Ok(metric)
}
