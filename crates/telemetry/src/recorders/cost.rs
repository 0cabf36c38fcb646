//! What language models and deployments cost.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry::{
    KeyValue, StringValue,
    metrics::{Counter, Gauge, Meter},
};
use parking_lot::{Mutex, RwLock};

use crate::{
    labels::CappedValues,
    metric::{Label, Metric, MetricKind},
};

const CURRENCY: Label = Label::capped("currency", 8);
const KIND: Label = Label::capped("kind", 40);
const MODEL: Label = Label::capped("model", 40);
const NAME: Label = Label::capped("name", 40);
const SOURCE: Label = Label::fixed("source", &["llm", "deployment"]);

const LLM: Metric = Metric {
    name: "llm_cost_total",
    kind: MetricKind::Counter,
    unit: "{unit}",
    labels: &[CURRENCY, MODEL],
    help: "Counts what requests to language models cost, in units of the currency, by currency and \
           model.",
    query: "sum by (model, currency) (increase(llm_cost_total[1d]))",
};

const DEPLOYMENT: Metric = Metric {
    name: "deployment_cost_total",
    kind: MetricKind::Counter,
    unit: "{unit}",
    labels: &[CURRENCY, KIND],
    help: "Counts what deployments cost, in units of the currency, by currency and kind.",
    query: "sum by (kind, currency) (increase(deployment_cost_total[1d]))",
};

const UNKNOWN: Metric = Metric {
    name: "sluice_cost_unknown_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[NAME, SOURCE],
    help: "Counts requests to language models without a price and a reported cost, and deployments \
           with a price by the hour and without an id, by name and source.",
    query: "sum by (source, name) (increase(sluice_cost_unknown_total[1h])) > 0",
};

const RUNNING: Metric = Metric {
    name: "sluice_cost_running_deployments",
    kind: MetricKind::Gauge,
    unit: "{deployment}",
    labels: &[],
    help: "Shows how many deployments of the whole fleet cost something by the hour now, of 1,000 \
           that are kept; every replica reports the same.",
    query: "max(sluice_cost_running_deployments) > 900",
};

const MONTH: Metric = Metric {
    name: "sluice_cost_month",
    kind: MetricKind::Gauge,
    unit: "{unit}",
    labels: &[CURRENCY],
    help: "Shows what the whole fleet has cost in this calendar month (UTC), by currency; every \
           replica reports the same.",
    query: "max by (currency) (sluice_cost_month)",
};

const FORECAST: Metric = Metric {
    name: "sluice_cost_month_forecast",
    kind: MetricKind::Gauge,
    unit: "{unit}",
    labels: &[CURRENCY],
    help: "Shows what this calendar month (UTC) will cost if the rest of it costs as much per hour \
           as its past, by currency; every replica reports the same.",
    query: "max by (currency) (sluice_cost_month_forecast)",
};

const BUDGET: Metric = Metric {
    name: "sluice_cost_budget",
    kind: MetricKind::Gauge,
    unit: "{unit}",
    labels: &[CURRENCY],
    help: "Shows the budget of a calendar month, as `costs.budget` says; absent without a budget.",
    query: "max by (currency) (sluice_cost_month) / max by (currency) (sluice_cost_budget)",
};

pub(crate) const METRICS: &[Metric] = &[LLM, DEPLOYMENT, UNKNOWN, RUNNING, MONTH, FORECAST, BUDGET];

/// How long the costs of a month are shown after they were read. Older ones may be those of another
/// month.
const MONTH_LIFETIME: Duration = Duration::from_secs(600);
/// Micro-units in a unit.
const PER_UNIT: f64 = 1e6;

/// Records costs. Amounts are whole micro-units, so that sums do not drift.
#[derive(Clone, Debug)]
pub struct CostRecorder {
    llm: Sums,
    deployment: Sums,
    unknown: Counter<u64>,
    unknown_names: CappedValues,
    running: Gauge<u64>,
    month: Arc<Mutex<Option<MonthRead>>>,
    budget: Arc<Mutex<Option<(StringValue, u64)>>>,
    month_currencies: CappedValues,
}

/// What a fleet has cost in this calendar month in one currency, in micro-units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthCost {
    /// The currency.
    pub currency: Box<str>,
    /// The costs so far.
    pub so_far: u64,
    /// The costs of the whole month if it goes on like that.
    pub forecast: u64,
}

#[derive(Debug)]
struct MonthRead {
    at: Instant,
    costs: Vec<(StringValue, MonthCost)>,
}

