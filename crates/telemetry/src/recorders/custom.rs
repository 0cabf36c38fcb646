//! Metrics of an application's own, declared in the configuration.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};
use parking_lot::RwLock;

use crate::{
    catalogue::{MetricKind, catalogue},
    labels::{LabelSet, MAX_VALUE_BYTES},
};

/// The most metrics that can be declared.
pub const MAX_CUSTOM_METRICS: usize = 100;
/// The most labels of one of them.
pub const MAX_CUSTOM_LABELS: usize = 5;
/// The most values that one of its labels keeps; the rest become `other`.
const MAX_CUSTOM_VALUES: usize = 50;
/// Boundaries of a histogram that names none: from a millisecond to five minutes, when it counts
/// seconds.
const USUAL_BOUNDARIES: [f64; 15] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// A metric of an application's own. Valid once made.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomMetric {
    name: String,
    kind: CustomKind,
    /// In alphabetical order.
    labels: Vec<String>,
    help: String,
    unit: String,
}

/// How the numbers of a custom metric behave.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CustomKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets with these upper boundaries; of none, the usual ones for seconds.
    Histogram(Vec<f64>),
}

/// Why a metric cannot be declared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomMetricError {
    /// No metric can be called so.
    #[error(
        "`{name}` names no metric: use letters, digits and `_`, a letter first, at most 100 in all"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The name is taken, or would be read as another's.
    #[error(
        "`{name}` is a metric of Sluice already, or begins like Sluice's own: choose another name"
    )]
    Taken {
        /// The name.
        name: String,
    },
    /// A counter is to say that it is one, and nothing else is to.
    #[error("`{name}`: the name of a counter ends in `_total`, and that of no other metric")]
    Suffix {
        /// The name.
        name: String,
    },
    /// No label can be called so.
    #[error(
        "`{label}` names no label: use letters, digits and `_`, a letter first, and neither `le` nor `quantile`"
    )]
    Label {
        /// The label.
        label: String,
    },
    /// A label is there twice.
    #[error("the label `{label}` is there twice: keep one")]
    LabelTwice {
        /// The label.
        label: String,
    },
    /// Too many labels.
    #[error(
        "{count} labels are too many: each multiplies the number of series, so at most {MAX_CUSTOM_LABELS} are possible"
    )]
    TooManyLabels {
        /// How many there are.
        count: usize,
    },
    /// The boundaries do not grow.
    #[error("the boundaries must be at most 50 numbers, each greater than the one before")]
    Boundaries,
}

/// Why a value was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomValueError {
    /// No metric of this name was declared.
    #[error("no metric `{name}` is declared: add it to `metrics.custom` in the configuration")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The metric is of another kind.
    #[error("`{name}` is declared as a {declared}, not as a {asked}")]
    Kind {
        /// The name.
        name: String,
        /// What it is.
        declared: &'static str,
        /// What it was taken for.
        asked: &'static str,
    },
    /// The labels are not those that were declared.
    #[error("`{name}` has {declared}, each once and no other")]
    Labels {
        /// The name.
        name: String,
        /// What was declared, in words.
        declared: String,
    },
    /// A counter or histogram cannot take the number.
    #[error("`{name}` cannot take {value}: a {declared} takes {wanted}")]
    Value {
        /// The name.
        name: String,
        /// The number.
        value: String,
        /// What the metric is.
        declared: &'static str,
        /// What would be right.
        wanted: &'static str,
    },
}

/// Records metrics of an application's own. Cheap to clone; clones share what is declared.
#[derive(Clone)]
pub struct CustomRecorder {
    meter: Meter,
    declared: Arc<RwLock<BTreeMap<String, Arc<Declared>>>>,
}

#[derive(Debug)]
struct Declared {
    metric: CustomMetric,
    instrument: Instrument,
    /// In the order of the metric's labels.
    values: Vec<LabelSet>,
}

#[derive(Debug)]
enum Instrument {
    Counter(Counter<f64>),
    Gauge(Gauge<f64>),
    Histogram(Histogram<f64>),
}

// === impl CustomMetric ===

