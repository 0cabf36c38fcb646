//! `cargo xtask faults`: what limits and callers go through while something happens to Redis.

use std::fs;
use std::process::Command;

use crate::report::Report;
use crate::shell::{cargo, program, root, succeeds};
use crate::test::Runner;
use crate::tools::{Install, TOOLS, install};

const DEFAULT_SEED: u64 = 1;

/// The programs that the tests run.
const REDIS: &str = "redis-server";
const VALKEY: &str = "valkey-server-9";

/// The tests of `VALKEY`, as a part of their names.
const VALKEY_TESTS: &str = "valkey_9::";
/// Those that need a network of their own.
const PARTITION_TESTS: &str = "partition::";

/// A table that the tests write, a line for each round.
struct Table {
    /// The variable with the path of the file.
    variable: &'static str,
    file: &'static str,
    columns: &'static [&'static str],
}

const TABLES: [Table; 5] = [
    Table {
        variable: "SLUICE_FAULTS_TABLE",
        file: "target/faults.md",
        columns: &[
            "fault",
            "seed",
            "checks",
            "beyond the limit, by Redis",
            "beyond a share, locally",
            "errors",
            "local, of the clients concerned",
            "local, of others",
            "longest check",
            "until Redis decided again",
        ],
    },
    Table {
        variable: "SLUICE_FAULTS_LEASES_TABLE",
        file: "target/faults-leases.md",
        columns: &[
            "leases of",
            "seed",
            "decisions",
            "admitted, of 10,000/s",
            "of 1,000/s",
            "of 1/s",
            "beyond a limit",
            "replicas killed",
            "stopped, shorter + longer than a lease",
            "ended",
        ],
    },
    Table {
        variable: "SLUICE_FAULTS_OUTAGES_TABLE",
        file: "target/faults-outages.md",
        columns: &[
            "outage while leases are out",
            "seed",
            "outages",
            "decisions",
            "admitted by Redis",
            "by leases",
            "of these in outages",
            "locally",
            "beyond the limit, by Redis and leases",
            "beyond a share, locally",
        ],
    },
    Table {
        variable: "SLUICE_FAULTS_DENIALS_TABLE",
        file: "target/faults-denials.md",
        columns: &["denials without Redis", "seed", "what happened", "cost", "the longest"],
    },
    Table {
        variable: "SLUICE_FAULTS_HOLDS_TABLE",
        file: "target/faults-holds.md",
        columns: &[
            "holds, seed",
            "made",
            "buckets",
            "replicas killed",
            "answers lost",
            "steps found to be made before",
            "denied",
            "never settled",
            "tokens charged too few",
            "too many",
        ],
    },
];

/// The number of simulated schedules of leases of each kind.
const LEASE_SCHEDULES: &str = "10000";
/// The number of random histories that each store decides.
const STORE_HISTORIES: &str = "2000";
/// The most states of a case in which leases are searched.
const LEASE_STATES: &str = "2000000";

/// Runs the long form of the tests of faults, and prints their tables.
pub(crate) fn run(report: &mut Report, seed: Option<u64>) {
    report.run(leases());
    report.run(lease_search());
    let tools: Vec<_> = TOOLS.iter().filter(|tool| [REDIS, VALKEY].contains(&tool.name)).collect();
    let missing = install(report, &tools, Install::InOwnDirectory);
    if missing.contains(&REDIS) {
        return report.fail("faults", format!("without {REDIS} there is nothing to test"));
    }
    report.run(store_histories());
    for table in &TABLES {
        if let Err(error) = fs::write(root().join(table.file), table.head()) {
            return report.fail("faults", format!("could not write {}: {error}", table.file));
        }
    }
    // Before the network is left, which a build may need. Some tests run the program.
    if !report.run(cargo(&["build", "--workspace", "--bins"]))
        || !report.run(cargo(&["test", "--workspace", "--test", "faults", "--no-run"]))
    {
        return;
    }
    let namespace = can_isolate();
    if let Err(why) = &namespace {
        report.leave_out("the network partition", why);
    }
    let mut tests = test_command(&missing, namespace.is_ok());
    tests
        .env("SLUICE_FAULTS", "long")
        .env("SLUICE_FAULTS_SEED", seed.unwrap_or(DEFAULT_SEED).to_string())
        .envs(TABLES.iter().map(|table| (table.variable, root().join(table.file))));
    report.run_tests(Runner::CargoTest, tests);
    for table in &TABLES {
        match fs::read_to_string(root().join(table.file)) {
            Ok(text) => println!("\n{text}"),
            Err(error) => {
                report.fail("faults", format!("could not read {}: {error}", table.file));
            }
        }
    }
}

