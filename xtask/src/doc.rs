//! `cargo xtask doc`.

use crate::report::Report;
use crate::shell::cargo;

pub(crate) fn run(report: &mut Report) {
    let mut doc = cargo(&["doc", "--no-deps", "--workspace"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    report.run(doc);
}
