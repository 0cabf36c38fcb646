//! The exit codes of commands.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use sluice_config::ConfigErrors;

/// The exit code for an invalid configuration: `EX_CONFIG` of sysexits.h. A usage error exits with
/// 2, any other failure with 1.
pub const EXIT_CONFIG: u8 = 78;

/// Prints the errors of a configuration, and returns the exit code for them.
pub(super) fn reject(errors: &ConfigErrors, mut err: impl Write) -> ExitCode {
    // If standard error cannot be written, there is nowhere left to report that.
    let _ = writeln!(err, "{errors}").and_then(|()| err.flush());
    ExitCode::from(EXIT_CONFIG)
}

/// Returns the exit code of a command that has nothing to do but write its output.
pub(super) fn of_output(written: &io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
