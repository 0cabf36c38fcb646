//! Work on blueprints, as applications report it.

use opentelemetry::metrics::{Counter, Gauge, Meter};

use super::STATUS;
use crate::{
    catalogue::{Metric, MetricKind},
    labels::{Label, LabelSet},
};

const BLUEPRINT: Label = Label::capped("blueprint", 200);
const OPERATION: Label = Label::capped("operation", 30);

const OPERATIONS: Metric = Metric {
    name: "blueprint_operations_total",
    kind: MetricKind::Counter,
    unit: "{operation}",
    labels: &[OPERATION, STATUS],
    help: "Operations on blueprints, by operation and status.",
    query: "sum by (operation) (rate(blueprint_operations_total[5m]))",
};

const RESOURCES: Metric = Metric {
    name: "blueprint_resources_count",
    kind: MetricKind::Gauge,
    unit: "{resource}",
    labels: &[BLUEPRINT],
    help: "Resources in a blueprint, as last reported, by blueprint.",
    query: "avg(max by (blueprint) (blueprint_resources_count))",
};

const VALIDATION_ERRORS: Metric = Metric {
    name: "blueprint_validation_errors_total",
    kind: MetricKind::Counter,
    unit: "{error}",
    labels: &[],
    help: "Errors found in blueprints when they were validated.",
    query: r#"sum(rate(blueprint_validation_errors_total[5m])) / sum(rate(blueprint_operations_total{operation="validate"}[5m]))"#,
};

pub(crate) const METRICS: &[Metric] = &[OPERATIONS, RESOURCES, VALIDATION_ERRORS];

/// Records work on blueprints.
#[derive(Clone, Debug)]
pub struct BlueprintRecorder {
    operations: Counter<u64>,
    resources: Gauge<u64>,
    validation_errors: Counter<u64>,
    operation_names: LabelSet,
    statuses: LabelSet,
    blueprints: LabelSet,
}

impl BlueprintRecorder {
    /// A recorder on `meter`.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        Self {
            operations: OPERATIONS.counter(meter),
            resources: RESOURCES.gauge(meter),
            validation_errors: VALIDATION_ERRORS.counter(meter),
            operation_names: LabelSet::new(meter, OPERATION),
            statuses: LabelSet::new(meter, STATUS),
            blueprints: LabelSet::new(meter, BLUEPRINT),
        }
    }

    /// An operation (`create`, `validate` ...) on a blueprint ended with `status`.
    pub fn operation(&self, operation: &str, status: &str) {
        let operation = OPERATION.with(self.operation_names.value(operation));
        let status = STATUS.with(self.statuses.value(status));
        self.operations.add(1, &[operation, status]);
    }

    /// A blueprint now has this many resources. Of blueprints folded into `other`, the last one
    /// reported is told.
    pub fn set_resources(&self, blueprint: &str, count: u64) {
        self.resources.record(count, &[BLUEPRINT.with(self.blueprints.value(blueprint))]);
    }

    /// A validation found this many errors.
    pub fn add_validation_errors(&self, count: u64) {
        self.validation_errors.add(count, &[]);
    }
}
