//! Executions of tools, as applications report them.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::shared_labels::STATUS;
use crate::{
    labels::CappedValues,
    metric::{Label, Metric, MetricKind},
};

const TOOL_NAME: Label = Label::capped("tool_name", 200);

const EXECUTIONS: Metric = Metric {
    name: "tool_executions_total",
    kind: MetricKind::Counter,
    unit: "{execution}",
    labels: &[STATUS, TOOL_NAME],
    help: "Counts executions of tools, by tool name and status.",
    query: "sum by (tool_name) (rate(tool_executions_total[5m]))",
};

const DURATION: Metric = Metric {
    name: "tool_execution_duration_seconds",
    kind: MetricKind::Histogram(&[
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
    ]),
    unit: "s",
    labels: &[TOOL_NAME],
    help: "Measures the time that executions of tools take, by tool name.",
    query: "histogram_quantile(0.95, \
            sum by (le, tool_name) (rate(tool_execution_duration_seconds_bucket[5m])))",
};

pub(crate) const METRICS: &[Metric] = &[EXECUTIONS, DURATION];

/// Records executions of tools.
#[derive(Clone, Debug)]
pub struct ToolRecorder {
    executions: Counter<u64>,
    duration: Histogram<f64>,
    names: CappedValues,
    statuses: CappedValues,
}

impl ToolRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            executions: EXECUTIONS.counter(meter),
            duration: DURATION.durations(meter),
            names: CappedValues::new(meter, TOOL_NAME),
            statuses: CappedValues::new(meter, STATUS),
        }
    }

    /// Records that the execution of a tool ended with `status`, and how long it took if that is
    /// known.
    pub fn execution(&self, tool_name: &str, status: &str, duration: Option<Duration>) {
        let name = TOOL_NAME.with(self.names.value(tool_name));
        let status = STATUS.with(self.statuses.value(status));
        let labels = [status, name];
        self.executions.add(1, &labels);
        if let Some(duration) = duration {
            self.duration.record(duration.as_secs_f64(), &labels[1..]);
        }
    }
}
