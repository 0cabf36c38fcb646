//! Deployments, as applications report them.

use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

use super::STATUS;
use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, LabelSet},
};

const OPERATION: Label = Label::capped("operation", 30);

const OPERATIONS: Metric = Metric {
    name: "deployment_operations_total",
    kind: MetricKind::Counter,
    unit: "{operation}",
    labels: &[OPERATION, STATUS],
    help: "Deployments created, updated and deleted, by operation and status.",
    query: "sum by (operation, status) (rate(deployment_operations_total[5m]))",
};

const DURATION: Metric = Metric {
    name: "deployment_duration_seconds",
    kind: MetricKind::Histogram(&[
        1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0,
    ]),
    unit: "s",
    labels: &[OPERATION],
    help: "Time from the start of a deployment to its end, by operation.",
    query: "histogram_quantile(0.95, sum by (le) (rate(deployment_duration_seconds_bucket[1h])))",
};

const ACTIVE: Metric = Metric {
    name: "active_deployments",
    kind: MetricKind::Gauge,
    unit: "{deployment}",
    labels: &[],
    help: "Deployments now running, over the whole fleet: every replica tells the same number.",
    query: "max(active_deployments)",
};

pub(crate) const METRICS: &[Metric] = &[OPERATIONS, DURATION, ACTIVE];

/// Records deployments.
#[derive(Clone, Debug)]
pub struct DeploymentRecorder {
    operations: Counter<u64>,
    duration: Histogram<f64>,
    active: Gauge<u64>,
    operation_names: LabelSet,
    statuses: LabelSet,
}

impl DeploymentRecorder {
    /// A recorder on `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            operations: OPERATIONS.counter(meter),
            duration: DURATION.durations(meter),
            active: ACTIVE.gauge(meter),
            operation_names: LabelSet::new(meter, OPERATION),
            statuses: LabelSet::new(meter, STATUS),
        }
    }

    /// An operation (`create`, `update`, `delete`) ended with `status`, after `took` if that is
    /// known.
    pub fn operation(&self, operation: &str, status: &str, took: Option<Duration>) {
        let operation = OPERATION.with(self.operation_names.value(operation));
        let status = STATUS.with(self.statuses.value(status));
        let labels = [operation, status];
        self.operations.add(1, &labels);
        if let Some(took) = took {
            self.duration.record(took.as_secs_f64(), &labels[..1]);
        }
    }

    /// The fleet now has this many deployments running.
    pub fn set_active(&self, count: u64) {
        self.active.record(count, &[]);
    }
}
