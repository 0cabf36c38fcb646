//! Metrics of an application's own, which the configuration declares.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, Meter},
};
use parking_lot::RwLock;

use crate::labels::{CappedValues, MAX_VALUE_BYTES};

/// The most metrics that can be declared.
pub const MAX_CUSTOM_METRICS: usize = 100;
/// The most values that a label of a declared metric keeps. Further values become `other`.
const MAX_CUSTOM_VALUES: usize = 50;
/// The most series that a declared metric keeps.
pub(crate) const MAX_CUSTOM_SERIES: usize = 500;
/// The largest amount that a counter or a histogram accepts at a time. Two amounts near the largest
/// `f64` would make an infinite sum, which stays until the process ends.
const MAX_AMOUNT: f64 = 1e15;
/// The boundaries of a histogram that declares none. For seconds, they reach from a millisecond to
/// five minutes.
const DEFAULT_BOUNDARIES: [f64; 15] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// A metric of an application's own.
///
/// [`CustomMetric::new`] accepts only a metric that can exist beside Sluice's own.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomMetric {
    name: String,
    kind: CustomKind,
    /// In alphabetical order.
    labels: Vec<String>,
    help: String,
    unit: String,
}

/// How the values of a custom metric change.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CustomKind {
    /// The value only grows.
    Counter,
    /// The value goes up and down.
    Gauge,
    /// Values are counted in buckets with these upper boundaries. An empty list stands for default
    /// boundaries, which suit durations in seconds.
    Histogram(Vec<f64>),
}

/// Why a value was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CustomValueError {
    /// No metric of this name is declared.
    #[error("no metric `{name}` is declared: add it to `metrics.custom` in the configuration")]
    Unknown {
        /// The metric's name.
        name: String,
    },
    /// The metric is of another kind.
    #[error("`{name}` is declared as a {declared}, not as a {requested}")]
    Kind {
        /// The metric's name.
        name: String,
        /// The kind that was declared.
        declared: &'static str,
        /// The kind that the caller expected.
        requested: &'static str,
    },
    /// The labels are not those that were declared.
    #[error("`{name}` needs exactly {declared}")]
    Labels {
        /// The metric's name.
        name: String,
        /// The labels that were declared, as text.
        declared: String,
    },
    /// The metric does not accept the value.
    #[error("`{name}` does not accept {value}: a {declared} needs {expected}")]
    Value {
        /// The metric's name.
        name: String,
        /// The value.
        value: String,
        /// The metric's kind.
        declared: &'static str,
        /// The values that the metric accepts.
        expected: &'static str,
    },
}

/// Records metrics of an application's own. Cheap to clone; clones share the declared metrics.
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
    values: Vec<CappedValues>,
}

#[derive(Debug)]
enum Instrument {
    Counter(Counter<f64>),
    Gauge(Gauge<f64>),
    Histogram(Histogram<f64>),
}

// === impl CustomMetric ===

impl CustomMetric {
    /// Creates a metric from parts that were checked before.
    pub(crate) fn from_checked(name: &str, kind: CustomKind, mut labels: Vec<String>) -> Self {
        labels.sort_unstable();
        let help = format!("Holds the custom metric `{name}`, which applications report.");
        Self { name: name.to_owned(), kind, labels, help, unit: "1".to_owned() }
    }

    /// Replaces the help text, which says what the values mean.
    #[must_use]
    pub fn with_help(mut self, help: &str) -> Self {
        help.clone_into(&mut self.help);
        self
    }

    /// Replaces the unit, in UCUM notation.
    #[must_use]
    pub fn with_unit(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.unit);
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> &CustomKind {
        &self.kind
    }

