//! Operations on blueprints, as applications report them.

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Meter},
};

use super::shared_labels::STATUS;
use crate::{
    labels::CappedValues,
    metric::{Label, Metric, MetricKind},
};

const BLUEPRINT: Label = Label::capped("blueprint", 200);
const OPERATION: Label = Label::capped("operation", 30);
/// The operation whose errors are counted.
const VALIDATE: &str = "validate";

/// Has the same labels as [`VALIDATION_ERRORS`], so that PromQL can divide one by the other. The
/// status is in [`RESULTS`].
const OPERATIONS: Metric = Metric {
    name: "blueprint_operations_total",
    kind: MetricKind::Counter,
    unit: "{operation}",
    labels: &[OPERATION],
    help: "Counts operations on blueprints, by operation.",
    query: "sum by (operation) (rate(blueprint_operations_total[5m]))",
};

const RESULTS: Metric = Metric {
    name: "blueprint_operation_results_total",
    kind: MetricKind::Counter,
    unit: "{operation}",
    labels: &[OPERATION, STATUS],
    help: "Counts operations on blueprints, by operation and status.",
    query: "sum by (operation, status) (rate(blueprint_operation_results_total[5m]))",
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
    labels: &[Label::fixed(OPERATION.name, &[VALIDATE])],
    help: "Counts errors that the validation of blueprints found. The label is the operation that \
           they belong to in `blueprint_operations_total`.",
    query: "rate(blueprint_validation_errors_total[5m]) \
            / rate(blueprint_operations_total{operation=\"validate\"}[5m])",
};

pub(crate) const METRICS: &[Metric] = &[OPERATIONS, RESULTS, RESOURCES, VALIDATION_ERRORS];

/// Records operations on blueprints.
#[derive(Clone, Debug)]
pub struct BlueprintRecorder {
    operations: Counter<u64>,
    results: Counter<u64>,
    resources: Gauge<u64>,
    validation_errors: Counter<u64>,
    operation_names: CappedValues,
    statuses: CappedValues,
    blueprints: CappedValues,
}

impl BlueprintRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        let recorder = Self {
            operations: OPERATIONS.counter(meter),
            results: RESULTS.counter(meter),
            resources: RESOURCES.gauge(meter),
            validation_errors: VALIDATION_ERRORS.counter(meter),
            operation_names: CappedValues::new(meter, OPERATION),
            statuses: CappedValues::new(meter, STATUS),
            blueprints: CappedValues::new(meter, BLUEPRINT),
        };
        // `rate` does not see the first event of a counter that only appears with that event. If
        // it saw the first errors and not the first validation, their ratio would be infinite.
        let validate = recorder.operation_label(VALIDATE);
        recorder.operations.add(0, &[validate]);
        recorder.add_validation_errors(0);
        recorder
    }

    fn operation_label(&self, operation: &str) -> KeyValue {
        OPERATION.with(self.operation_names.value(operation))
    }

    /// Records that an operation (`create`, `validate` ...) on a blueprint ended with `status`.
    pub fn operation(&self, operation: &str, status: &str) {
        let operation = self.operation_label(operation);
        let status = STATUS.with(self.statuses.value(status));
        self.operations.add(1, std::slice::from_ref(&operation));
        self.results.add(1, &[operation, status]);
    }

    /// Sets the number of resources in a blueprint.
    ///
    /// Blueprints beyond the label's cap share one series, which holds the last value set.
    pub fn set_resources(&self, blueprint: &str, count: u64) {
        self.resources.record(count, &[BLUEPRINT.with(self.blueprints.value(blueprint))]);
    }

    /// Adds the errors that one validation found.
    pub fn add_validation_errors(&self, count: u64) {
        self.validation_errors.add(count, &[OPERATION.with(VALIDATE)]);
    }
}
