//! `cargo xtask dashboards`.

use crate::report::Report;
use crate::shell::cargo;

/// Where Grafana, and the Helm chart by a link, find them; a test compares what lies there with
/// what would be written.
const DIRECTORY: &str = "deploy/grafana/dashboards";

pub(crate) fn run(report: &mut Report) {
    report.run(cargo(&["run", "--quiet", "--package", "sluice-dashboards", "--", DIRECTORY]));
}
