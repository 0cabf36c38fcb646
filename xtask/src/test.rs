//! `cargo xtask test`.

use crate::install;
use crate::report::Report;
use crate::shell::{cargo, succeeds};
use crate::tally::Runner;
use crate::tools::TOOLS;

pub(crate) fn run(report: &mut Report, filter: Option<&str>) {
    install::ensure(report, TOOLS);
    // Tests outside the server's crate run the binary that lies beside them, so it has to be there
    // first. Together with the tests, so that dependencies are built once, with one set of
    // features.
    if !report.run(cargo(&["build", "--workspace", "--bins", "--tests"])) {
        return;
    }
    let (runner, mut tests) = if succeeds(&mut cargo(&["nextest", "--version"])) {
        (Runner::Nextest, cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]))
    } else {
        (Runner::CargoTest, cargo(&["test", "--workspace", "--no-fail-fast", "--tests"]))
    };
    tests.args(filter);
    report.run_tests(runner, tests);
    if filter.is_none() {
        report.run_tests(
            Runner::CargoTest,
            cargo(&["test", "--workspace", "--no-fail-fast", "--doc"]),
        );
    }
}
