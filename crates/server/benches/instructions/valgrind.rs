//! Runs programs under callgrind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sluice_testkit::Program;

use crate::slow_clock;

const VALGRIND: Program = Program {
    name: "valgrind",
    variable: "SLUICE_VALGRIND",
    remedy: "apt-get install --no-install-recommends valgrind libc6-dbg",
};

/// Returns a command that counts in the program that is its next argument, whose clock it slows
/// down.
pub(crate) fn callgrind(file: &Path) -> Command {
    let _ = fs::remove_file(dumped(file));
    let directory = file.parent().unwrap();
    let mut command = Command::new(VALGRIND.path());
    command.env("LD_PRELOAD", slow_clock::library(directory)).arg("--tool=callgrind");
    command.arg(format!("--callgrind-out-file={}", file.display()));
    command.arg(format!("--log-file={}", log_file(file).display()));
    command
}

/// Returns what valgrind has written about the program that counts into `file`.
pub(crate) fn log(file: &Path) -> String {
    fs::read_to_string(log_file(file)).unwrap_or_else(|error| error.to_string())
}

/// Sets the counts of a process to zero.
pub(crate) fn zero(process: u32) {
    monitor(process, "zero");
}

/// Makes callgrind write what it has counted in a process, and returns the path of that file.
pub(crate) fn dump(process: u32, file: &Path) -> PathBuf {
    monitor(process, "dump");
    dumped(file)
}

/// Sends a command to callgrind in a process.
fn monitor(process: u32, command: &str) {
    let vgdb = VALGRIND.path().with_file_name("vgdb");
    let output = Command::new(&vgdb)
        .args([&format!("--pid={process}"), command])
        .stdin(Stdio::null())
        .output()
        .expect("vgdb, which belongs to valgrind, can be started");
    assert!(
        output.status.success(),
        "{} {command}: {}",
        vgdb.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Callgrind numbers the files of a process that goes on.
fn dumped(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.1", file.display()))
}

fn log_file(file: &Path) -> PathBuf {
    file.with_extension("log")
}
