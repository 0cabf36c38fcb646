//! `sluice config diff`: says what changes for whom between two configurations.
//!
//! `limits` compares the limits of each tier, `report` puts all together, and `text` writes it for
//! people.

mod limits;
mod report;
mod text;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use sluice_config::{ConfigErrors, Loader};

use self::report::Report;
use super::exit::{self, EXIT_CONFIG};

/// The exit code when the configurations differ, as `diff` has it.
const DIFFERENT: u8 = 1;

/// Says what changes for whom between two configurations: limits, tiers, exempt paths and settings.
///
/// Each file is read alone, over the built-in defaults and without the environment. Secrets are
/// masked, and files with secrets or with lists of clients are not read.
///
/// The exit code is 0 if the configurations are the same, 1 if they differ, and 78 if one of them
/// has errors.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// The configuration as it is.
    old: PathBuf,
    /// The configuration as it would be.
    new: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Compares the files.
pub(in crate::cli) fn run(
    arguments: &Arguments,
    out: &mut impl Write,
    err: &mut impl Write,
) -> ExitCode {
    let loader = |file: &PathBuf| Loader::new().file(file).without_secrets();
    let (old_loader, new_loader) = (loader(&arguments.old), loader(&arguments.new));
    let (old, new) = match (old_loader.load(), new_loader.load()) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => {
            let reject = |errors: ConfigErrors| {
                let _ = exit::reject(&errors, &mut *err);
            };
            old.err().into_iter().chain(new.err()).for_each(reject);
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let report = Report::of(&old.policy, &new.policy, old_loader.changed_settings(&new_loader));
    let written = if arguments.json {
        writeln!(out, "{:#}", report.to_json())
    } else {
        text::write(&report, out)
    };
    if old.rls.is_some() || new.rls.is_some() {
        // Nothing is left to report to if this fails.
        let _ = writeln!(err, "note: the rules in the files of `rls.files` are not compared");
    }
    match written.and_then(|()| out.flush()) {
        Ok(()) if !report.is_empty() => ExitCode::from(DIFFERENT),
        written => exit::of_output(&written),
    }
}
