//! The hourly sums of the fleet.

use opentelemetry::metrics::{BoundCounter, Meter};

use crate::metric::{Metric, MetricKind};

const FOLDED: Metric = Metric {
    name: "sluice_history_folded_total",
    kind: MetricKind::Counter,
    unit: "{amount}",
    labels: &[],
    help: "Counts amounts that were added to the hourly sums of `other`, because this replica has \
           500 series already.",
    query: "sum(increase(sluice_history_folded_total[1h])) > 0",
};

pub(crate) const METRICS: &[Metric] = &[FOLDED];

/// Records what happens to the hourly sums of the fleet.
#[derive(Clone, Debug)]
pub struct HistoryRecorder {
    folded: BoundCounter<u64>,
}

impl HistoryRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self { folded: FOLDED.counter(meter).bind(&[]) }
    }

    /// Counts one amount that was added to the sums of `other`.
    pub fn folded(&self) {
        self.folded.add(1);
    }
}
