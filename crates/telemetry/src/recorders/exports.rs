//! Exports to an OTLP collector.

use opentelemetry::metrics::{BoundCounter, Meter};

use crate::{
    labels::label_values,
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// What is exported.
    pub enum Signal {
        /// Metrics.
        Metrics => "metrics",
        /// Traces.
        Traces => "traces",
    }
}

const SIGNAL: Label = Label::fixed("signal", Signal::TEXTS);

const FAILED_EXPORTS: Metric = Metric {
    name: "sluice_otlp_failed_exports_total",
    kind: MetricKind::Counter,
    unit: "{export}",
    labels: &[SIGNAL],
    help: "Counts exports that the OTLP collector did not accept, by signal. What they held is \
           lost.",
    query: "sum by (signal) (rate(sluice_otlp_failed_exports_total[5m]))",
};

pub(crate) const METRICS: &[Metric] = &[FAILED_EXPORTS];

/// Records exports to an OTLP collector.
#[derive(Clone, Debug)]
pub struct ExportRecorder {
    failed: [BoundCounter<u64>; Signal::ALL.len()],
}

impl ExportRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        let failed = FAILED_EXPORTS.counter(meter);
        Self {
            failed: std::array::from_fn(|index| failed.bind(&[SIGNAL.with(Signal::TEXTS[index])])),
        }
    }

    /// Counts one export that the collector did not accept.
    pub fn failed(&self, signal: Signal) {
        self.failed[signal.index()].add(1);
    }
}
