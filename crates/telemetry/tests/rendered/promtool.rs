//! Prometheus's own linter checks the rendered metrics.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use sluice_testkit::Program;

use crate::{every_metric::record_everything, telemetry};

/// The one warning that stays, because the seed document defines this gauge's name.
const ACCEPTED: &str = "blueprint_resources_count non-histogram and non-summary metrics should \
                        not have \"_count\" suffix";

const PROMTOOL: Program = Program {
    name: "promtool",
    variable: "SLUICE_PROMTOOL",
    remedy: "apt-get install --no-install-recommends prometheus",
};

#[test]
fn promtool_accepts_the_rendered_metrics() {
    let telemetry = telemetry();
    record_everything(telemetry.recorders());
    let text = telemetry.prometheus().render().expect("the metrics render");

    let mut promtool = Command::new(PROMTOOL.path())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(text.as_bytes())
        .expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    let warnings = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let warnings: Vec<&str> = warnings.lines().filter(|line| *line != ACCEPTED).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}
