//! Prometheus' own linter on what is rendered.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use sluice_testkit::Program;

use crate::{recording::record_everything, telemetry};

/// The one finding there is, and stays: the document names this gauge, and dashboards use the name.
const ACCEPTED: &str = "blueprint_resources_count non-histogram and non-summary metrics should not have \"_count\" suffix";

const PROMTOOL: Program = Program {
    name: "promtool",
    variable: "SLUICE_PROMTOOL",
    remedy: "apt-get install --no-install-recommends prometheus",
};

#[test]
fn promtool_finds_nothing() {
    let telemetry = telemetry();
    record_everything(telemetry.recorders());
    let text = telemetry.prometheus().render().expect("it renders");

    let mut promtool = Command::new(PROMTOOL.path())
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let findings: Vec<&str> = said.lines().filter(|line| *line != ACCEPTED).collect();
    assert!(findings.is_empty(), "{findings:#?}");
}
