//! The exit codes of commands.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use sluice_config::ConfigErrors;

use super::printable::Printable;

/// The exit code for an invalid configuration: `EX_CONFIG` of sysexits.h. A usage error exits with
/// 2, any other failure with 1.
pub const EXIT_CONFIG: u8 = 78;

/// The exit code for an invalid command line.
pub(super) const USAGE: u8 = 2;

/// Prints why a command line is invalid, or the help that it asks for, and returns the exit code.
/// Control characters in its words are escaped.
#[must_use]
pub fn reject_usage(error: &clap::Error) -> ExitCode {
    let plain = error.render().to_string();
    let printed = if plain.contains(|c: char| c.is_control() && c != '\n') && error.use_stderr() {
        write!(Printable::new(io::stderr()), "{plain}")
    } else {
        error.print()
    };
    match (printed, error.exit_code()) {
        (Err(failure), 0) if failure.kind() != io::ErrorKind::BrokenPipe => {
            report_unwritten(&failure, io::stderr());
            ExitCode::FAILURE
        }
        (_, code) => u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from),
    }
}

/// Reports that the output cannot be written.
pub(super) fn report_unwritten(error: &io::Error, mut err: impl Write) {
    // If standard error cannot be written, there is nowhere left to report that.
    let _ = writeln!(err, "sluice: the output cannot be written: {error}");
}

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
