//! `cargo xtask dashboards`.

use crate::report::Report;
use crate::shell::cargo;

/// Where Grafana and, through a link, the Helm chart find the dashboards. A test compares these
/// files with what `crates/dashboards` writes.
const DIRECTORY: &str = "deploy/grafana/dashboards";

pub(crate) fn run(report: &mut Report) {
    report.run(cargo(&["run", "--quiet", "--package", "sluice-dashboards", "--", DIRECTORY]));
}
