//! `cargo xtask bench instructions`: the instructions of a decision beside those of the last
//! release.
//!
//! The bench target counts, and says which files callgrind has written; this reads them.

mod measured;
mod profile;
mod release;
mod table;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use measured::Measured;
use release::Release;

use crate::shell::{cargo, program, root, shown};

/// The benchmark's name.
pub(crate) const NAME: &str = "instructions";
/// The counts of the last release.
const RELEASE: &str = "crates/server/benches/instructions/release.toml";
/// Where callgrind's files are written, and beside each a listing of its functions.
const FILES: &str = "target/instructions";

/// What is counted, and what becomes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Instructions {
    /// Only subjects whose names contain this; else all.
    pub(crate) only: Option<String>,
    /// Whether the counts are written as those of the release.
    pub(crate) save: bool,
}

impl Instructions {
    /// Checks the options, with the name of the benchmark.
    ///
    /// # Errors
    /// When they belong to another benchmark, or contradict each other.
    pub(crate) fn check(&self, name: Option<&str>) -> Result<(), String> {
        let Self { only, save } = self;
        if (only.is_some() || *save) && name != Some(NAME) {
            return Err("`--only` and `--save` are options of `bench instructions`".to_owned());
        }
        if only.is_some() && *save {
            return Err("`--save` needs all subjects: leave out `--only`".to_owned());
        }
        Ok(())
    }

    /// Counts, and prints each row as soon as it is known.
    ///
    /// # Errors
    /// When a program fails, or a file cannot be read or written.
    pub(crate) fn run(&self) -> Result<(), String> {
        let path = root().join(RELEASE);
        let release = match fs::read_to_string(&path) {
            Ok(text) => Some(Release::parse(&text).map_err(|error| format!("{RELEASE}: {error}"))?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("{RELEASE}: {error}")),
        };
        let rustc = compiler()?;
        if let Some(before) = &release {
            println!(
                "release: Sluice {}, rustc {}; now: rustc {rustc}",
                before.version, before.rustc
            );
        }
        let files = root().join(FILES);
        fs::create_dir_all(&files).map_err(|error| format!("{FILES}: {error}"))?;
        println!("{}", table::head());
        let counted = self.count(|measured| {
            let before = release.as_ref().and_then(|release| release.counts.get(&measured.subject));
            println!("{}", table::row(measured, before));
        })?;
        println!("callgrind's files, and listings of functions: {FILES}");
        if self.save {
            let counts =
                counted.into_iter().map(|measured| (measured.subject, measured.counts)).collect();
            let release = Release { version: env!("CARGO_PKG_VERSION").to_owned(), rustc, counts };
            fs::write(&path, release.text()).map_err(|error| format!("{RELEASE}: {error}"))?;
            println!("written: {RELEASE}");
        }
        Ok(())
    }

    /// Runs the bench target.
    fn count(&self, print: impl Fn(&Measured)) -> Result<Vec<Measured>, String> {
        let mut command = self.command();
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`{}`: {error}", shown(&command)))?;
        let output = child.stdout.take().ok_or("the standard output is not a pipe")?;
        let mut counted = Vec::new();
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| error.to_string())?;
            match Measured::read(&line) {
                Some(measured) => {
                    let measured = measured?;
                    print(&measured);
                    counted.push(measured);
                }
                None => println!("{line}"),
            }
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        match (status.success(), &self.only) {
            (false, _) => Err(format!("`{}` failed ({status})", shown(&command))),
            (true, Some(only)) if counted.is_empty() => {
                Err(format!("no subject's name contains `{only}`"))
            }
            (true, _) => Ok(counted),
        }
    }

    fn command(&self) -> Command {
        let mut command =
            cargo(&["bench", "--package", "sluice-server", "--bench", "instructions", "--"]);
        command.arg("--into").arg(root().join(FILES)).args(&self.only);
        command
    }
}

/// Returns the compiler's version.
fn compiler() -> Result<String, String> {
    let mut rustc = program("rustc");
    let output = rustc.arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.trim().trim_start_matches("rustc ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_reach_the_bench_target() {
        let only = Some("RLS, Redis".to_owned());
        let command = shown(&Instructions { only, save: false }.command());
        assert!(
            command.starts_with("cargo bench --package sluice-server --bench instructions -- ")
        );
        assert!(command.ends_with("/target/instructions 'RLS, Redis'"), "{command}");
    }

    #[test]
    fn the_counts_of_the_release_can_be_read() {
        let text = fs::read_to_string(root().join(RELEASE)).unwrap();
        let release = Release::parse(&text).unwrap();
        assert!(!release.version.is_empty() && !release.rustc.is_empty());
        assert!(!release.counts.is_empty());
    }
}
