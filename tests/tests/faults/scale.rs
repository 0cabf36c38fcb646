//! How much of a test runs, and where its results go.

use std::{env, fs::File, io::Write};

/// The variable that `cargo xtask faults` sets to `long`.
const SCALE: &str = "SLUICE_FAULTS";
const SEED: &str = "SLUICE_FAULTS_SEED";
/// A file to which each round adds its line of the table.
const TABLE: &str = "SLUICE_FAULTS_TABLE";
/// The same for replicas that hold leases, and for outages while they do.
const LEASES_TABLE: &str = "SLUICE_FAULTS_LEASES_TABLE";
const OUTAGES_TABLE: &str = "SLUICE_FAULTS_OUTAGES_TABLE";
/// The same for the denial cache.
const DENIALS_TABLE: &str = "SLUICE_FAULTS_DENIALS_TABLE";
/// The same for holds.
const HOLDS_TABLE: &str = "SLUICE_FAULTS_HOLDS_TABLE";

const LONG_ROUNDS: u64 = 5;
const DEFAULT_SEED: u64 = 1;

/// Returns the seeds of a test's rounds.
pub(crate) fn seeds() -> impl Iterator<Item = u64> {
    let first = env::var(SEED).map_or(DEFAULT_SEED, |seed| {
        seed.parse().unwrap_or_else(|error| panic!("{SEED} is `{seed}`: {error}"))
    });
    (0..either((1, LONG_ROUNDS))).map(move |round| first.wrapping_add(round))
}

/// Returns the first of the two in CI, and the second one in the long form.
pub(crate) fn either<T>((short, long): (T, T)) -> T {
    if env::var(SCALE).is_ok_and(|scale| scale == "long") { long } else { short }
}

/// Adds a line to the table, if there is one.
pub(crate) fn report(line: &str) {
    add(TABLE, line);
}

/// Adds a line to the table of replicas that hold leases, if there is one.
pub(crate) fn report_leases(line: &str) {
    add(LEASES_TABLE, line);
}

/// Adds a line to the table of outages while replicas hold leases, if there is one.
pub(crate) fn report_outages(line: &str) {
    add(OUTAGES_TABLE, line);
}

/// Adds a line to the table of the denial cache, if there is one.
pub(crate) fn report_denials(line: &str) {
    add(DENIALS_TABLE, line);
}

/// Adds a line to the table of holds, if there is one.
pub(crate) fn report_holds(line: &str) {
    add(HOLDS_TABLE, line);
}

fn add(table: &str, line: &str) {
    if let Some(path) = env::var_os(table) {
        let file = File::options().create(true).append(true).open(&path);
        // In one piece, since other tests write to the file too.
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
