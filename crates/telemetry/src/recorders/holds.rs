//! Holds: tokens that are taken by an estimate, and corrected once the usage is known.

use std::sync::{Arc, OnceLock};

use opentelemetry::{
    StringValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter},
};

use crate::{
    labels::{BoundValues, CappedValues, label_values},
    metric::{Label, Metric, MetricKind},
};

label_values! {
    /// What is done for a hold before it is settled.
    pub enum HoldStepLabel {
        /// Its estimate is taken.
        Reserve => "reserve",
        /// More is taken.
        Extend => "extend",
    }
}

label_values! {
    /// What came of a step of a hold.
    pub enum HoldOutcome {
        /// The tokens are held.
        Held => "held",
        /// A limit had too few tokens, and nothing was taken.
        Denied => "denied",
        /// The step was made before, and took nothing again.
        Repeated => "repeated",
        /// The hold has other costs, or is settled: nothing was taken.
        Conflict => "conflict",
        /// The store did not decide it.
        Failed => "failed",
    }
}

label_values! {
    /// What became of a hold that was settled.
    pub enum SettlementOutcome {
        /// The store knew the hold.
        Settled => "settled",
        /// It was settled before with the same usage, and nothing was changed.
        Repeated => "repeated",
        /// The store did not know the hold, and corrected it all the same.
        Late => "late",
        /// It was settled before with another usage: nothing was changed.
        Conflict => "conflict",
        /// The store did not answer: the estimate stays charged.
        Failed => "failed",
    }
}

label_values! {
    /// What a request wants of a hold.
    pub enum HoldRequestLabel {
        /// To take its estimate.
        Reserve => "reserve",
        /// To take more.
        Extend => "extend",
        /// To say what was used.
        Settle => "settle",
    }
}

label_values! {
    /// Why a request for a hold was refused before any limit was asked.
    pub enum HoldRefusal {
        /// It cannot be read, or says something impossible.
        BadRequest => "bad_request",
        /// Its reservation is none of this fleet.
        UnknownReservation => "unknown_reservation",
    }
}

label_values! {
    /// What is counted of the tokens of holds.
    pub enum HoldTokens {
        /// What was taken by estimates.
        Held => "held",
        /// What settled holds were charged in all.
        Charged => "charged",
        /// What settled holds had held and not used.
        GivenBack => "given_back",
        /// What settled holds had used beyond what was held.
        Overrun => "overrun",
    }
}

const OUTCOME: Label = Label::fixed("outcome", HoldOutcome::TEXTS);
const STEP: Label = Label::fixed("step", HoldStepLabel::TEXTS);
const STATE: Label = Label::fixed("state", SettlementOutcome::TEXTS);
const KIND: Label = Label::fixed("kind", HoldTokens::TEXTS);
const REASON: Label = Label::fixed("reason", HoldRefusal::TEXTS);
const REQUEST: Label = Label::fixed("request", HoldRequestLabel::TEXTS);
const LIMIT: Label = Label::capped("limit", 500);

const HOLDS: Metric = Metric {
    name: "sluice_holds_total",
    kind: MetricKind::Counter,
    unit: "{hold}",
    labels: &[OUTCOME, STEP],
    help: "Counts reservations and extensions of holds, by outcome and step.",
    query: "sum by (outcome) (rate(sluice_holds_total{step=\"reserve\"}[5m]))",
};

const SETTLEMENTS: Metric = Metric {
    name: "sluice_settlements_total",
    kind: MetricKind::Counter,
    unit: "{hold}",
    labels: &[STATE],
    help: "Counts settlements of holds, by what became of them. Any replica may settle the hold \
           of another one, so that only the sums over the fleet can be compared with holds.",
    query: "sum by (state) (rate(sluice_settlements_total[5m]))",
};

const TOKENS: Metric = Metric {
    name: "sluice_hold_tokens_total",
    kind: MetricKind::Counter,
    unit: "{token}",
    labels: &[KIND, LIMIT],
    help: "Counts tokens of holds under limits that count usage, by kind and limit: what estimates \
           held, and of settled holds what was charged in all, given back, and used beyond the \
           estimate. One token of a limit of money is a millionth of the currency.",
    query: "sum by (kind, limit) (rate(sluice_hold_tokens_total[5m]))",
};

const USED: Metric = Metric {
    name: "sluice_hold_used_ratio",
    kind: MetricKind::Histogram(&[0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 2.0, 4.0]),
    unit: "1",
    labels: &[LIMIT],
    help: "Measures what a settled hold was charged as a part of what it held, by limit: 1 for an \
           exact estimate, and more where it was too low.",
    query: "histogram_quantile(0.5, sum by (le, limit) (rate(sluice_hold_used_ratio_bucket[1h])))",
};

