//! The parts of a dashboard as Grafana reads them, as far as our dashboards use them.
//!
//! Fields have the names of Grafana's JSON model, whose documentation explains them.

mod dashboard;
mod datasource;
mod field;
mod options;
mod panel;
mod variable;

pub use self::{
    dashboard::{Annotations, Dashboard, Link, Templating, TimeRange},
    field::Unit,
    panel::{GridPos, Panel, Target},
    variable::{DatasourceVariable, QueryVariable, Variable},
};
