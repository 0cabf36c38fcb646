//! Runs commands one by one, and prints a summary of their outcomes at the end.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::shell;
use crate::test::{Runner, TestCounts};

/// The steps taken so far.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    steps: Vec<Step>,
    tests: Option<TestCounts>,
    left_out_tests: Vec<LeftOutTest>,
}

/// A test that did not run because a tool is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeftOutTest {
    pub(crate) tool: String,
    /// The package and the test binary.
    pub(crate) binary: String,
    pub(crate) test: String,
}

#[derive(Debug)]
struct Step {
    what: String,
    outcome: Outcome,
    took: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed(String),
    LeftOut(String),
}

impl Report {
    pub(crate) fn new(title: String) -> Self {
        Self { title, steps: Vec::new(), tests: None, left_out_tests: Vec::new() }
    }

    /// Runs a command to its end; returns whether it succeeded.
    pub(crate) fn run(&mut self, mut command: Command) -> bool {
        self.step(shell::shown(&command), |_| match command.status() {
            Ok(status) if status.success() => Outcome::Done,
            Ok(status) => Outcome::Failed(status.to_string()),
            Err(error) => Outcome::Failed(error.to_string()),
        })
    }

    /// Runs a test runner to its end, and adds up its counts; returns whether it succeeded.
    pub(crate) fn run_tests(&mut self, runner: Runner, mut command: Command) -> bool {
        let what = shell::shown(&command);
        if io::stdout().is_terminal() {
            // The runner writes into our pipe, and so would not use colors.
            command.env("CARGO_TERM_COLOR", "always");
        }
        self.step(what, |report| match watched(runner, &mut command, io::stdout(), io::stderr()) {
            Ok((status, counts)) => {
                *report.tests.get_or_insert_default() += counts;
                if status.success() { Outcome::Done } else { Outcome::Failed(status.to_string()) }
            }
            Err(error) => Outcome::Failed(error.to_string()),
        })
    }

    /// Runs a check of our own, which returns what it finds, and prints the findings.
    pub(crate) fn check(
        &mut self,
        what: &str,
        check: impl FnOnce() -> Result<Vec<String>, String>,
    ) -> bool {
        self.step(what.to_owned(), |_| match check() {
            Ok(findings) if findings.is_empty() => Outcome::Done,
            Ok(findings) => {
                for finding in &findings {
                    eprintln!("{finding}");
                }
                Outcome::Failed(format!("{} found", findings.len()))
            }
            Err(error) => Outcome::Failed(error),
        })
    }

    /// Records a failure that is not that of a command.
    pub(crate) fn fail(&mut self, what: &str, why: impl Into<String>) {
        let why = why.into();
        eprintln!("{what}: {why}");
        self.note(what, Outcome::Failed(why));
    }

    /// Records an optional step that was not taken.
    pub(crate) fn leave_out(&mut self, what: &str, why: &str) {
        println!("left out: {what}: {why}");
        self.note(what, Outcome::LeftOut(why.to_owned()));
    }

    /// Records tests that did not run; they count as skipped.
    pub(crate) fn leave_out_tests(&mut self, tests: impl IntoIterator<Item = LeftOutTest>) {
        self.left_out_tests.extend(tests);
        self.left_out_tests.sort();
    }

    /// Prints the summary, and returns a success if every step was one. A test run in which no test
    /// matched is a failure.
    pub(crate) fn close(mut self) -> ExitCode {
        let none_ran = self.tests.is_some_and(|tests| tests.passed + tests.failed == 0);
        if none_ran && self.left_out_tests.is_empty() {
            self.fail("tests", "no test ran");
        }
        println!("\n{}", self.summary());
        if self.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn step(&mut self, what: String, act: impl FnOnce(&mut Self) -> Outcome) -> bool {
        println!("\n$ {what}");
        let start = Instant::now();
        let outcome = act(self);
        let succeeded = outcome == Outcome::Done;
        self.steps.push(Step { what, outcome, took: start.elapsed() });
        succeeded
    }

    fn note(&mut self, what: &str, outcome: Outcome) {
        self.steps.push(Step { what: what.to_owned(), outcome, took: Duration::ZERO });
    }

    fn succeeded(&self) -> bool {
        self.steps.iter().all(|step| !matches!(step.outcome, Outcome::Failed(_)))
    }

    fn summary(&self) -> String {
        let mut lines = vec![format!("summary of {}", self.title)];
        lines.extend(self.steps.iter().map(Step::line));
        lines.extend(self.left_out_tests.iter().map(|LeftOutTest { tool, binary, test }| {
            format!("  left out  {binary} {test}  ({tool} is missing)")
        }));
        lines.extend(self.tests.map(|mut tests| {
            tests.skipped += self.left_out_tests.len() as u64;
            format!("tests: {tests}")
        }));
        lines.push(if self.succeeded() { "ok".to_owned() } else { "FAILED".to_owned() });
        lines.join("\n")
    }
}

impl Step {
    fn line(&self) -> String {
        let Self { what, outcome, took } = self;
        match outcome {
            Outcome::Done => format!("  ok        {what}  ({:.1} s)", took.as_secs_f64()),
            Outcome::Failed(why) => format!("  FAILED    {what}  ({why})"),
            Outcome::LeftOut(why) => format!("  left out  {what}  ({why})"),
        }
    }
}

/// Runs a test runner, forwards its output as it comes, and adds up the counts in it.
fn watched(
    runner: Runner,
    command: &mut Command,
    output: impl Write,
    errors: impl Write + Send,
) -> io::Result<(std::process::ExitStatus, TestCounts)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let counts = std::thread::scope(|scope| {
        let from_errors = scope.spawn(|| {
            stderr.map_or(Ok(TestCounts::default()), |pipe| forward(runner, pipe, errors))
        });
        let mut counts =
            stdout.map_or(Ok(TestCounts::default()), |pipe| forward(runner, pipe, output))?;
        counts += from_errors.join().expect("forwarding does not panic")?;
        io::Result::Ok(counts)
    })?;
    Ok((child.wait()?, counts))
}

