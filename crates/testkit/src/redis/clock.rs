//! A wall clock of a server that tests move.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::Program;

const COMPILER: Program = Program {
    name: "cc",
    variable: "SLUICE_CC",
    remedy: "apt-get install --no-install-recommends gcc libc6-dev",
};

/// A library that is preloaded into a server, and the file with which it is moved.
#[derive(Debug)]
pub(super) struct MovableClock {
    library: PathBuf,
    offset_file: PathBuf,
    offset: File,
}

impl MovableClock {
    /// Builds the library in `directory`, for a clock that shows the system's time.
    #[track_caller]
    pub(super) fn create(directory: &Path) -> Self {
        let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
        let offset_file = directory.join("clock.offset");
        fs::write(&source, include_str!("clock.c"))
            .and_then(|()| fs::write(&offset_file, 0_i64.to_ne_bytes()))
            .unwrap_or_else(|error| panic!("could not write the files of a clock: {error}"));
        let output = Command::new(COMPILER.path())
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .output()
            .unwrap_or_else(|error| panic!("could not run cc: {error}"));
        assert!(
            output.status.success(),
            "cc could not build a clock that tests move:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let offset =
            OpenOptions::new().write(true).read(true).open(&offset_file).unwrap_or_else(|error| {
                panic!("could not open {}: {error}", offset_file.display())
            });
        Self { library, offset_file, offset }
    }

    /// Makes `command` start a program that uses this clock.
    pub(super) fn apply(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("SLUICE_CLOCK_FILE", &self.offset_file);
    }

    /// Moves the clock by `micros` microseconds.
    #[track_caller]
    pub(super) fn step(&self, micros: i64) {
        let mut offset = [0; 8];
        self.offset
            .read_exact_at(&mut offset, 0)
            .and_then(|()| {
                let moved = i64::from_ne_bytes(offset) + micros;
                self.offset.write_all_at(&moved.to_ne_bytes(), 0)
            })
            .unwrap_or_else(|error| panic!("could not move the clock: {error}"));
    }
}
