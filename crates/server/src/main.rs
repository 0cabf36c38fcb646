//! The binary `sluice`.

use std::{error::Error, io::Write, process::ExitCode};

use sluice_server::{config::Loader, serve::serve};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sluice: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    Ok(serve(Loader::new().file_if_present("sluice.yaml").variables(std::env::vars_os()).load()?)?)
}