fn forward(runner: Runner, from: impl Read, mut to: impl Write) -> io::Result<TestCounts> {
    let (mut from, mut line, mut counts) =
        (BufReader::new(from), Vec::new(), TestCounts::default());
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        counts += TestCounts::of_line(runner, &String::from_utf8_lossy(&line)).unwrap_or_default();
        line.clear();
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = shell::program("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_summary_names_every_step_and_how_it_ended() {
        let mut report = Report::new("cargo xtask ci".into());
        assert!(report.run(sh("true")));
        assert!(!report.run(sh("exit 3")));
        report.leave_out("cargo deny check", "not installed");
        let summary = report.summary();
        let lines: Vec<_> = summary.lines().collect();
        assert_eq!(lines[0], "summary of cargo xtask ci");
        assert!(lines[1].starts_with("  ok        sh -c true  ("), "{summary}");
        assert_eq!(lines[2], "  FAILED    sh -c 'exit 3'  (exit status: 3)");
        assert_eq!(lines[3], "  left out  cargo deny check  (not installed)");
        assert_eq!(lines[4], "FAILED");
    }

    #[test]
    fn a_step_left_out_is_not_a_failure() {
        let mut report = Report::new(String::new());
        report.leave_out("cargo deny check", "not installed");
        assert!(report.succeeded());
        assert_eq!(report.close(), ExitCode::SUCCESS);
    }

    #[test]
    fn tests_are_counted_on_both_streams_and_the_output_is_forwarded() {
        let script = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored'
            echo 'test result: FAILED. 3 passed; 4 failed; 0 ignored' >&2
            exit 7";
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let (status, counts) =
            watched(Runner::CargoTest, &mut sh(script), &mut output, &mut errors).unwrap();
        assert_eq!(
            (status.code(), counts),
            (Some(7), TestCounts { passed: 5, failed: 4, skipped: 1 })
        );
        assert_eq!(output, b"test result: ok. 2 passed; 0 failed; 1 ignored\n");
        assert_eq!(errors, b"test result: FAILED. 3 passed; 4 failed; 0 ignored\n");
    }

    #[test]
    fn tests_left_out_are_listed_and_count_as_skipped() {
        let mut report = Report::new(String::new());
        report.tests = Some(TestCounts { passed: 7, failed: 0, skipped: 1 });
        let test = |test: &str| LeftOutTest {
            tool: "envoy".into(),
            binary: "sluice-tests envoy".into(),
            test: test.into(),
        };
        report.leave_out_tests(["denies", "allows"].map(test));
        assert!(report.succeeded());
        assert!(report.summary().ends_with(
            "\n  left out  sluice-tests envoy allows  (envoy is missing)\
             \n  left out  sluice-tests envoy denies  (envoy is missing)\
             \ntests: 7 passed, 0 failed, 3 skipped\nok"
        ));
    }

    #[test]
    fn a_run_of_which_every_test_is_left_out_is_not_a_failure() {
        let mut report = Report::new(String::new());
        report.tests = Some(TestCounts::default());
        report.leave_out_tests([LeftOutTest {
            tool: "envoy".into(),
            binary: "sluice-tests envoy".into(),
            test: "allows".into(),
        }]);
        assert_eq!(report.close(), ExitCode::SUCCESS);
    }

    #[test]
    fn the_tests_of_all_runners_are_added_up() {
        let mut report = Report::new(String::new());
        report.tests = Some(TestCounts { passed: 7, failed: 0, skipped: 1 });
        assert!(report.summary().ends_with("\ntests: 7 passed, 0 failed, 1 skipped\nok"));
    }

    #[test]
    fn a_run_without_a_test_is_a_failure() {
        let mut report = Report::new(String::new());
        assert!(report.run_tests(Runner::Nextest, sh("true")));
        assert_eq!(report.close(), ExitCode::FAILURE);
    }

    #[test]
    fn a_command_that_does_not_exist_is_a_failure() {
        let mut report = Report::new(String::new());
        assert!(!report.run(shell::program("no-such-program-anywhere")));
        assert!(!report.succeeded());
    }
}
