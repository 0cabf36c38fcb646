//! Slots: requests in flight under limits on their number.

use opentelemetry::metrics::{Counter, Gauge, Meter};

use crate::{
    labels::{CappedValues, label_values},
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// What happens to a request whose slot is lost.
    pub enum OnLostLabel {
        /// It goes on.
        Finish => "finish",
        /// It is cut off.
        Cut => "cut",
    }
}

const LIMIT: Label = Label::capped("limit", 500);
const ON_LOST: Label = Label::fixed("on_lost", OnLostLabel::TEXTS);

const HELD: Metric = Metric {
    name: "sluice_slots_held",
    kind: MetricKind::Gauge,
    unit: "{slot}",
    labels: &[LIMIT],
    help: "Shows how many slots of limits on requests in flight (`concurrent`) the requests at \
           this replica hold, by limit.",
    query: "sum by (limit) (sluice_slots_held)",
};

const LOST: Metric = Metric {
    name: "sluice_slots_lost_total",
    kind: MetricKind::Counter,
    unit: "{slot}",
    labels: &[LIMIT, ON_LOST],
    help: "Counts slots of requests in flight that this replica could not renew in time, so that \
           others may have them, by limit and by what happens to the request (`on_lost`): \
           `finish` lets it go on, and `cut` cuts it off.",
    query: "sum by (limit, on_lost) (rate(sluice_slots_lost_total[5m]))",
};

pub(crate) const METRICS: &[Metric] = &[HELD, LOST];

/// Records the slots of requests in flight.
#[derive(Clone, Debug)]
pub struct SlotRecorder {
    held: Gauge<u64>,
    lost: Counter<u64>,
    limits: CappedValues,
}

// === impl SlotRecorder ===

impl SlotRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            held: HELD.gauge(meter),
            lost: LOST.counter(meter),
            limits: CappedValues::new(meter, LIMIT),
        }
    }

    /// Sets how many slots of `limit` this replica holds now.
    pub fn held(&self, limit: &str, slots: u64) {
        self.held.record(slots, &[LIMIT.with(self.limits.value(limit))]);
    }

    /// Counts slots of `limit` that were lost.
    pub fn lost(&self, limit: &str, on_lost: OnLostLabel, slots: u64) {
        let limit = LIMIT.with(self.limits.value(limit));
        self.lost.add(slots, &[limit, ON_LOST.with(on_lost.as_str())]);
    }
}