impl CustomMetric {
    /// A metric called `name`, with these labels.
    ///
    /// # Errors
    /// When there can be no such metric beside Sluice's own.
    pub fn new(name: &str, kind: CustomKind, labels: &[&str]) -> Result<Self, CustomMetricError> {
        let owned = || name.to_owned();
        if !is_identifier(name) || name.len() > 100 {
            return Err(CustomMetricError::Name { name: owned() });
        }
        if is_taken(name) {
            return Err(CustomMetricError::Taken { name: owned() });
        }
        if name.ends_with("_total") != (kind == CustomKind::Counter) {
            return Err(CustomMetricError::Suffix { name: owned() });
        }
        if labels.len() > MAX_CUSTOM_LABELS {
            return Err(CustomMetricError::TooManyLabels { count: labels.len() });
        }
        for (i, &label) in labels.iter().enumerate() {
            let label_owned = || label.to_owned();
            if !is_identifier(label)
                || label.starts_with("__")
                || ["le", "quantile", "otel_metric_overflow"].contains(&label)
            {
                return Err(CustomMetricError::Label { label: label_owned() });
            }
            if labels[..i].contains(&label) {
                return Err(CustomMetricError::LabelTwice { label: label_owned() });
            }
        }
        if let CustomKind::Histogram(boundaries) = &kind {
            let grow = boundaries.is_sorted_by(|left, right| left < right);
            if boundaries.len() > 50
                || !grow
                || boundaries.iter().any(|boundary| !boundary.is_finite())
            {
                return Err(CustomMetricError::Boundaries);
            }
        }
        let mut labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        labels.sort_unstable();
        let help = format!("`{name}`, as applications report it.");
        Ok(Self { name: owned(), kind, labels, help, unit: "1".to_owned() })
    }

    /// The same metric, with what it tells in words.
    #[must_use]
    pub fn with_help(mut self, help: &str) -> Self {
        help.clone_into(&mut self.help);
        self
    }

    /// The same metric, with its unit in UCUM notation.
    #[must_use]
    pub fn with_unit(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.unit);
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Counter, gauge or histogram.
    #[must_use]
    pub const fn kind(&self) -> &CustomKind {
        &self.kind
    }

