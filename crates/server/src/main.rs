//! The binary `sluice`.

use std::{
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use clap::Parser;
use sluice_config::{Settings, Watcher};
use sluice_server::{
    cli::{Cli, EXIT_CONFIG, reject_usage},
    logging::error_chain,
    serve::serve,
};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => cli.run(std::env::vars_os(), run_replica, stdout(), stderr()),
        Err(error) => reject_usage(&error),
    }
}

fn run_replica(settings: Settings, watcher: Watcher) -> ExitCode {
    match serve(settings, watcher) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error, because logging may not have started. If that fails too, there is
            // nowhere left to report to.
            let _ = writeln!(stderr(), "sluice: {}", error_chain(&error));
            if error.is_of_configuration() {
                ExitCode::from(EXIT_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
