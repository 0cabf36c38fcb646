//! The project's own commands, for people and for CI alike: `cargo xtask test | tools | lint | doc
//! | dashboards | bench | ci`.
//!
//! Plain std, so that it builds in a moment on a machine that has Rust and nothing else.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod bench;
mod dashboards;
mod doc;
mod install;
mod lint;
mod report;
mod shell;
mod tally;
mod test;
mod tools;

use std::process::ExitCode;

use report::Report;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [FILTER]   build and run every test, after installing the programs they need;
                  with FILTER only the tests whose names contain it, and no doctests
  tools           only install the programs that tests need
  lint            formatting, clippy, and cargo-deny where it is installed
  doc             the documentation, without a warning
  dashboards      the Grafana dashboards of deploy/, from crates/dashboards
  bench [NAME]    every benchmark, or the one of that name
  ci              lint, doc, test";

/// What the caller asked for.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    Test { filter: Option<String> },
    Tools,
    Lint,
    Doc,
    Dashboards,
    Bench { name: Option<String> },
    Ci,
    Help,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
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
        let (command, rest) = args.split_first().ok_or("which command?")?;
        let (task, takes_one) = match command.as_str() {
            "test" => (Self::Test { filter: rest.first().cloned() }, true),
            "bench" => (Self::Bench { name: rest.first().cloned() }, true),
            "tools" => (Self::Tools, false),
            "lint" => (Self::Lint, false),
            "doc" => (Self::Doc, false),
            "dashboards" => (Self::Dashboards, false),
            "ci" => (Self::Ci, false),
            "help" | "-h" | "--help" => (Self::Help, false),
            other => return Err(format!("there is no command `{other}`")),
        };
        match rest.get(usize::from(takes_one)) {
            Some(extra) => Err(format!("`{command}` does not know what to do with `{extra}`")),
            None => Ok(task),
        }
    }

    fn run(self, command_line: &str) -> ExitCode {
        let mut report = Report::new(format!("cargo xtask {command_line}"));
        match self {
            Self::Test { filter } => test::run(&mut report, filter.as_deref()),
            Self::Tools => install::ensure(&mut report, tools::TOOLS),
            Self::Lint => lint::run(&mut report),
            Self::Doc => doc::run(&mut report),
            Self::Dashboards => dashboards::run(&mut report),
            Self::Bench { name } => bench::run(&mut report, name.as_deref()),
            Self::Ci => {
                lint::run(&mut report);
                doc::run(&mut report);
                test::run(&mut report, None);
            }
            Self::Help => {}
        }
        report.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        Task::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_command_of_the_usage_is_known() {
        assert_eq!(parse("test"), Ok(Task::Test { filter: None }));
        assert_eq!(parse("test bucket"), Ok(Task::Test { filter: Some("bucket".into()) }));
        assert_eq!(parse("tools"), Ok(Task::Tools));
        assert_eq!(parse("lint"), Ok(Task::Lint));
        assert_eq!(parse("doc"), Ok(Task::Doc));
        assert_eq!(parse("dashboards"), Ok(Task::Dashboards));
        assert_eq!(parse("bench"), Ok(Task::Bench { name: None }));
        assert_eq!(parse("bench redis"), Ok(Task::Bench { name: Some("redis".into()) }));
        assert_eq!(parse("ci"), Ok(Task::Ci));
        assert_eq!(parse("--help"), Ok(Task::Help));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parse(""), Err("which command?".into()));
        assert_eq!(parse("tset"), Err("there is no command `tset`".into()));
        assert_eq!(parse("lint --fix"), Err("`lint` does not know what to do with `--fix`".into()));
        assert_eq!(parse("test one two"), Err("`test` does not know what to do with `two`".into()));
    }
}
