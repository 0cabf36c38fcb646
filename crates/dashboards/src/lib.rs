//! The Grafana dashboards, written as code with types; `cargo xtask dashboards` renders them to
//! `deploy/grafana/dashboards`.
//!
//! - [`alma`]: "ALMA Metrics", what applications and their users see.
//! - [`sluice`]: "Sluice", how the limiter itself does.
//! - [`model`]: what a dashboard is made of, as Grafana reads it.
//!
//! A panel is a value; where it stands follows from the order in which panels are written down:
//!
//! ```
//! use sluice_dashboards::{model::{Panel, Unit}, query::Scope};
//!
//! let panel = Panel::time_series("Request rate", "Requests answered, by endpoint.")
//!     .unit(Unit::RequestsPerSecond)
//!     .query("{{endpoint}}", format!("sum by (endpoint) ({})", Scope::JOB.rate("http_requests_total", "")));
//! assert_eq!(panel.title, "Request rate");
//! ```

pub mod alma;
mod layout;
pub mod model;
pub mod query;
pub mod sluice;

use model::Dashboard;

/// Every dashboard.
#[must_use]
pub fn dashboards() -> Vec<Dashboard> {
    vec![alma::dashboard(), sluice::dashboard()]
}

/// The name of a dashboard's file.
#[must_use]
pub fn file_name(dashboard: &Dashboard) -> String {
    format!("{}.json", dashboard.uid)
}

/// A dashboard as its file holds it.
///
/// # Panics
/// Never: every part of a dashboard has a form in JSON.
#[must_use]
pub fn render(dashboard: &Dashboard) -> String {
    let mut text = serde_json::to_string_pretty(dashboard)
        .expect("a dashboard is made of texts, numbers, lists and structures");
    text.push('\n');
    text
}
