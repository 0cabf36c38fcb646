//! `sluice completions`: prints a script that completes commands in a shell.

use std::{io::Write, process::ExitCode};

use clap::{Args, Command};
use clap_complete::Shell;

use super::exit;

/// Prints a script with which a shell completes the commands and flags of sluice.
///
/// For bash: `sluice completions bash > /etc/bash_completion.d/sluice`. For zsh, write it as
/// `_sluice` into a folder of `$fpath`; for fish, as ~/.config/fish/completions/sluice.fish.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

/// Prints the script for `command`.
pub(super) fn run(arguments: &Arguments, mut command: Command, out: &mut impl Write) -> ExitCode {
    let name = command.get_name().to_owned();
    // The generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    exit::of_output(&out.write_all(&script).and_then(|()| out.flush()))
}
