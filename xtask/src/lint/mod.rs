//! `cargo xtask lint`.

mod crate_order;
mod features;
mod import_cycles;
mod line_width;
mod links;

use crate::api;
use crate::report::Report;
use crate::shell::{cargo, root, succeeds};

/// Runs the checks; only those that need no build if `quick`.
pub(crate) fn run(report: &mut Report, quick: bool) {
    let root = root();
    report.check("line width", || line_width::check(&root));
    report.check("import cycles", || import_cycles::check(&root));
    report.check("order of the crates", || crate_order::check(&root));
    report.check("links in documents", || links::check(&root));
    report.run(cargo(&["fmt", "--all", "--check"]));
    if quick {
        return;
    }
    report.run(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    report.check("public surface of the library", || api::check(&root));
    features::run(report);
    if succeeds(&mut cargo(&["deny", "--version"])) {
        // `cargo deny check advisories` is left to CI's own schedule: it needs a database from the
        // network, and its result changes without a change of ours.
        report.run(cargo(&["deny", "check", "bans", "licenses", "sources"]));
    } else {
        report.leave_out(
            "cargo deny check",
            "cargo-deny is not installed: cargo install cargo-deny --locked",
        );
    }
}
