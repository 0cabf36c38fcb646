//! The project's own commands, for people and for CI: `cargo xtask --help` lists them.
//!
//! It depends on nothing, so that it builds in a moment on a machine that has only Rust.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints to its terminal")]

mod api;
mod bench;
mod chart;
mod dashboards;
mod doc;
mod e2e;
mod faults;
mod lint;
mod notices;
mod report;
mod shell;
mod test;
mod tools;
mod workspace;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use bench::Instructions;
use report::Report;
use test::Selection;
use tools::{Install, TOOLS};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [-p PACKAGE] [NAME] [--install]
                     Builds and runs tests: all of them, those of one package, or those whose
                     name contains NAME. `cargo xtask test -p core` and `cargo xtask test bucket`
                     take seconds once the workspace is built. Tests run real programs (Redis,
                     Envoy, Prometheus). Prints what it will install and how much disk that takes,
                     and installs only below .tools, without root. Tests whose program is missing
                     are left out, and the summary lists their names. NAME alone installs nothing.
  tools [--install]  Only installs the programs that tests run.
  lint [--quick]     Checks the line width (100 columns), that no two files import each other, that
                     crates depend on each other in one direction, the formatting, clippy, the
                     listing of the public surface, and cargo-deny where it is installed. --quick
                     runs only what needs no build.
  doc                Builds the documentation; a warning is an error.
  api                Writes the listing of the library's public surface, docs/api/sluice.txt.
  dashboards         Writes the Grafana dashboards in deploy/, from crates/dashboards.
  chart              Writes the Helm chart's copies of rules and dashboards.
  notices DIRECTORY  Writes the licences of the crates in the program, and its bill of materials.
  e2e [--stand-ins]  Runs the vendors' SDKs for language models through the gateway, builds the
                     image with Docker and runs the compose stack: some ten minutes, not part of CI.
                     It uses the engine that runs, or as root starts one of its own. --stand-ins
                     makes images that cannot be pulled from Debian's packages.
  faults [--seed N]  Kills, pauses, moves and flushes Redis servers under load, and prints what that
                     did to limits and callers: some half an hour. The short form is part of the
                     tests. The network partition needs root and `nft`.
  bench [NAME]       Runs every benchmark, or the one of that name.
  bench instructions [--only TEXT] [--save]
                     Counts the instructions of decisions under valgrind, beside those of the last
                     release: of all subjects, or of those whose name contains TEXT. --save writes
                     the counts as those of the release.
  ci                 Runs lint, doc and test --install, as CI does.

--install also installs packages on this machine, with apt-get, if it may (root on Debian). With
it, and where the environment variable CI is true, no test is left out: a missing program is a
failure.";

/// A command with its options.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Test { selection: Selection, install: bool },
    Tools { install: bool },
    Lint { quick: bool },
    Doc,
    Api,
    Dashboards,
    Chart,
    Notices { directory: PathBuf },
    E2e { stand_ins: bool },
    Faults { seed: Option<u64> },
    Bench { name: Option<String>, instructions: Instructions },
    Ci,
    Help,
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    if let Some((test::RUN_TEST_BINARY, binary)) =
        args.split_first().map(|(command, rest)| (command.as_str(), rest))
    {
        return test::run_test_binary(binary);
    }
    match Task::parse(&args) {
        Ok(Task::Help) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(task) => task.run(&args.join(" ")),
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

impl Task {
    fn parse(args: &[String]) -> Result<Self, String> {
        let (command, rest) = args.split_first().ok_or("a command is missing")?;
        if rest.iter().any(|arg| arg == "--help" || arg == "-h") {
            return Ok(Self::Help);
        }
        let mut rest = Arguments { command, left: rest.to_vec() };
        let task = match command.as_str() {
            "test" => Self::Test {
                install: rest.take_flag("--install"),
                selection: Selection {
                    package: rest.take_value("-p", "--package")?,
                    filter: rest.take_name(),
                },
            },
            "tools" => Self::Tools { install: rest.take_flag("--install") },
            "lint" => Self::Lint { quick: rest.take_flag("--quick") },
            "doc" => Self::Doc,
            "api" => Self::Api,
            "dashboards" => Self::Dashboards,
            "chart" => Self::Chart,
            "notices" => Self::Notices {
                directory: rest.take_name().ok_or("`notices` needs a directory")?.into(),
            },
            "e2e" => Self::E2e { stand_ins: rest.take_flag("--stand-ins") },
            "faults" => Self::Faults {
                seed: rest.take_value("-s", "--seed")?.map(|seed| parse_seed(&seed)).transpose()?,
            },
            "bench" => {
                // Before the name, since the value of an option looks like one.
                let only = rest.take_value("-o", "--only")?;
                let instructions = Instructions { only, save: rest.take_flag("--save") };
                let name = rest.take_name();
                instructions.check(name.as_deref())?;
                Self::Bench { name, instructions }
            }
            "ci" => Self::Ci,
            "help" | "-h" | "--help" => Self::Help,
            other => return Err(format!("there is no command `{other}`")),
        };
        rest.finish()?;
        Ok(task)
    }

    fn run(self, command_line: &str) -> ExitCode {
        let mut report = Report::new(format!("cargo xtask {command_line}"));
        let in_ci = env::var("CI").is_ok_and(|value| value == "true");
        let mode = |install| {
            if install || in_ci { Install::Everything } else { Install::InOwnDirectory }
        };
        match self {
            Self::Test { selection, install } => test::run(&mut report, &selection, mode(install)),
            Self::Tools { install } => {
                let tools: Vec<_> = TOOLS.iter().collect();
                tools::install(&mut report, &tools, mode(install));
            }
            Self::Lint { quick } => lint::run(&mut report, quick),
            Self::Doc => doc::run(&mut report),
            Self::Api => api::run(&mut report, &shell::root()),
            Self::Dashboards => dashboards::run(&mut report),
            Self::Chart => chart::run(&mut report, &shell::root()),
            Self::Notices { directory } => notices::run(&mut report, &directory),
            Self::E2e { stand_ins } => e2e::run(&mut report, &shell::root(), stand_ins),
            Self::Faults { seed } => faults::run(&mut report, seed),
            Self::Bench { name, instructions } => {
                bench::run(&mut report, name.as_deref(), &instructions);
            }
            Self::Ci => {
                lint::run(&mut report, false);
                doc::run(&mut report);
                test::run(&mut report, &Selection::default(), Install::Everything);
            }
            Self::Help => {}
        }
        report.close()
    }
}

fn parse_seed(seed: &str) -> Result<u64, String> {
    seed.parse().map_err(|error| format!("`--seed` must be a whole number, not `{seed}`: {error}"))
}

/// What follows a command and was not read yet.
struct Arguments<'a> {
    command: &'a str,
    left: Vec<String>,
}

