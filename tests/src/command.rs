//! `sluice` as a command that ends by itself.

use std::process::{Command, Stdio};

use sluice_testkit::built_sluice;
use tempfile::TempDir;

/// A command's exit code and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// A command line with its own files and settings; those of the caller do not reach it.
#[derive(Debug)]
pub struct CommandLine {
    directory: TempDir,
    command: Command,
}

impl CommandLine {
    /// Prepares `sluice` with these arguments, in an empty directory.
    ///
    /// # Panics
    /// When it was not built.
    #[must_use]
    #[track_caller]
    pub fn new(args: &[&str]) -> Self {
        let directory = TempDir::with_prefix("sluice-command-").expect("a directory can be made");
        let mut command = Command::new(built_sluice());
        command.args(args).current_dir(directory.path()).stdin(Stdio::null());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SLUICE"))
        {
            command.env_remove(name);
        }
        Self { directory, command }
    }

    /// Writes a file into the directory.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.directory.path().join(name), text).expect("the directory is ours");
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// When it cannot be started, or is ended by a signal.
    #[must_use]
    #[track_caller]
    pub fn run(mut self) -> Ended {
        let output = self.command.output().expect("sluice can be started");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("sluice writes UTF-8");
        let Some(code) = output.status.code() else {
            panic!("sluice ended with {}", output.status)
        };
        Ended { code, out: text(output.stdout), err: text(output.stderr) }
    }
}
