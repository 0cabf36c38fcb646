//! Commands that run in this workspace, and how they are printed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace's root, where every command runs.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies directly under the workspace's root").to_owned()
}

/// Any program, to run in the workspace's root.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Cargo with these arguments, as if typed into a shell.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` sets variables that describe our own package. Build scripts that watch them
    // (ring's does) would see a change, and would run again after every plain `cargo test`.
    for (name, _) in env::vars_os().filter(|(name, _)| describes_a_package(&name.to_string_lossy()))
    {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// Whether a command runs and succeeds; its output is discarded. Finds out if a tool is installed.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns the command as it would be typed in a shell: the variables set on it, the program's
/// name, the arguments.
pub(crate) fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("{}={}", name.display(), quoted(&value.to_string_lossy())))
    });
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program)
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn describes_a_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.env("RUSTDOCFLAGS", "-D warnings").env_remove("GONE").args([
            "doc",
            "--no-deps",
            "it's",
        ]);
        assert_eq!(shown(&command), r"RUSTDOCFLAGS='-D warnings' cargo doc --no-deps 'it'\''s'");
    }

    #[test]
    fn cargo_does_not_see_the_package_of_xtask() {
        for variable in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"] {
            assert!(describes_a_package(variable), "{variable}");
        }
        for variable in ["CARGO_HOME", "CARGO_TERM_COLOR", "CARGO_INCREMENTAL", "CARGO"] {
            assert!(!describes_a_package(variable), "{variable}");
        }
    }

    #[test]
    fn a_program_that_does_not_exist_does_not_succeed() {
        assert!(!succeeds(&mut program("no-such-program-anywhere")));
        assert!(succeeds(&mut program("true")));
        assert!(!succeeds(&mut program("false")));
    }

    #[test]
    fn the_root_contains_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }
}