impl Arguments<'_> {
    fn take_flag(&mut self, flag: &str) -> bool {
        let position = self.left.iter().position(|arg| arg == flag);
        position.map(|position| self.left.remove(position)).is_some()
    }

    fn take_value(&mut self, short: &str, long: &str) -> Result<Option<String>, String> {
        let Some(position) = self.left.iter().position(|arg| arg == short || arg == long) else {
            return Ok(None);
        };
        let option = self.left.remove(position);
        if position == self.left.len() {
            return Err(format!("`{option}` needs a value"));
        }
        Ok(Some(self.left.remove(position)))
    }

    fn take_name(&mut self) -> Option<String> {
        let position = self.left.iter().position(|arg| !arg.starts_with('-'))?;
        Some(self.left.remove(position))
    }

    fn finish(self) -> Result<(), String> {
        match self.left.first() {
            Some(extra) => Err(format!("`{}` does not accept `{extra}`", self.command)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        Task::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn test(package: Option<&str>, filter: Option<&str>, install: bool) -> Result<Task, String> {
        let (package, filter) = (package.map(str::to_owned), filter.map(str::to_owned));
        Ok(Task::Test { selection: Selection { package, filter }, install })
    }

    fn bench(name: Option<&str>, only: Option<&str>, save: bool) -> Result<Task, String> {
        let instructions = Instructions { only: only.map(str::to_owned), save };
        Ok(Task::Bench { name: name.map(str::to_owned), instructions })
    }

    #[test]
    fn every_command_of_the_usage_is_known() {
        assert_eq!(parse("test"), test(None, None, false));
        assert_eq!(parse("test bucket"), test(None, Some("bucket"), false));
        assert_eq!(parse("test -p core"), test(Some("core"), None, false));
        assert_eq!(
            parse("test --install bucket --package core"),
            test(Some("core"), Some("bucket"), true)
        );
        assert_eq!(parse("tools"), Ok(Task::Tools { install: false }));
        assert_eq!(parse("tools --install"), Ok(Task::Tools { install: true }));
        assert_eq!(parse("lint"), Ok(Task::Lint { quick: false }));
        assert_eq!(parse("lint --quick"), Ok(Task::Lint { quick: true }));
        assert_eq!(parse("doc"), Ok(Task::Doc));
        assert_eq!(parse("api"), Ok(Task::Api));
        assert_eq!(parse("dashboards"), Ok(Task::Dashboards));
        assert_eq!(parse("chart"), Ok(Task::Chart));
        assert_eq!(parse("notices a/b"), Ok(Task::Notices { directory: "a/b".into() }));
        assert_eq!(parse("e2e --stand-ins"), Ok(Task::E2e { stand_ins: true }));
        assert_eq!(parse("faults"), Ok(Task::Faults { seed: None }));
        assert_eq!(parse("faults --seed 7"), Ok(Task::Faults { seed: Some(7) }));
        assert_eq!(parse("bench"), bench(None, None, false));
        assert_eq!(parse("bench redis"), bench(Some("redis"), None, false));
        assert_eq!(parse("bench instructions --save"), bench(Some("instructions"), None, true));
        assert_eq!(
            parse("bench --only RLS instructions"),
            bench(Some("instructions"), Some("RLS"), false)
        );
        assert_eq!(parse("ci"), Ok(Task::Ci));
        for line in ["--help", "help", "test --help", "lint -h"] {
            assert_eq!(parse(line), Ok(Task::Help), "{line}");
        }
    }

    #[test]
    fn an_unknown_argument_is_named() {
        assert_eq!(parse(""), Err("a command is missing".into()));
        assert_eq!(parse("tset"), Err("there is no command `tset`".into()));
        assert_eq!(parse("lint --fix"), Err("`lint` does not accept `--fix`".into()));
        assert_eq!(parse("test one two"), Err("`test` does not accept `two`".into()));
        assert_eq!(parse("test -p"), Err("`-p` needs a value".into()));
        for line in ["bench redis --save", "bench --only x"] {
            let other = parse(line).unwrap_err();
            assert!(other.ends_with("are options of `bench instructions`"), "{other}");
        }
        let both = parse("bench instructions --only x --save").unwrap_err();
        assert!(both.starts_with("`--save` needs all subjects"), "{both}");
        let seed = parse("faults --seed x").unwrap_err();
        assert!(seed.starts_with("`--seed` must be a whole number, not `x`"), "{seed}");
    }
}
