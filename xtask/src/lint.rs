//! `cargo xtask lint`.

use crate::report::Report;
use crate::shell::{cargo, succeeds};

pub(crate) fn run(report: &mut Report) {
    report.run(cargo(&["fmt", "--all", "--check"]));
    report.run(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    if succeeds(&mut cargo(&["deny", "--version"])) {
        // Advisories need a database from outside, and change without a change of ours: not here.
        report.run(cargo(&["deny", "check", "bans", "licenses", "sources"]));
    } else {
        report.leave_out(
            "cargo deny check",
            "cargo-deny is not installed: cargo install cargo-deny --locked",
        );
    }
}