    /// Returns the labels, in alphabetical order.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    fn labels_as_text(&self) -> String {
        match self.labels.as_slice() {
            [] => "no labels".to_owned(),
            labels => format!(
                "the labels {}",
                labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

// === impl CustomKind ===

impl CustomKind {
    /// Returns the kind's name in the Prometheus text format.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

// === impl CustomRecorder ===

impl CustomRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self { meter: meter.clone(), declared: Arc::default() }
    }

    /// Declares `metrics`, beside those that are declared already. A declared metric stays until
    /// the process ends, as its series do.
    ///
    /// Returns the names of the metrics that could not be declared: because another metric has the
    /// name already, or because [`MAX_CUSTOM_METRICS`] are declared.
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
                Some(_) | None => refused.push(metric.name.clone()),
            }
        }
        refused
    }

    /// Adds `amount` to a counter.
    ///
    /// # Errors
    ///
    /// [`CustomValueError`] if no such counter with these labels is declared, or if the amount is
    /// not a number from 0 to 10^15.
    pub fn count(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        amount: f64,
    ) -> Result<(), CustomValueError> {
        let declared = self.find(name)?;
        let Instrument::Counter(counter) = &declared.instrument else {
            return Err(declared.wrong_kind("counter"));
        };
        if !(0.0..=MAX_AMOUNT).contains(&amount) {
            return Err(declared.wrong_value(amount, "a number from 0 to 10^15"));
        }
        counter.add(amount, &declared.labels(labels)?);
        Ok(())
    }

    /// Sets a gauge to `value`.
    ///
    /// # Errors
    ///
    /// [`CustomValueError`] if no such gauge with these labels is declared, or if the value is not
    /// a finite number.
    pub fn set(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<(), CustomValueError> {
        let declared = self.find(name)?;
        let Instrument::Gauge(gauge) = &declared.instrument else {
            return Err(declared.wrong_kind("gauge"));
        };
        if !value.is_finite() {
            return Err(declared.wrong_value(value, "a finite number"));
        }
        gauge.record(value, &declared.labels(labels)?);
        Ok(())
    }

    /// Records `value` in a histogram.
    ///
    /// # Errors
    ///
    /// [`CustomValueError`] if no such histogram with these labels is declared, or if the value is
    /// not a number from -10^15 to 10^15.
    pub fn observe(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) -> Result<(), CustomValueError> {
        let declared = self.find(name)?;
        let Instrument::Histogram(histogram) = &declared.instrument else {
            return Err(declared.wrong_kind("histogram"));
        };
        if !(-MAX_AMOUNT..=MAX_AMOUNT).contains(&value) {
            return Err(declared.wrong_value(value, "a number from -10^15 to 10^15"));
        }
        histogram.record(value, &declared.labels(labels)?);
        Ok(())
    }

    /// Returns the declared metric with this name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<CustomMetric> {
        self.declared.read().get(name).map(|declared| declared.metric.clone())
    }

    fn find(&self, name: &str) -> Result<Arc<Declared>, CustomValueError> {
        self.declared.read().get(name).cloned().ok_or_else(|| {
            // An application's text may be long: it is cut before it is shown.
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
            .map(|_| CappedValues::named(meter, Cow::Borrowed("custom"), MAX_CUSTOM_VALUES))
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
                    if boundaries.is_empty() { DEFAULT_BOUNDARIES.to_vec() } else { boundaries };
                let histogram = meter.f64_histogram(name).with_description(help).with_unit(unit);
                Instrument::Histogram(histogram.with_boundaries(boundaries).build())
            }
        };
        if let Instrument::Counter(counter) = &instrument
            && labels.is_empty()
        {
            // The series exists before its first event, as for every counter of the catalogue.
            counter.add(0.0, &[]);
        }
        Self { metric: metric.clone(), instrument, values }
    }

    /// Returns the labels in the declared order, whatever the order of `given`.
    fn labels(&self, given: &[(&str, &str)]) -> Result<Vec<KeyValue>, CustomValueError> {
        let wrong = || CustomValueError::Labels {
            name: self.metric.name.clone(),
            declared: self.metric.labels_as_text(),
        };
        if given.len() != self.metric.labels.len() {
            return Err(wrong());
        }
        let label = |(label, values): (&String, &CappedValues)| {
            let (_, value) = given.iter().find(|(name, _)| name == label).ok_or_else(wrong)?;
            Ok(KeyValue::new(label.clone(), values.value(value)))
        };
        self.metric.labels.iter().zip(&self.values).map(label).collect()
    }

    fn wrong_kind(&self, requested: &'static str) -> CustomValueError {
        CustomValueError::Kind {
            name: self.metric.name.clone(),
            declared: self.metric.kind.as_str(),
            requested,
        }
    }

    fn wrong_value(&self, value: f64, expected: &'static str) -> CustomValueError {
        CustomValueError::Value {
            name: self.metric.name.clone(),
            // As `1e308`, and not with all of its zeros.
            value: format!("{value:?}"),
            declared: self.metric.kind.as_str(),
            expected,
        }
    }
}
