//! Builds the library that slows down the clock of a program under callgrind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sluice_testkit::Program;

const COMPILER: Program = Program {
    name: "cc",
    variable: "SLUICE_CC",
    remedy: "apt-get install --no-install-recommends gcc libc6-dev",
};

/// Builds the library in `directory`, and returns its path.
pub(crate) fn library(directory: &Path) -> PathBuf {
    let (source, library) = (directory.join("slow_clock.c"), directory.join("slow_clock.so"));
    fs::write(&source, include_str!("slow_clock.c")).unwrap();
    let mut compiler = Command::new(COMPILER.path());
    compiler.args(["-shared", "-fPIC", "-O2", "-o"]).args([&library, &source]);
    assert!(compiler.status().unwrap().success(), "cc could not build {}", source.display());
    library
}
