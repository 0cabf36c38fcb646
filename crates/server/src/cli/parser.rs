//! The parser of the command line, which runs the command that it finds.

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};
use sluice_config::{Settings, Watcher};

use super::{
    check, completions, config_check, config_diff, config_show, exit, explain, hash, health,
    layers::{Layers, Variables},
    printable::Printable,
    slo,
};
use crate::openapi;

/// A rate limiter for a fleet.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    layers: Layers,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a replica. This is the default command.
    Serve(Layers),
    /// Checks and prints configurations.
    #[command(subcommand)]
    Config(ConfigCommand),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Hash(hash::Arguments),
    #[command(subcommand)]
    Slo(slo::Command),
    Health(health::Arguments),
    /// Prints the OpenAPI document of the HTTP port, which a replica also serves at /openapi.json.
    #[command(name = "openapi")]
    OpenApi,
    Completions(completions::Arguments),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Check(config_check::Arguments),
    Diff(config_diff::Arguments),
    /// Prints the effective configuration from defaults, file, environment and flags, with the
    /// source of each value. Secrets are masked.
    Show(Layers),
    /// Prints the JSON Schema of a configuration file, for editors and other tools.
    Schema,
}

impl Cli {
    /// Runs the command with these environment variables. `serve` runs a replica. An output that
    /// cannot be written is reported, unless its reader has gone.
    pub fn run(
        self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        serve: impl FnOnce(Settings, Watcher) -> ExitCode,
        out: impl Write,
        err: impl Write,
    ) -> ExitCode {
        let (mut out, mut err) = (Printable::new(out), Printable::new(err));
        let code = self.run_command(variables.into_iter().collect(), serve, &mut out, &mut err);
        if let Some(error) = out.failure() {
            exit::report_unwritten(&error, err);
        }
        code
    }

    fn run_command(
        self,
        variables: Variables,
        serve: impl FnOnce(Settings, Watcher) -> ExitCode,
        out: &mut impl Write,
        err: &mut impl Write,
    ) -> ExitCode {
        let serve = |layers: Layers, variables| {
            layers
                .loader(variables)
                .load_and_watch()
                .map(|(settings, watcher)| serve(settings, watcher))
        };
        let outcome = match self.command {
            None => serve(self.layers, variables),
            Some(Command::Serve(layers)) => serve(layers, variables),
            Some(Command::Config(ConfigCommand::Check(arguments))) => {
                config_check::run(arguments, variables, out, err)
            }
            Some(Command::Config(ConfigCommand::Diff(arguments))) => {
                Ok(config_diff::run(&arguments, out, err))
            }
            Some(Command::Config(ConfigCommand::Show(layers))) => {
                config_show::show(layers, variables, out)
            }
            Some(Command::Config(ConfigCommand::Schema)) => Ok(config_show::schema(out)),
            Some(Command::Explain(arguments)) => explain::run(arguments, variables, out, err),
            Some(Command::Check(arguments)) => Ok(check::run(&arguments, &variables, out, err)),
            Some(Command::Hash(arguments)) => hash::run(arguments, variables, out),
            Some(Command::Slo(command)) => slo::run(command, variables, out, err),
            Some(Command::Completions(arguments)) => {
                Ok(completions::run(&arguments, Self::command(), out))
            }
            Some(Command::Health(arguments)) => Ok(health::run(arguments, variables, out, err)),
            Some(Command::OpenApi) => {
                let written = out
                    .write_all(openapi::text())
                    .and_then(|()| writeln!(out))
                    .and_then(|()| out.flush());
                Ok(exit::of_output(&written))
            }
        };
        outcome.unwrap_or_else(|errors| exit::reject(&errors, err))
    }
}