/// Sums by currency and name, which are read each time the metrics are.
#[derive(Clone, Debug)]
struct Sums {
    currencies: CappedValues,
    names: CappedValues,
    sums: SharedSums,
}

type SharedSums = Arc<RwLock<HashMap<SumKey, AtomicU64>>>;

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumKey {
    currency: StringValue,
    name: StringValue,
}

impl CostRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        let month: Arc<Mutex<Option<MonthRead>>> = Arc::default();
        let gauge = |metric: &Metric, value: fn(&MonthCost) -> u64| {
            let month = Arc::clone(&month);
            metric.observed_amount(meter, move |gauge| {
                let month = month.lock();
                let month = month.as_ref().filter(|read| read.at.elapsed() < MONTH_LIFETIME);
                for (currency, cost) in month.into_iter().flat_map(|read| &read.costs) {
                    gauge.observe(units(value(cost)), &[CURRENCY.with(currency.clone())]);
                }
            });
        };
        gauge(&MONTH, |cost| cost.so_far);
        gauge(&FORECAST, |cost| cost.forecast);
        let budget: Arc<Mutex<Option<(StringValue, u64)>>> = Arc::default();
        let observed = Arc::clone(&budget);
        BUDGET.observed_amount(meter, move |gauge| {
            if let Some((currency, amount)) = &*observed.lock() {
                gauge.observe(units(*amount), &[CURRENCY.with(currency.clone())]);
            }
        });
        Self {
            llm: Sums::new(meter, &LLM, MODEL),
            deployment: Sums::new(meter, &DEPLOYMENT, KIND),
            unknown: UNKNOWN.counter(meter),
            unknown_names: CappedValues::new(meter, NAME),
            running: RUNNING.gauge(meter),
            month,
            budget,
            month_currencies: CappedValues::new(meter, CURRENCY),
        }
    }

    /// Adds the cost of a request to this model, in micro-units of the currency.
    pub fn add_llm(&self, model: &str, currency: &str, micro_units: u64) {
        self.llm.add(currency, model, micro_units);
    }

    /// Adds the cost of a deployment of this kind, in micro-units of the currency.
    pub fn add_deployment(&self, kind: &str, currency: &str, micro_units: u64) {
        self.deployment.add(currency, kind, micro_units);
    }

    /// Counts something whose cost is unknown: of the source `llm`, a request to the model of this
    /// name; of the source `deployment`, a deployment of the kind of this name.
    pub fn unknown(&self, source: &'static str, name: &str) {
        self.unknown.add(1, &[NAME.with(self.unknown_names.value(name)), SOURCE.with(source)]);
    }

    /// Sets how many deployments cost something by the hour now.
    pub fn set_running(&self, count: u64) {
        self.running.record(count, &[]);
    }

    /// Sets what the fleet costs in this month. It is shown for ten minutes.
    pub fn set_month(&self, costs: Vec<MonthCost>) {
        let costs = costs.into_iter();
        let costs = costs.map(|cost| (self.month_currencies.shown(&cost.currency), cost)).collect();
        *self.month.lock() = Some(MonthRead { at: Instant::now(), costs });
    }

    /// Sets the budget of a month: a currency and micro-units of it; `None` if there is none.
    pub fn set_budget(&self, budget: Option<(&str, u64)>) {
        *self.budget.lock() =
            budget.map(|(currency, amount)| (self.month_currencies.value(currency), amount));
    }
}

impl Sums {
    fn new(meter: &Meter, metric: &Metric, name: Label) -> Self {
        let sums = SharedSums::default();
        let observed = Arc::clone(&sums);
        metric.observed_total(meter, move |counter| {
            for (key, sum) in &*observed.read() {
                let labels: [KeyValue; 2] =
                    [CURRENCY.with(key.currency.clone()), name.with(key.name.clone())];
                counter.observe(units(sum.load(Ordering::Relaxed)), &labels);
            }
        });
        let (currencies, names) =
            (CappedValues::new(meter, CURRENCY), CappedValues::new(meter, name));
        Self { currencies, names, sums }
    }

    fn add(&self, currency: &str, name: &str, amount: u64) {
        let key =
            SumKey { currency: self.currencies.value(currency), name: self.names.value(name) };
        if let Some(sum) = self.sums.read().get(&key) {
            sum.fetch_add(amount, Ordering::Relaxed);
            return;
        }
        self.sums.write().entry(key).or_default().fetch_add(amount, Ordering::Relaxed);
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown amounts are far below 2^53 micro-units")]
fn units(micro_units: u64) -> f64 {
    micro_units as f64 / PER_UNIT
}
