//! `cargo xtask doc`.

use crate::report::Report;
use crate::shell::cargo;

pub(crate) fn run(report: &mut Report) {
    // Only libraries: the program `sluice` and the library of that name would both be written to
    // doc/sluice.
    let mut doc = cargo(&["doc", "--no-deps", "--workspace", "--lib"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    report.run(doc);
}
