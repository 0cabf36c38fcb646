//! The binary `sluice`.

use std::{
    error::Error,
    io::{Write, stderr, stdout},
    process::ExitCode,
};

use clap::Parser;
use sluice_config::{Settings, Watcher};
use sluice_server::{cli::Cli, serve::serve};

fn main() -> ExitCode {
    Cli::parse().run(std::env::vars_os(), run_replica, stdout(), stderr())
}

fn run_replica(settings: Settings, watcher: Watcher) -> ExitCode {
    match serve(settings, watcher) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error, because logging may not have started. If that fails too, there is
            // nowhere left to report to.
            let _ = report(&error);
            ExitCode::FAILURE
        }
    }
}

fn report(error: &dyn Error) -> std::io::Result<()> {
    write!(stderr(), "sluice: {error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(stderr(), ": {error}")?;
        cause = error.source();
    }
    writeln!(stderr())
}
