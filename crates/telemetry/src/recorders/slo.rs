//! Service level objectives: how the fleet meets them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::{StringValue, metrics::Meter};
use parking_lot::Mutex;

use crate::{
    labels::CappedValues,
    metric::{Label, Metric, MetricKind},
};

const SLO: Label = Label::capped("slo", 50);

const OBJECTIVE: Metric = Metric {
    name: "sluice_slo_objective_ratio",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[SLO],
    help: "Shows the share of requests that must be good, by objective.",
    query: "max by (slo) (sluice_slo_objective_ratio)",
};

const GOOD: Metric = Metric {
    name: "sluice_slo_good_ratio",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[SLO],
    help: "Shows the share of requests that were good, in the whole window and over the whole \
           fleet, by objective. Missing while there was no request.",
    query: "max by (slo) (sluice_slo_good_ratio)",
};

const BUDGET_LEFT: Metric = Metric {
    name: "sluice_slo_error_budget_left_ratio",
    kind: MetricKind::Gauge,
    unit: "1",
    labels: &[SLO],
    help: "Shows the share of the error budget that is left, in the whole window and over the \
           whole fleet, by objective. Below 0 if more requests failed than may. Missing while \
           there was no request.",
    query: "min by (slo) (sluice_slo_error_budget_left_ratio)",
};

pub(crate) const METRICS: &[Metric] = &[OBJECTIVE, GOOD, BUDGET_LEFT];

/// How long the state of the objectives is shown: while the store is away it cannot be read.
const LIFETIME: Duration = Duration::from_secs(600);

/// Records how the fleet meets its objectives.
#[derive(Clone, Debug)]
pub struct SloRecorder {
    state: Arc<Mutex<Option<State>>>,
    names: CappedValues,
}

/// How the fleet meets an objective. Ratios are from 0 to 1, but for what is left of a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct SloState {
    /// The objective's name.
    pub name: Box<str>,
    /// The share of requests that must be good.
    pub objective: f64,
    /// The share of requests that were good; `None` without requests.
    pub good: Option<f64>,
    /// The share of the error budget that is left; `None` without requests.
    pub budget_left: Option<f64>,
}

#[derive(Debug)]
struct State {
    at: Instant,
    slos: Vec<(StringValue, SloState)>,
}

impl SloRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        let state: Arc<Mutex<Option<State>>> = Arc::default();
        let gauge = |metric: &Metric, value: fn(&SloState) -> Option<f64>| {
            let state = Arc::clone(&state);
            metric.observed_amount(meter, move |gauge| {
                let state = state.lock();
                let state = state.as_ref().filter(|state| state.at.elapsed() < LIFETIME);
                for (name, slo) in state.into_iter().flat_map(|state| &state.slos) {
                    if let Some(value) = value(slo) {
                        gauge.observe(value, &[SLO.with(name.clone())]);
                    }
                }
            });
        };
        gauge(&OBJECTIVE, |slo| Some(slo.objective));
        gauge(&GOOD, |slo| slo.good);
        gauge(&BUDGET_LEFT, |slo| slo.budget_left);
        Self { state, names: CappedValues::new(meter, SLO) }
    }

    /// Sets how the fleet meets its objectives. It is shown for ten minutes.
    pub fn set(&self, slos: Vec<SloState>) {
        let slos = slos.into_iter().map(|slo| (self.names.value(&slo.name), slo)).collect();
        *self.state.lock() = Some(State { at: Instant::now(), slos });
    }
}
