//! Runs the vendors' SDKs for language models through the gateway.

use std::process::Command;

use crate::report::Report;
use crate::shell::{cargo, program, root};
use crate::test::Runner;
use crate::tools::{Install, MODELS_PYTHON, NODE, install};

/// Installs the SDKs below `.tools` and `tests/js/node_modules`, and runs the tests of those that
/// are there.
pub(super) fn check(report: &mut Report) {
    let missing = install(report, &[&MODELS_PYTHON, &NODE], Install::InOwnDirectory);
    let has_python = !missing.contains(&MODELS_PYTHON.name);
    let has_node = !missing.contains(&NODE.name) && report.run(npm());
    let tests = [(has_python, "live::python"), (has_node, "live::javascript")];
    let tests: Vec<_> = tests.iter().filter(|(is_there, _)| *is_there).collect();
    // The tests run the program that lies beside them.
    if tests.is_empty() || !report.run(cargo(&["build", "--workspace", "--bins"])) {
        return;
    }
    for (_, test) in tests {
        let mut run = cargo(&["test", "--workspace", "--test", "model_sdks", "--"]);
        run.args(["--ignored", "--exact", test]);
        report.run_tests(Runner::CargoTest, run);
    }
}

/// Installs exactly what the lock file names. No package runs a script.
fn npm() -> Command {
    let mut npm = program("npm");
    npm.current_dir(root().join("tests/js"));
    npm.args(["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
    npm
}