impl Table {
    /// Returns the first two lines.
    fn head(&self) -> String {
        let titles = self.columns.join(" | ");
        format!("| {titles} |\n|{}\n", "---|".repeat(self.columns.len()))
    }
}

/// Returns the command that compares the decisions of every store with those of the core.
fn store_histories() -> Command {
    let mut command = cargo(&["test", "--workspace", "--test", "conformance", "decisions_equal"]);
    command.env("SLUICE_STORE_HISTORIES", STORE_HISTORIES);
    command
}

/// Returns the command that simulates leases, and large fleets with leases, without any server.
fn leases() -> Command {
    let mut command = cargo(&["test", "--workspace", "--lib", "leases::"]);
    command.env("SLUICE_LEASE_SCHEDULES", LEASE_SCHEDULES);
    command
}

/// Returns the command that searches all orders of events of small buckets with leases.
fn lease_search() -> Command {
    let mut command = cargo(&["test", "--workspace", "--test", "lease_search"]);
    command.env("SLUICE_LEASE_SEARCH", LEASE_STATES);
    command
}

/// Returns the command that runs the tests, one at a time: none may slow down another.
fn test_command(missing: &[&str], isolated: bool) -> Command {
    let mut words = vec!["test", "--workspace", "--no-fail-fast", "--test", "faults", "--"];
    words.extend(["--test-threads=1", "--include-ignored"]);
    if missing.contains(&VALKEY) {
        words.extend(["--skip", VALKEY_TESTS]);
    }
    if !isolated {
        words.extend(["--skip", PARTITION_TESTS]);
        return cargo(&words);
    }
    let tests = cargo(&words);
    let mut command = program("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(tests.get_program()).args(tests.get_args());
    for (name, value) in tests.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Whether this machine can run a program in a network of its own, with a firewall.
///
/// # Errors
/// Says what is missing.
fn can_isolate() -> Result<(), String> {
    for (name, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        if !succeeds(program(name).arg("-V")) {
            return Err(format!(
                "there is no `{name}`: install it, as with `apt-get install {package}`"
            ));
        }
    }
    let up = ["--net", "sh", "-c", "ip link set lo up && nft list tables"];
    if succeeds(program("unshare").args(up)) {
        Ok(())
    } else {
        Err("it needs a network namespace (`unshare --net`), which only root may make".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::shown;

    #[test]
    fn tests_whose_program_is_missing_are_skipped() {
        let all = shown(&test_command(&[], true));
        assert!(!all.contains("--skip"), "{all}");
        let some = shown(&test_command(&[VALKEY], true));
        assert!(some.ends_with("--include-ignored --skip valkey_9::"), "{some}");
    }

    #[test]
    fn the_network_is_left_only_where_that_is_possible() {
        let isolated = shown(&test_command(&[], true));
        assert!(isolated.starts_with("unshare --net sh -c "), "{isolated}");
        let others = shown(&test_command(&[], false));
        assert!(others.starts_with("cargo test "), "{others}");
        assert!(others.ends_with("--include-ignored --skip partition::"), "{others}");
    }

    #[test]
    fn a_table_has_a_line_below_its_titles() {
        let table = Table { variable: "", file: "", columns: &["a", "b c"] };
        assert_eq!(table.head(), "| a | b c |\n|---|---|\n");
    }

    #[test]
    fn both_programs_are_tools() {
        for name in [REDIS, VALKEY] {
            assert!(TOOLS.iter().any(|tool| tool.name == name), "{name}");
        }
    }
}
