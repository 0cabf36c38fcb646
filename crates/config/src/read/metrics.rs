//! `metrics: { custom: [{ name: my_feature_total, kind: counter, labels: [operation], help: "...",
//! unit: "1" }] }`.

use sluice::events::{CustomKind, CustomMetric};
use sluice_telemetry::MAX_CUSTOM_METRICS;

use super::numbers::optional;
use crate::reader::{Field, Table};

/// The kinds by their words.
const KINDS: [(&str, Kind); 3] =
    [("counter", Kind::Counter), ("gauge", Kind::Gauge), ("histogram", Kind::Histogram)];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

pub(super) fn read(metrics: &Field<'_>) -> Option<Vec<CustomMetric>> {
    optional(metrics, Some(Vec::new()), |metrics| {
        metrics.table(|metrics| optional(&metrics.field("custom"), Some(Vec::new()), custom))
    })
}

fn custom(list: &Field<'_>) -> Option<Vec<CustomMetric>> {
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut places = 0..;
    let metrics = list.items(|item| {
        let place = places.next()?;
        let metric = item.table(|table| metric(item, table))?;
        if let Some((_, first)) = names.iter().find(|(name, _)| name == metric.name()) {
            return item.refuse(format_args!(
                "`{}` is already metrics.custom[{first}]: keep one",
                metric.name()
            ));
        }
        names.push((metric.name().to_owned(), place));
        Some(metric)
    })?;
    if metrics.len() > MAX_CUSTOM_METRICS {
        return list.refuse(format_args!(
            "{} metrics are too many: at most {MAX_CUSTOM_METRICS} can be declared",
            metrics.len()
        ));
    }
    Some(metrics)
}

fn metric(item: &Field<'_>, table: &Table<'_>) -> Option<CustomMetric> {
    let name = table
        .field("name")
        .required("write the name it shall have on /metrics")
        .and_then(|field| field.text());
    let kind = table
        .field("kind")
        .required("write `counter`, `gauge` or `histogram`")
        .and_then(|field| field.choice(&KINDS));
    let labels = optional(&table.field("labels"), Some(Vec::new()), |field| {
        field.items(|label| label.text().map(str::to_owned))
    });
    let help = optional(&table.field("help"), Some(None), |field| field.text().map(Some));
    let unit = optional(&table.field("unit"), Some(None), |field| field.text().map(Some));
    let boundaries = optional(&table.field("boundaries"), Some(Vec::new()), |field| {
        if kind.is_some_and(|kind| kind != Kind::Histogram) {
            return field.refuse("only a histogram has boundaries: remove the key");
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
    let mut metric = match CustomMetric::new(name, kind, &labels) {
        Ok(metric) => metric,
        Err(error) => return item.refuse(error),
    };
    if let Some(help) = help {
        metric = metric.with_help(help);
    }
    if let Some(unit) = unit {
        metric = metric.with_unit(unit);
    }
    Some(metric)
}
