//! What an instrument is called, counts and is labelled with: one [`Metric`] each, written beside
//! its recorder.

use opentelemetry::metrics::{AsyncInstrument, Counter, Gauge, Histogram, Meter};

use crate::{labels::Label, recorders};

/// The most series one instrument keeps, whatever its labels allow.
///
/// Past it the SDK adds further label combinations to one series, `otel_metric_overflow="true"`, so
/// sums stay true. The number is the largest the SDK's table holds in 4,096 slots: it is laid out
/// in full when the instrument is made.
pub const MAX_SERIES: usize = 3_500;

/// The most series one instrument keeps that is not in the catalogue: one that the configuration
/// declares.
pub(crate) const MAX_CUSTOM_SERIES: usize = 500;

/// One instrument of the catalogue, as those who read the metrics know it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The name on `/metrics`, suffixes included.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// The unit in UCUM notation: `s`, `By`, `1` for a ratio, `{request}` for things that are
    /// counted.
    pub unit: &'static str,
    /// The labels, in alphabetical order.
    pub labels: &'static [Label],
    /// What the number tells, in one sentence.
    pub help: &'static str,
    /// A `PromQL` query worth starting from.
    pub query: &'static str,
}

/// How an instrument's numbers behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricKind {
    /// Only grows, until the process restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values in buckets with these upper boundaries, in the metric's unit; a last bucket
    /// takes the rest.
    Histogram(&'static [f64]),
}

/// Every instrument Sluice has, in the order of its documentation.
///
/// # Examples
///
/// ```
/// let names: Vec<_> = sluice_telemetry::catalogue().map(|metric| metric.name).collect();
/// assert!(names.contains(&"http_requests_total"));
/// ```
pub fn catalogue() -> impl Iterator<Item = &'static Metric> {
    recorders::METRICS.iter().copied().flatten()
}

// === impl MetricKind ===

impl MetricKind {
    /// The kind's name in the Prometheus text format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

// === impl Metric ===

impl Metric {
    /// The most series this instrument keeps, the overflow series not counted; a histogram's
    /// buckets count as one.
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
            // A counter that appears with its first event hides that event from `rate` and
            // `increase`.
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

    /// A gauge that `observe` is asked for at each reading, for as long as the meter's provider
    /// lives.
    pub(crate) fn observed(
        &self,
        meter: &Meter,
        observe: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        debug_assert_eq!(self.kind, MetricKind::Gauge, "{}", self.name);
        let gauge =
            meter.u64_observable_gauge(self.name).with_description(self.help).with_unit(self.unit);
        let _handle_without_methods = gauge.with_callback(observe).build();
    }

    /// A counter that `observe` is asked for at each reading, for as long as the meter's provider
    /// lives.
    #[cfg(target_os = "linux")]
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
        let _handle_without_methods = counter.with_callback(observe).build();
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
                debug_assert!(false, "{} is no histogram", self.name);
                &[]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_metric_is_listed_once() {
        let mut names = HashSet::new();
        for metric in catalogue() {
            assert!(names.insert(metric.name), "{} is listed twice", metric.name);
        }
    }

    #[test]
    fn labels_are_in_alphabetical_order() {
        // The SDK keeps a second entry for a label combination that is handed over in another
        // order.
        for metric in catalogue() {
            assert!(metric.labels.is_sorted_by_key(|label| label.name), "{}", metric.name);
        }
    }

    #[test]
    fn names_carry_their_unit() {
        for metric in catalogue() {
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == MetricKind::Counter,
                "{}",
                metric.name
            );
            let suffix = match metric.unit {
                "s" => "_seconds",
                "By" => "_bytes",
                _ => continue,
            };
            assert!(metric.name.trim_end_matches("_total").ends_with(suffix), "{}", metric.name);
        }
    }

    #[test]
    fn boundaries_grow() {
        for metric in catalogue() {
            if let MetricKind::Histogram(boundaries) = metric.kind {
                assert!(!boundaries.is_empty(), "{}", metric.name);
                assert!(boundaries.is_sorted_by(|left, right| left < right), "{}", metric.name);
            }
        }
    }

    #[test]
    fn a_metric_without_labels_is_one_series() {
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

    #[test]
    fn no_metric_keeps_more_series_than_the_cap() {
        for metric in catalogue() {
            assert!((1..=MAX_SERIES).contains(&metric.max_series()), "{}", metric.name);
        }
    }
}
