//! How much of a test runs, and where its results go.

use std::{env, fs::File, io::Write};

/// The variable that `cargo xtask faults` sets to `long`.
const SCALE: &str = "SLUICE_FAULTS";
const SEED: &str = "SLUICE_FAULTS_SEED";
/// A file to which each round adds its line of the table.
const TABLE: &str = "SLUICE_FAULTS_TABLE";

const LONG_ROUNDS: u64 = 5;
const DEFAULT_SEED: u64 = 1;

/// Returns the seeds of a test's rounds.
pub(crate) fn seeds() -> impl Iterator<Item = u64> {
    let first = env::var(SEED).map_or(DEFAULT_SEED, |seed| {
        seed.parse().unwrap_or_else(|error| panic!("{SEED} is `{seed}`: {error}"))
    });
    let rounds = if env::var(SCALE).is_ok_and(|scale| scale == "long") { LONG_ROUNDS } else { 1 };
    (0..rounds).map(move |round| first.wrapping_add(round))
}

/// Adds a line to the table, if there is one.
pub(crate) fn report(line: &str) {
    if let Some(path) = env::var_os(TABLE) {
        let file = File::options().create(true).append(true).open(&path);
        // In one piece, since other tests write to the file too.
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
