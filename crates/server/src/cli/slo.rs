//! `sluice slo rules`: writes Prometheus rules for the objectives of a configuration.

use std::{io::Write, process::ExitCode};

use clap::{Args, Subcommand};
use sluice_config::ConfigErrors;

use super::{
    exit,
    layers::{ConfigFile, Variables},
};

/// Where the runbooks are, from the root of the repository.
const RUNBOOKS: &str = "docs/runbooks";

/// Writes Prometheus rules for the service level objectives of a configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Rules(Arguments),
}

/// Prints a file of Prometheus rules for the objectives in `slos`: recording rules, and alerts when
/// an error budget burns too fast.
///
/// Write it again when the objectives change: `sluice slo rules > rules/slo.yml`. Check it with
/// `promtool check rules`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// The address of the folder with the runbooks of the alerts.
    #[arg(long, value_name = "URL", default_value = RUNBOOKS)]
    runbooks: String,
}

/// Runs the command.
pub(super) fn run(
    command: Command,
    variables: Variables,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<ExitCode, ConfigErrors> {
    let Command::Rules(Arguments { file, runbooks }) = command;
    let slos = file.loader(variables).load()?.slos;
    if slos.is_empty() {
        let _ = writeln!(
            err,
            "sluice: the configuration has no objectives: write them under `slos`, as in `slos: \
             [{{ name: api, endpoint: /api/v1/**, objective: 99.9, window: 30d }}]`"
        );
        return Ok(ExitCode::FAILURE);
    }
    let text = sluice_slo::rules(&slos, runbooks.trim_end_matches('/'));
    Ok(exit::of_output(&write!(out, "{text}").and_then(|()| out.flush())))
}
