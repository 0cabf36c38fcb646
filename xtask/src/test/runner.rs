//! Runs one test binary without the tests whose tools are missing.
//!
//! `cargo test` starts every test binary through this program (Cargo's setting `runner`), with
//! environment variables that say which tools are missing. The binary is asked for its tests, so
//! that those left out can be listed by name.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::needs::{Needs, of_binary};

/// The name of the hidden command.
pub(crate) const COMMAND: &str = "run-test-binary";

/// Names the missing tools, separated by commas.
pub(super) const MISSING: &str = "SLUICE_XTASK_MISSING_TOOLS";

/// Names the file to which the tests that are left out are added, one in each line.
pub(super) const LEFT_OUT: &str = "SLUICE_XTASK_LEFT_OUT";

/// Which tests of a binary run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Choice {
    run: Vec<String>,
    /// The missing tool and the test.
    left_out: Vec<(&'static str, String)>,
}

/// Runs `binary arguments...` as Cargo passes them.
pub(crate) fn run(args: &[String]) -> ExitCode {
    match try_run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("could not run {}: {error}", args.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn try_run(args: &[String]) -> io::Result<ExitCode> {
    let (program, args) = args.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
    let binary = binary_name(Path::new(program));
    let missing = env::var(MISSING).unwrap_or_default();
    let missing: Vec<_> = missing.split(',').collect();
    let needs: Vec<_> =
        of_binary(&package, binary).filter(|needs| missing.contains(&needs.tool)).collect();
    let mut command = Command::new(program);
    if needs.is_empty() {
        return Err(command.args(args).exec());
    }
    let listed = Command::new(program).args(["--list", "--format", "terse"]).output()?;
    let (flags, filters): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with('-'));
    let choice = choose(&String::from_utf8_lossy(&listed.stdout), &filters, &needs);
    if let Some(path) = env::var_os(LEFT_OUT) {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        for (tool, test) in &choice.left_out {
            writeln!(file, "{tool}\t{package} {binary}\t{test}")?;
        }
    }
    println!("\n{} tests of {package} {binary} are left out", choice.left_out.len());
    if choice.run.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(command.args(flags).arg("--exact").args(choice.run).exec())
}

/// The name of the target from which Cargo built `name-0123456789abcdef`.
fn binary_name(path: &Path) -> &str {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    name.rsplit_once('-').map_or(name, |(name, _)| name)
}

/// Divides the tests that a binary lists, `path::name: test`, among those that match the filters.
fn choose(listed: &str, filters: &[&String], needs: &[&'static Needs]) -> Choice {
    let mut choice = Choice::default();
    let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let is_chosen =
        |test: &&str| filters.is_empty() || filters.iter().any(|filter| test.contains(*filter));
    for test in tests.filter(is_chosen) {
        match needs.iter().find(|needs| needs.include(test)) {
            Some(needs) => choice.left_out.push((needs.tool, test.to_owned())),
            None => choice.run.push(test.to_owned()),
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "memory::burst: test\nredis::burst: test\nredis::refill: test\n\n";
    const REDIS: &Needs =
        &Needs { tool: "redis-server", package: "p", binary: "b", tests: &["redis::"] };

    #[test]
    fn tests_that_need_a_missing_tool_are_left_out_by_name() {
        let choice = choose(LISTED, &[], &[REDIS]);
        assert_eq!(choice.run, ["memory::burst"]);
        assert_eq!(
            choice.left_out,
            ["redis::burst", "redis::refill"].map(|test| ("redis-server", test.to_owned()))
        );
    }

    #[test]
    fn a_filter_chooses_first() {
        let choice = choose(LISTED, &[&"refill".to_owned()], &[REDIS]);
        assert!(choice.run.is_empty());
        assert_eq!(choice.left_out, [("redis-server", "redis::refill".to_owned())]);
    }

    #[test]
    fn a_binary_is_known_by_the_name_of_its_target() {
        let path = "/target/debug/deps/metrics_page-1f2978d2ecc5e978";
        assert_eq!(binary_name(Path::new(path)), "metrics_page");
    }
}