const REFUSED: Metric = Metric {
    name: "sluice_hold_requests_refused_total",
    kind: MetricKind::Counter,
    unit: "{request}",
    labels: &[REASON, REQUEST],
    help: "Counts requests for holds that were refused, by reason and request: their body cannot \
           be read or says something impossible, or their reservation is none of this fleet, as \
           when replicas have different secrets. What is held stays so.",
    query: "sum by (reason) (rate(sluice_hold_requests_refused_total[5m]))",
};

pub(crate) const METRICS: &[Metric] = &[HOLDS, SETTLEMENTS, TOKENS, USED, REFUSED];

/// Counts holds, their settlements and their tokens.
#[derive(Clone, Debug)]
pub struct HoldRecorder {
    holds: [[BoundCounter<u64>; HoldOutcome::ALL.len()]; HoldStepLabel::ALL.len()],
    settlements: [BoundCounter<u64>; SettlementOutcome::ALL.len()],
    limits: Arc<BoundValues<BoundLimit>>,
    tokens: Counter<u64>,
    used: Histogram<f64>,
    refused: Counter<u64>,
}

/// What is recorded of one limit. Each instrument is bound at its first use, so that there is no
/// series without a value.
#[derive(Debug)]
struct BoundLimit {
    name: StringValue,
    tokens: [OnceLock<BoundCounter<u64>>; HoldTokens::ALL.len()],
    used: OnceLock<BoundHistogram<f64>>,
}

impl HoldRecorder {
    pub(super) fn new(meter: &Meter) -> Self {
        let holds = HOLDS.counter(meter);
        let settlements = SETTLEMENTS.counter(meter);
        Self {
            holds: std::array::from_fn(|step| {
                std::array::from_fn(|outcome| {
                    holds.bind(&[
                        OUTCOME.with(HoldOutcome::TEXTS[outcome]),
                        STEP.with(HoldStepLabel::TEXTS[step]),
                    ])
                })
            }),
            settlements: std::array::from_fn(|state| {
                settlements.bind(&[STATE.with(SettlementOutcome::TEXTS[state])])
            }),
            limits: Arc::new(BoundValues::new(CappedValues::new(meter, LIMIT))),
            tokens: TOKENS.counter(meter),
            used: USED.durations(meter),
            refused: REFUSED.counter(meter),
        }
    }

    /// Counts a step that takes tokens for a hold.
    pub fn step(&self, step: HoldStepLabel, outcome: HoldOutcome) {
        self.holds[step.index()][outcome.index()].add(1);
    }

    /// Counts tokens that were taken of `limit` by an estimate.
    pub fn held(&self, limit: &str, tokens: u64) {
        self.count(&self.bound(limit), HoldTokens::Held, tokens);
    }

    /// Counts a settlement.
    pub fn settlement(&self, outcome: SettlementOutcome) {
        self.settlements[outcome.index()].add(1);
    }

    /// Counts what a settled hold was charged of `limit` in all, beside what it held.
    pub fn charged(&self, limit: &str, held: u64, charged: u64) {
        let limit = self.bound(limit);
        self.count(&limit, HoldTokens::Charged, charged);
        self.count(&limit, HoldTokens::GivenBack, held.saturating_sub(charged));
        self.count(&limit, HoldTokens::Overrun, charged.saturating_sub(held));
        if held > 0 {
            let bind = || self.used.bind(&[LIMIT.with(limit.name.clone())]);
            limit.used.get_or_init(bind).record(of(charged) / of(held));
        }
    }

    /// Counts a request that was refused.
    pub fn refused(&self, request: HoldRequestLabel, reason: HoldRefusal) {
        self.refused.add(1, &[REASON.with(reason.as_str()), REQUEST.with(request.as_str())]);
    }

    fn bound(&self, limit: &str) -> Arc<BoundLimit> {
        self.limits.get(limit, |name| BoundLimit {
            name,
            tokens: std::array::from_fn(|_| OnceLock::new()),
            used: OnceLock::new(),
        })
    }

    fn count(&self, limit: &BoundLimit, kind: HoldTokens, tokens: u64) {
        let bind = || self.tokens.bind(&[KIND.with(kind.as_str()), LIMIT.with(limit.name.clone())]);
        limit.tokens[kind.index()].get_or_init(bind).add(tokens);
    }
}

/// Tokens are at most 10^12, which a double has exactly.
#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
fn of(tokens: u64) -> f64 {
    tokens as f64
}
