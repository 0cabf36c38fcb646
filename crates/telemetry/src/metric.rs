//! What a metric is: its name, kind, unit, labels and help text.

use opentelemetry::{
    KeyValue, StringValue,
    metrics::{AsyncInstrument, Counter, Gauge, Histogram, Meter},
};

/// The most series that one metric keeps, whatever its labels allow.
///
/// Beyond it the SDK adds further label combinations to one series, which is labelled
/// `otel_metric_overflow="true"`, so that sums stay correct. The number is the largest that the
/// SDK's hash table holds in 4,096 slots; the table is allocated in full when the metric is made.
pub const MAX_SERIES: usize = 3_500;

/// A metric of the [`catalogue`](crate::catalogue), as readers of the metrics see it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The name on `/metrics`, with its suffixes.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// The unit in UCUM notation: `s` for seconds, `By` for bytes, `1` for a ratio, `{request}` for
    /// things that are counted.
    pub unit: &'static str,
    /// The labels, in alphabetical order.
    pub labels: &'static [Label],
    /// The help text: what the values mean, in one sentence.
    pub help: &'static str,
    /// An example of a useful `PromQL` query.
    pub query: &'static str,
}

/// How the values of a metric change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// The value only grows, until the process restarts.
    Counter,
    /// The value goes up and down.
    Gauge,
    /// Values are counted in buckets with these upper boundaries, in the metric's unit. One more
    /// bucket holds the values above the last boundary.
    Histogram(&'static [f64]),
}

/// A label of a metric: its name, and the values that it can have.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Label {
    /// The name on `/metrics`.
    pub name: &'static str,
    /// The values that the label can have.
    pub values: LabelValues,
}

/// The values that a label can have.
#[derive(Clone, Copy, Debug)]
pub enum LabelValues {
    /// These values and no others.
    Fixed(&'static [&'static str]),
    /// Names from the configuration or from an application: the first ones, up to this number, and
    /// [`OTHER`](crate::OTHER) for all further names.
    Capped(usize),
}

// === impl MetricKind ===

impl MetricKind {
    /// Returns the kind's name in the Prometheus text format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

// === impl Label ===

impl Label {
    pub(crate) const fn fixed(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values: LabelValues::Fixed(values) }
    }

    pub(crate) const fn capped(name: &'static str, cap: usize) -> Self {
        Self { name, values: LabelValues::Capped(cap) }
    }

    /// Returns the largest number of distinct values, [`OTHER`](crate::OTHER) included.
    #[must_use]
    pub const fn max_values(&self) -> usize {
        match self.values {
            LabelValues::Fixed(values) => values.len(),
            LabelValues::Capped(cap) => cap + 1,
        }
    }

    pub(crate) fn with(&self, value: impl Into<StringValue>) -> KeyValue {
        KeyValue::new(self.name, value.into())
    }
}

// === impl Metric ===

impl Metric {
    /// Returns the largest number of series that this metric keeps, without the SDK's overflow
    /// series. The buckets of a histogram count as one series.
    #[must_use]
    pub fn max_series(&self) -> usize {
        let combinations = self.labels.iter().map(Label::max_values).product::<usize>();
        combinations.min(MAX_SERIES)
    }

    pub(crate) fn counter(&self, meter: &Meter) -> Counter<u64> {
        debug_assert_eq!(self.kind, MetricKind::Counter, "{}", self.name);
        let counter =
            meter.u64_counter(self.name).with_description(self.help).with_unit(self.unit).build();
        if self.labels.is_empty() {
            // `rate` and `increase` do not see the first event of a counter that only appears with
            // that event.
            counter.add(0, &[]);
        }
        counter
    }

    pub(crate) fn gauge(&self, meter: &Meter) -> Gauge<u64> {
        debug_assert_eq!(self.kind, MetricKind::Gauge, "{}", self.name);
        meter.u64_gauge(self.name).with_description(self.help).with_unit(self.unit).build()
    }

    pub(crate) fn ratio(&self, meter: &Meter) -> Gauge<f64> {
        debug_assert_eq!(self.kind, MetricKind::Gauge, "{}", self.name);
        meter.f64_gauge(self.name).with_description(self.help).with_unit(self.unit).build()
    }

    /// Makes a gauge whose values `observe` supplies each time the metrics are read.
    pub(crate) fn observed(
        &self,
        meter: &Meter,
        observe: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        debug_assert_eq!(self.kind, MetricKind::Gauge, "{}", self.name);
        let gauge =
            meter.u64_observable_gauge(self.name).with_description(self.help).with_unit(self.unit);
        // The meter's provider keeps the callback; the handle itself has no methods.
        let _handle = gauge.with_callback(observe).build();
    }

    /// Makes a gauge of fractions whose values `observe` supplies each time the metrics are read.
    pub(crate) fn observed_amount(
        &self,
        meter: &Meter,
        observe: impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static,
    ) {
        debug_assert_eq!(self.kind, MetricKind::Gauge, "{}", self.name);
        let gauge =
            meter.f64_observable_gauge(self.name).with_description(self.help).with_unit(self.unit);
        // The meter's provider keeps the callback; the handle itself has no methods.
        let _handle = gauge.with_callback(observe).build();
    }

    /// Makes a counter whose total `observe` supplies each time the metrics are read.
    pub(crate) fn observed_total(
        &self,
        meter: &Meter,
        observe: impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static,
    ) {
        debug_assert_eq!(self.kind, MetricKind::Counter, "{}", self.name);
        let counter = meter
            .f64_observable_counter(self.name)
            .with_description(self.help)
            .with_unit(self.unit);
        // The meter's provider keeps the callback; the handle itself has no methods.
        let _handle = counter.with_callback(observe).build();
    }

    pub(crate) fn durations(&self, meter: &Meter) -> Histogram<f64> {
        meter
            .f64_histogram(self.name)
            .with_description(self.help)
            .with_unit(self.unit)
            .with_boundaries(self.boundaries().to_vec())
            .build()
    }

    pub(crate) fn sizes(&self, meter: &Meter) -> Histogram<u64> {
        meter
            .u64_histogram(self.name)
            .with_description(self.help)
            .with_unit(self.unit)
            .with_boundaries(self.boundaries().to_vec())
            .build()
    }

    fn boundaries(&self) -> &'static [f64] {
        match self.kind {
            MetricKind::Histogram(boundaries) => boundaries,
            MetricKind::Counter | MetricKind::Gauge => {
                debug_assert!(false, "{} is not a histogram", self.name);
                &[]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_without_labels_has_one_series() {
        let metric = Metric {
            name: "a",
            kind: MetricKind::Gauge,
            unit: "1",
            labels: &[],
            help: "",
            query: "",
        };
        assert_eq!(metric.max_series(), 1);
    }
}
