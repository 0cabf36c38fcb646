//! `cargo xtask test`.

mod counts;
mod needs;
mod runner;

pub(crate) use counts::{Runner, TestCounts};
pub(crate) use runner::{COMMAND as RUN_TEST_BINARY, run as run_test_binary};

use std::env;
use std::fs;

use crate::report::{LeftOutTest, Report};
use crate::shell::{cargo, root, succeeds};
use crate::tools::{Install, TOOLS, Tool, install};
use crate::workspace;

/// Which tests to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    /// A package's name, with or without `sluice-`; `None` for all packages.
    pub(crate) package: Option<String>,
    /// A part of the tests' names; `None` for all tests.
    pub(crate) filter: Option<String>,
}

/// The package whose documentation tests start a Redis.
const TESTKIT: &str = "sluice-testkit";

pub(crate) fn run(report: &mut Report, selection: &Selection, mode: Install) {
    let root = root();
    let package = match selection.package.as_deref().map(|name| workspace::package(&root, name)) {
        Some(Ok(package)) => Some(package),
        Some(Err(problem)) => return report.fail("test", problem),
        None => None,
    };
    let name = package.as_ref().map(workspace::Package::name);
    let missing = install_for(report, name, selection, mode);

    // Tests outside the server's package run the program `sluice` that lies beside them, so it has
    // to be built first, and together with the tests: what both use is then built once.
    let mut packages = name.map_or(vec!["--workspace"], |name| vec!["--package", name]);
    if name == Some("sluice-tests") {
        packages.extend(["--package", "sluice-server"]);
    }
    let mut build = cargo(&["build"]);
    build.args(&packages).args(["--bins", "--tests"]);
    if !report.run(build) {
        return;
    }

    let packages = name.map_or(vec!["--workspace"], |name| vec!["--package", name]);
    let filter = selection.filter.as_deref();
    if missing.is_empty() && succeeds(&mut cargo(&["nextest", "--version"])) {
        let mut tests = cargo(&["nextest", "run", "--no-fail-fast"]);
        tests.args(&packages).args(filter);
        report.run_tests(Runner::Nextest, tests);
    } else {
        run_with_cargo(report, &packages, filter, &missing);
    }

    let has_doctests = package.as_ref().is_none_or(|package| package.has_library(&root));
    if filter.is_none() && has_doctests {
        run_doctests(report, name, &missing);
    }
}

/// Installs what the selected tests need; returns the names of what stays missing.
fn install_for(
    report: &mut Report,
    package: Option<&str>,
    selection: &Selection,
    mode: Install,
) -> Vec<&'static str> {
    // A filter alone may match tests of any package: too little to install everything for.
    let mode = match mode {
        Install::InOwnDirectory if package.is_none() && selection.filter.is_some() => {
            Install::Nothing
        }
        mode => mode,
    };
    let is_needed =
        |tool: &&Tool| package.is_none_or(|package| needs::package_needs(package, tool.name));
    let tools: Vec<_> = TOOLS.iter().filter(is_needed).collect();
    install(report, &tools, mode)
}

fn run_with_cargo(
    report: &mut Report,
    packages: &[&str],
    filter: Option<&str>,
    missing: &[&'static str],
) {
    let mut tests = cargo(&["test", "--no-fail-fast", "--tests"]);
    tests.args(packages).args(filter);
    if missing.is_empty() {
        report.run_tests(Runner::CargoTest, tests);
        return;
    }
    let file = root().join("target/left-out-tests.txt");
    let (Ok(xtask), Ok(())) = (env::current_exe(), fs::write(&file, "")) else {
        return report.fail("test", format!("could not write {}", file.display()));
    };
    let setting = format!(
        "target.'cfg(all())'.runner = [{:?}, {:?}]",
        xtask.to_string_lossy(),
        runner::COMMAND
    );
    tests
        .args(["--config", &setting])
        .env(runner::MISSING, missing.join(","))
        .env(runner::LEFT_OUT, &file);
    report.run_tests(Runner::CargoTest, tests);
    match fs::read_to_string(&file) {
        Ok(lines) => report.leave_out_tests(lines.lines().filter_map(left_out_test)),
        Err(error) => report.fail("test", format!("could not read {}: {error}", file.display())),
    }
}

/// Reads a line that the runner wrote.
fn left_out_test(line: &str) -> Option<LeftOutTest> {
    let mut parts = line.split('\t').map(str::to_owned);
    Some(LeftOutTest { tool: parts.next()?, binary: parts.next()?, test: parts.next()? })
}

fn run_doctests(report: &mut Report, package: Option<&str>, missing: &[&'static str]) {
    let leave_out_testkit = missing.contains(&"redis-server");
    let packages = match package {
        Some(TESTKIT) if leave_out_testkit => None,
        Some(package) => Some(vec!["--package", package]),
        None if leave_out_testkit => Some(vec!["--workspace", "--exclude", TESTKIT]),
        None => Some(vec!["--workspace"]),
    };
    if let Some(packages) = packages {
        let mut tests = cargo(&["test", "--no-fail-fast", "--doc"]);
        tests.args(packages);
        report.run_tests(Runner::CargoTest, tests);
    }
    if leave_out_testkit && package.is_none_or(|package| package == TESTKIT) {
        report.leave_out("the documentation tests of sluice-testkit", "redis-server is missing");
    }
}
