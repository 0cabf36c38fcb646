//! `/monitoring/slo`.

use serde::Serialize;
use sluice::stats::slos::{SloReport, SloStatus};
use sluice_slo::Indicator;
use utoipa::ToSchema;

use super::rounded::Rounded;

/// The service level objectives, and how the fleet meets them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SloPage {
    slos: Vec<SloOfPage>,
    /// Unix seconds since when requests are counted; `null` before the first flush of a replica.
    #[schema(required)]
    since: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Slo)]
struct SloOfPage {
    name: String,
    /// The pattern of the endpoints.
    endpoint: String,
    /// The percent of requests that must be good.
    objective: f64,
    window_days: u32,
    /// The most that a good request takes, in milliseconds; `null` for an objective of
    /// availability.
    #[schema(required, value_type = Option<f64>)]
    latency_ms: Option<Rounded>,
    /// The requests in the window.
    requests: u64,
    /// Those that were not good.
    failed: u64,
    /// The share of good requests in the window; `null` if there was no request.
    #[schema(required)]
    good_ratio: Option<f64>,
    error_budget: ErrorBudget,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorBudget {
    /// How many of the window's requests may fail.
    #[schema(value_type = f64)]
    requests: Rounded,
    /// The share that is left, below 0 if more requests failed than may; `null` if there was no
    /// request.
    #[schema(required, value_type = Option<f64>)]
    left: Option<Rounded>,
    /// How many times faster than allowed it burned in the last 24 hours; `null` if there was no
    /// request in them.
    #[schema(required, value_type = Option<f64>)]
    burn_rate_last_day: Option<Rounded>,
}

impl SloPage {
    pub(super) fn new(report: &SloReport) -> Self {
        Self {
            slos: report.slos.iter().map(SloOfPage::new).collect(),
            since: report.since.map(|since| since.unix_micros().div_euclid(1_000_000)),
        }
    }
}

impl SloOfPage {
    fn new(status: &SloStatus) -> Self {
        let slo = &status.slo;
        Self {
            name: slo.name.to_string(),
            endpoint: slo.endpoint.to_string(),
            objective: slo.objective.percent(),
            window_days: slo.window_days,
            latency_ms: match slo.indicator {
                Indicator::Availability => None,
                Indicator::Latency(seconds) => Some(Rounded::new(seconds * 1_000.0)),
            },
            requests: status.requests,
            failed: status.failed,
            good_ratio: status.good_ratio(),
            error_budget: ErrorBudget {
                requests: Rounded::new(slo.objective.budget_of(status.requests)),
                left: status.budget_left().map(Rounded::new),
                burn_rate_last_day: status.burn_rate_last_day().map(Rounded::new),
            },
        }
    }
}
