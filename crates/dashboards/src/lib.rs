//! The Grafana dashboards as typed code. `cargo xtask dashboards` writes them to
//! `deploy/grafana/dashboards`.
//!
//! - [`alma`]: "ALMA Metrics", what applications and their users see.
//! - [`sluice`]: "Sluice", the state of the limiter itself.
//! - [`model`]: the parts of a dashboard, as Grafana reads them.
//!
//! A panel is a value. Its position follows from the order of the panels in the code:
//!
//! ```
//! use sluice_dashboards::{model::{Panel, Unit}, selector::Selector};
//!
//! let rate = Selector::JOB.rate("http_requests_total", "");
//! let panel = Panel::time_series("Request rate", "Requests per second, by endpoint.")
//!     .unit(Unit::RequestsPerSecond)
//!     .query("{{endpoint}}", format!("sum by (endpoint) ({rate})"));
//! assert_eq!(panel.title, "Request rate");
//! ```

pub mod alma;
mod layout;
pub mod model;
mod render;
pub mod selector;
pub mod sluice;

pub use self::render::{dashboards, file_name, render};
