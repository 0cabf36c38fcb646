//! `metrics: { custom: [{ name: my_feature_total, kind: counter, labels: [operation], help: "...",
//! unit: "1" }] }`.

use sluice::stats::events::{CustomKind, CustomMetric};
use sluice_telemetry::MAX_CUSTOM_METRICS;

use crate::{
    error::Refused,
    reader::{Field, Table},
};

/// The kinds by their words.
const KINDS: [(&str, Kind); 3] =
    [("counter", Kind::Counter), ("gauge", Kind::Gauge), ("histogram", Kind::Histogram)];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

pub(super) fn read(metrics: &Field<'_>) -> Result<Vec<CustomMetric>, Refused> {
    metrics.or(Vec::new(), |metrics| {
        metrics.table(|metrics| metrics.field("custom").or(Vec::new(), custom))
    })
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
