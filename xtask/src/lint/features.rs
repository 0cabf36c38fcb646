//! Checks that the library compiles without its features, with each one alone, and stays small.

use crate::report::Report;
use crate::shell::cargo;

/// Every combination that matters. The build of the workspace covers all features together.
const COMBINATIONS: [&str; 7] = ["", "axum", "openapi", "redis", "stats", "telemetry", "tower"];
/// A limiter in memory must need fewer crates than this.
const MAX_CRATES: usize = 40;

pub(super) fn run(report: &mut Report) {
    for features in COMBINATIONS {
        let mut check = cargo(&["clippy", "--package", "sluice", "--no-default-features"]);
        check.args(["--features", features, "--", "-D", "warnings"]);
        report.run(check);
    }
    report.check("crates of a limiter in memory", || {
        let mut tree = cargo(&["tree", "--package", "sluice", "--no-default-features"]);
        tree.args(["--edges", "normal", "--prefix", "none", "--no-dedupe"]);
        let output = tree.output().map_err(|error| error.to_string())?;
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let crates: std::collections::BTreeSet<_> = lines.lines().collect();
        if (1..MAX_CRATES).contains(&crates.len()) {
            Ok(Vec::new())
        } else {
            Ok(vec![format!("{} crates, of fewer than {MAX_CRATES}", crates.len())])
        }
    });
}