    /// The labels, in alphabetical order.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    fn labels_in_words(&self) -> String {
        match self.labels.as_slice() {
            [] => "no labels".to_owned(),
            labels => format!(
                "the labels {}",
                labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

impl CustomKind {
    /// The kind's name in the Prometheus text format.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Letters, digits and `_`, no digit first: what metrics and labels have in common.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether `name`, or one of the names that a metric of that name has on `/metrics`, is somebody
/// else's.
fn is_taken(name: &str) -> bool {
    const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];
    let stem = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    let collides = |known: &str, kind: MetricKind| {
        known == name
            || (matches!(kind, MetricKind::Histogram(_)) && stem == Some(known))
            || SUFFIXES.iter().any(|suffix| known.strip_suffix(suffix) == Some(name))
    };
    let reserved = ["sluice_", "otel_", "process_", "scrape_", "__"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    reserved
        || name == "up"
        || name == "target_info"
        || catalogue().any(|metric| collides(metric.name, metric.kind))
}

// === impl CustomRecorder ===

impl CustomRecorder {
    /// A recorder on `meter`, with nothing declared.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self { meter: meter.clone(), declared: Arc::default() }
    }

    /// Makes room for `metrics`. What was declared before stays: a series does not end while its
    /// process runs.
    ///
    /// Returns the names that were declared differently before, or for which there is no room. They
    /// stay as they were.
    pub fn declare(&self, metrics: &[CustomMetric]) -> Vec<String> {
        let mut declared = self.declared.write();
        let mut refused = Vec::new();
        for metric in metrics {
            match declared.get(&metric.name) {
                Some(known) if known.metric == *metric => {}
                None if declared.len() < MAX_CUSTOM_METRICS => {
                    declared
                        .insert(metric.name.clone(), Arc::new(Declared::new(&self.meter, metric)));
                }
                _ => refused.push(metric.name.clone()),
            }
        }
        refused
    }

    /// Adds `amount` to a counter.
    ///
    /// # Errors
    /// When no such counter is declared, or the amount is below zero.
    pub fn count(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        amount: f64,
    ) -> Result<(), CustomValueError> {
        let declared = self.find(name)?;
        let Instrument::Counter(counter) = &declared.instrument else {
            return Err(declared.is_no("counter"));
        };
        if !amount.is_finite() || amount < 0.0 {
            return Err(declared.cannot_take(amount, "a number that is not below 0"));
        }
        counter.add(amount, &declared.labels(labels)?);
        Ok(())
    }

    /// Puts a gauge at `value`.
    ///
    /// # Errors
    /// When no such gauge is declared.
    pub fn set(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<(), CustomValueError> {
        let declared = self.find(name)?;
        let Instrument::Gauge(gauge) = &declared.instrument else {
            return Err(declared.is_no("gauge"));
        };
        if !value.is_finite() {
            return Err(declared.cannot_take(value, "a number"));
        }
        gauge.record(value, &declared.labels(labels)?);
        Ok(())
    }

    /// Records `value` in a histogram.
    ///
    /// # Errors
    /// When no such histogram is declared.
    pub fn observe(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<(), CustomValueError> {
        let declared = self.find(name)?;
        let Instrument::Histogram(histogram) = &declared.instrument else {
            return Err(declared.is_no("histogram"));
        };
        if !value.is_finite() {
            return Err(declared.cannot_take(value, "a number"));
        }
        histogram.record(value, &declared.labels(labels)?);
        Ok(())
    }

    /// The metric of this name, if it is declared.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<CustomMetric> {
        self.declared.read().get(name).map(|declared| declared.metric.clone())
    }

    fn find(&self, name: &str) -> Result<Arc<Declared>, CustomValueError> {
        self.declared.read().get(name).cloned().ok_or_else(|| {
            // An application's own words are shown to nobody at full length.
            let shown = name
                .char_indices()
                .take_while(|(at, _)| *at < MAX_VALUE_BYTES)
                .map(|(_, c)| c)
                .collect();
            CustomValueError::Unknown { name: shown }
        })
    }
}

impl fmt::Debug for CustomRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomRecorder")
            .field("declared", &self.declared.read().len())
            .finish_non_exhaustive()
    }
}

// === impl Declared ===

impl Declared {
    fn new(meter: &Meter, metric: &CustomMetric) -> Self {
        let CustomMetric { name, kind, labels, help, unit } = metric.clone();
        let values = labels
            .iter()
            .map(|_| LabelSet::named(meter, Cow::Borrowed("custom"), MAX_CUSTOM_VALUES))
            .collect();
        let instrument = match kind {
            CustomKind::Counter => Instrument::Counter(
                meter.f64_counter(name).with_description(help).with_unit(unit).build(),
            ),
            CustomKind::Gauge => Instrument::Gauge(
                meter.f64_gauge(name).with_description(help).with_unit(unit).build(),
            ),
            CustomKind::Histogram(boundaries) => {
                let boundaries =
                    if boundaries.is_empty() { USUAL_BOUNDARIES.to_vec() } else { boundaries };
                let histogram = meter.f64_histogram(name).with_description(help).with_unit(unit);
                Instrument::Histogram(histogram.with_boundaries(boundaries).build())
            }
        };
        if let Instrument::Counter(counter) = &instrument
            && labels.is_empty()
        {
            // As every counter of the catalogue: there before its first event.
            counter.add(0.0, &[]);
        }
        Self { metric: metric.clone(), instrument, values }
    }

    /// The labels as declared, whatever the order they are given in.
    fn labels(&self, given: &[(&str, &str)]) -> Result<Vec<KeyValue>, CustomValueError> {
        let wrong = || CustomValueError::Labels {
            name: self.metric.name.clone(),
            declared: self.metric.labels_in_words(),
        };
        if given.len() != self.metric.labels.len() {
            return Err(wrong());
        }
        let label = |(label, values): (&String, &LabelSet)| {
            let (_, value) = given.iter().find(|(name, _)| name == label).ok_or_else(wrong)?;
            Ok(KeyValue::new(label.clone(), values.value(value)))
        };
        self.metric.labels.iter().zip(&self.values).map(label).collect()
    }

    fn is_no(&self, asked: &'static str) -> CustomValueError {
        CustomValueError::Kind {
            name: self.metric.name.clone(),
            declared: self.metric.kind.as_str(),
            asked,
        }
    }

    fn cannot_take(&self, value: f64, wanted: &'static str) -> CustomValueError {
        CustomValueError::Value {
            name: self.metric.name.clone(),
            value: value.to_string(),
            declared: self.metric.kind.as_str(),
            wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Telemetry;

    fn telemetry(metrics: &[CustomMetric]) -> Telemetry {
        let telemetry = Telemetry::builder().build().expect("the parts are sound");
        assert_eq!(telemetry.recorders().custom.declare(metrics), Vec::<String>::new());
        telemetry
    }

    fn metric(name: &str, kind: CustomKind, labels: &[&str]) -> CustomMetric {
        CustomMetric::new(name, kind, labels).expect("the metric is possible")
    }

    #[test]
    fn what_is_declared_is_recorded() {
        let telemetry = telemetry(&[
            metric("my_feature_total", CustomKind::Counter, &["operation", "colour"])
                .with_help("How often."),
            metric("queue_depth", CustomKind::Gauge, &[]),
            metric("job_seconds", CustomKind::Histogram(vec![1.0, 10.0]), &["job"]).with_unit("s"),
        ]);
        let custom = &telemetry.recorders().custom;
        custom
            .count("my_feature_total", &[("operation", "a"), ("colour", "red")], 2.0)
            .expect("it is declared");
        custom
            .count("my_feature_total", &[("colour", "red"), ("operation", "a")], 0.5)
            .expect("in any order");
        custom.set("queue_depth", &[], -7.0).expect("it is declared");
        custom.observe("job_seconds", &[("job", "x")], 5.0).expect("it is declared");
        let text = telemetry.prometheus().render().expect("it renders");
        for line in [
            "# HELP my_feature_total How often.",
            "my_feature_total{colour=\"red\",operation=\"a\"} 2.5",
            "queue_depth -7",
            "job_seconds_bucket{job=\"x\",le=\"1\"} 0",
            "job_seconds_bucket{job=\"x\",le=\"10\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
    }

    #[test]
    fn what_was_not_declared_is_refused_with_what_was() {
        let telemetry =
            telemetry(&[metric("my_feature_total", CustomKind::Counter, &["operation"])]);
        let custom = &telemetry.recorders().custom;
        let told =
            |result: Result<(), CustomValueError>| result.expect_err("it is wrong").to_string();
        let unknown =
            "no metric `mine` is declared: add it to `metrics.custom` in the configuration";
        assert_eq!(told(custom.set("mine", &[], 1.0)), unknown);
        assert_eq!(
            told(custom.set("my_feature_total", &[], 1.0)),
            "`my_feature_total` is declared as a counter, not as a gauge"
        );
        let labels = "`my_feature_total` has the labels `operation`, each once and no other";
        for given in [&[][..], &[("colour", "red")], &[("operation", "a"), ("colour", "red")]] {
            assert_eq!(told(custom.count("my_feature_total", given, 1.0)), labels);
        }
        let value =
            "`my_feature_total` cannot take -1: a counter takes a number that is not below 0";
        assert_eq!(told(custom.count("my_feature_total", &[("operation", "a")], -1.0)), value);
        assert!(custom.count("my_feature_total", &[("operation", "a")], f64::NAN).is_err());
    }

    #[test]
    fn a_metric_is_declared_once_and_stays_as_it_was() {
        let first = metric("depth", CustomKind::Gauge, &[]);
        let telemetry = telemetry(std::slice::from_ref(&first));
        let custom = &telemetry.recorders().custom;
        let second = metric("depth", CustomKind::Gauge, &["queue"]);
        assert_eq!(
            custom.declare(&[first.clone(), second, metric("width", CustomKind::Gauge, &[])]),
            ["depth"]
        );
        assert_eq!(custom.metric("depth"), Some(first));
        assert!(custom.metric("width").is_some());
        let many: Vec<_> =
            (0..200).map(|n| metric(&format!("gauge_{n}"), CustomKind::Gauge, &[])).collect();
        assert_eq!(custom.declare(&many).len(), 200 - (MAX_CUSTOM_METRICS - 2));
    }

    #[test]
    fn impossible_metrics_are_refused() {
        let refused = |name: &str, kind: CustomKind, labels: &[&str]| {
            CustomMetric::new(name, kind, labels).expect_err(name).to_string()
        };
        for name in ["", "9lives", "a-b", "a:b", "ä", &"x".repeat(101)] {
            assert!(refused(name, CustomKind::Gauge, &[]).contains("names no metric"), "{name}");
        }
        for name in [
            "sluice_mine",
            "up",
            "http_request_duration_seconds_sum",
            "active_deployments",
            "process_mine",
            "__name",
        ] {
            assert!(refused(name, CustomKind::Gauge, &[]).contains("already"), "{name}");
        }
        assert!(refused("mine", CustomKind::Counter, &[]).contains("_total"));
        assert!(refused("mine_total", CustomKind::Gauge, &[]).contains("_total"));
        assert!(refused("mine", CustomKind::Gauge, &["le"]).contains("names no label"));
        assert!(refused("mine", CustomKind::Gauge, &["a b"]).contains("names no label"));
        assert!(refused("mine", CustomKind::Gauge, &["a", "a"]).contains("twice"));
        assert!(
            refused("mine", CustomKind::Gauge, &["a", "b", "c", "d", "e", "f"])
                .contains("too many")
        );
        for boundaries in [vec![2.0, 1.0], vec![1.0, 1.0], vec![f64::NAN], vec![1.0, f64::INFINITY]]
        {
            assert!(refused("mine", CustomKind::Histogram(boundaries), &[]).contains("boundaries"));
        }
    }

    #[test]
    fn a_flood_of_label_values_is_a_bounded_number_of_series() {
        let telemetry = telemetry(&[metric("mine_total", CustomKind::Counter, &["a", "b"])]);
        for n in 0..20_000 {
            let (a, b) = (format!("{n}"), format!("{}", n % 173));
            telemetry
                .recorders()
                .custom
                .count("mine_total", &[("a", &a), ("b", &b)], 1.0)
                .expect("it is declared");
        }
        let text = telemetry.prometheus().render().expect("it renders");
        let values: Vec<f64> = text
            .lines()
            .filter(|line| line.starts_with("mine_total{"))
            .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
            .collect();
        assert!(values.len() <= 501, "{}", values.len());
        assert!((values.iter().sum::<f64>() - 20_000.0).abs() < 0.5);
        assert!(text.contains("sluice_labels_folded_total{label=\"custom\"} "), "{text}");
    }
}
