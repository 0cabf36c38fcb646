//! Operations on blueprints, as applications report them.

use opentelemetry::metrics::{Counter, Gauge, Meter};

use super::shared_labels::STATUS;
use crate::{
    labels::CappedValues,
    metric::{Label, Metric, MetricKind},
};

const BLUEPRINT: Label = Label::capped("blueprint", 200);
const OPERATION: Label = Label::capped("operation", 30);

const OPERATIONS: Metric = Metric {
    name: "blueprint_operations_total",
    kind: MetricKind::Counter,
    unit: "{operation}",
    labels: &[OPERATION, STATUS],
    help: "Counts operations on blueprints, by operation and status.",
    query: "sum by (operation) (rate(blueprint_operations_total[5m]))",
};

const RESOURCES: Metric = Metric {
    name: "blueprint_resources_count",
    kind: MetricKind::Gauge,
    unit: "{resource}",
    labels: &[BLUEPRINT],
    help: "Shows the last reported number of resources in a blueprint, by blueprint.",
    query: "avg(max by (blueprint) (blueprint_resources_count))",
};

const VALIDATION_ERRORS: Metric = Metric {
    name: "blueprint_validation_errors_total",
    kind: MetricKind::Counter,
    unit: "{error}",
    labels: &[],
    help: "Counts errors that the validation of blueprints found.",
    query: "sum(rate(blueprint_validation_errors_total[5m])) \
            / sum(rate(blueprint_operations_total{operation=\"validate\"}[5m]))",
};

pub(crate) const METRICS: &[Metric] = &[OPERATIONS, RESOURCES, VALIDATION_ERRORS];

/// Records operations on blueprints.
#[derive(Clone, Debug)]
pub struct BlueprintRecorder {
    operations: Counter<u64>,
    resources: Gauge<u64>,
    validation_errors: Counter<u64>,
    operation_names: CappedValues,
    statuses: CappedValues,
    blueprints: CappedValues,
}

impl BlueprintRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            operations: OPERATIONS.counter(meter),
            resources: RESOURCES.gauge(meter),
            validation_errors: VALIDATION_ERRORS.counter(meter),
            operation_names: CappedValues::new(meter, OPERATION),
            statuses: CappedValues::new(meter, STATUS),
            blueprints: CappedValues::new(meter, BLUEPRINT),
        }
    }

    /// Records that an operation (`create`, `validate` ...) on a blueprint ended with `status`.
    pub fn operation(&self, operation: &str, status: &str) {
        let operation = OPERATION.with(self.operation_names.value(operation));
        let status = STATUS.with(self.statuses.value(status));
        self.operations.add(1, &[operation, status]);
    }

    /// Sets the number of resources in a blueprint.
    ///
    /// Blueprints beyond the label's cap share one series, which holds the last value set.
    pub fn set_resources(&self, blueprint: &str, count: u64) {
        self.resources.record(count, &[BLUEPRINT.with(self.blueprints.value(blueprint))]);
    }

    /// Adds the errors that one validation found.
    pub fn add_validation_errors(&self, count: u64) {
        self.validation_errors.add(count, &[]);
    }
}
