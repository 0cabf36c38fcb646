//! Service level objectives of an API, and the Prometheus rules that watch them.
//!
//! An [`Slo`] says which share of the requests to an endpoint must be good over a window of days:
//! answered without a server error ([`Indicator::Availability`]), or within a time
//! ([`Indicator::Latency`]). The rest is the error budget. [`rules`] writes the recording rules and
//! the alerts of the chapter "Alerting on SLOs" of Google's Site Reliability Workbook: an alert
//! fires when the budget burns too fast in a long window, and still does in a short one, so that it
//! ends soon after the fault.

mod burn;
mod objective;
mod rules;
mod slo;

pub use burn::{Alert, Burn, Severity};
pub use objective::{Objective, ObjectiveError};
pub use rules::rules;
pub use slo::{Indicator, LatencyError, MAX_SLOS, Slo, SloName, SloNameError, WINDOW_DAYS};
