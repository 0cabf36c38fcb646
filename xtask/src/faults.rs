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

const TABLE: &str = "target/faults.md";
const HEAD: &str = "\
| fault | seed | checks | beyond the limit, by Redis | beyond a share, locally | errors \
| local, of the clients concerned | local, of others | longest check | until Redis decided again |
|---|---|---|---|---|---|---|---|---|---|
";

/// The number of simulated schedules of leases of each kind.
const LEASE_SCHEDULES: &str = "10000";

/// Runs the long form of the tests of faults, and prints their table.
pub(crate) fn run(report: &mut Report, seed: Option<u64>) {
    report.run(lease_simulation());
    let tools: Vec<_> = TOOLS.iter().filter(|tool| [REDIS, VALKEY].contains(&tool.name)).collect();
    let missing = install(report, &tools, Install::InOwnDirectory);
    if missing.contains(&REDIS) {
        return report.fail("faults", format!("without {REDIS} there is nothing to test"));
    }
    let table = root().join(TABLE);
    if let Err(error) = fs::write(&table, HEAD) {
        return report.fail("faults", format!("could not write {}: {error}", table.display()));
    }
    // Before the network is left, which a build may need.
    if !report.run(cargo(&["test", "--workspace", "--test", "faults", "--no-run"])) {
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
        .env("SLUICE_FAULTS_TABLE", &table);
    report.run_tests(Runner::CargoTest, tests);
    match fs::read_to_string(&table) {
        Ok(table) => println!("\n{table}"),
        Err(error) => report.fail("faults", format!("could not read {TABLE}: {error}")),
    }
}

/// Returns the command that simulates leases, without any server.
fn lease_simulation() -> Command {
    let mut command = cargo(&["test", "--workspace", "--lib", "leases::simulation"]);
    command.env("SLUICE_LEASE_SCHEDULES", LEASE_SCHEDULES);
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
    fn both_programs_are_tools() {
        for name in [REDIS, VALKEY] {
            assert!(TOOLS.iter().any(|tool| tool.name == name), "{name}");
        }
    }
}
