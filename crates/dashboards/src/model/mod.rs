//! What a dashboard is made of, in the form in which Grafana reads it; only what ours use.
//!
//! Fields are what they are called in Grafana's JSON model, where their meaning is documented.

mod dashboard;
mod datasource;
mod field;
mod options;
mod panel;
mod variable;

pub use dashboard::{Annotations, Dashboard, Link, Templating, TimeRange};
pub use field::Unit;
pub use panel::{GridPos, Panel, Target};
pub use variable::{DatasourceVariable, QueryVariable, Variable};
