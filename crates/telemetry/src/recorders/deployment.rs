//! Deployments, as applications report them.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

use super::shared_labels::STATUS;
use crate::{
    labels::CappedValues,
    metric::{Label, Metric, MetricKind},
};

const OPERATION: Label = Label::capped("operation", 30);

const OPERATIONS: Metric = Metric {
    name: "deployment_operations_total",
    kind: MetricKind::Counter,
    unit: "{operation}",
    labels: &[OPERATION, STATUS],
    help: "Counts deployments that were created, updated or deleted, by operation and status.",
    query: "sum by (operation, status) (rate(deployment_operations_total[5m]))",
};

const DURATION: Metric = Metric {
    name: "deployment_duration_seconds",
    kind: MetricKind::Histogram(&[
        1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0,
    ]),
    unit: "s",
    labels: &[OPERATION],
    help: "Measures the time from the start of a deployment to its end, by operation.",
    query: "histogram_quantile(0.95, sum by (le) (rate(deployment_duration_seconds_bucket[1h])))",
};

const ACTIVE: Metric = Metric {
    name: "active_deployments",
    kind: MetricKind::Gauge,
    unit: "{deployment}",
    labels: &[],
    help: "Shows the number of deployments that run now in the whole fleet; every replica reports \
           the same number.",
    query: "max(active_deployments)",
};

pub(crate) const METRICS: &[Metric] = &[OPERATIONS, DURATION, ACTIVE];

/// Records deployments.
#[derive(Clone, Debug)]
pub struct DeploymentRecorder {
    operations: Counter<u64>,
    duration: Histogram<f64>,
    active: Gauge<u64>,
    operation_names: CappedValues,
    statuses: CappedValues,
}

impl DeploymentRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            operations: OPERATIONS.counter(meter),
            duration: DURATION.durations(meter),
            active: ACTIVE.gauge(meter),
            operation_names: CappedValues::new(meter, OPERATION),
            statuses: CappedValues::new(meter, STATUS),
        }
    }

    /// Records that an operation (`create`, `update`, `delete`) ended with `status`, and how long
    /// it took if that is known.
    pub fn operation(&self, operation: &str, status: &str, duration: Option<Duration>) {
        let operation = OPERATION.with(self.operation_names.value(operation));
        let status = STATUS.with(self.statuses.value(status));
        let labels = [operation, status];
        self.operations.add(1, &labels);
        if let Some(duration) = duration {
            self.duration.record(duration.as_secs_f64(), &labels[..1]);
        }
    }

    /// Sets the number of deployments that run in the whole fleet.
    pub fn set_active(&self, count: u64) {
        self.active.record(count, &[]);
    }
}
