//! How many tests ran, read from the last lines of the test runners.

use std::ops::AddAssign;

const NEXTEST_SUMMARY: &str = "     Summary [";

/// The numbers of tests by their outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TestCounts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// A program that runs tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    CargoTest,
    Nextest,
}

impl TestCounts {
    /// Reads the counts of a runner's summary line; `None` for any other line.
    ///
    /// A runner also prints what failed tests printed, sometimes indented. So a summary line counts
    /// only if it starts in the first column and has the form of this runner.
    pub(crate) fn of_line(runner: Runner, line: &str) -> Option<Self> {
        let line = without_colors(line);
        let listed = match runner {
            Runner::CargoTest => line.strip_prefix("test result: ")?.split_once(". ")?.1,
            Runner::Nextest => line.strip_prefix(NEXTEST_SUMMARY)?.split_once(" run: ")?.1,
        };
        let mut counts = Self::default();
        for count in listed.split([',', ';']) {
            let mut words = count.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => counts.passed += number,
                Some("failed" | "timed" | "exec") => counts.failed += number,
                Some("skipped" | "ignored") => counts.skipped += number,
                _ => {}
            }
        }
        Some(counts)
    }
}

impl AddAssign for TestCounts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for TestCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Removes escape sequences of the form `ESC [ ... letter`.
fn without_colors(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        plain.push_str(
            piece.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest),
        );
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: u64, failed: u64, skipped: u64) -> Option<TestCounts> {
        Some(TestCounts { passed, failed, skipped })
    }

    #[test]
    fn the_summary_line_of_cargo_test_is_read() {
        let read = |line| TestCounts::of_line(Runner::CargoTest, line);
        let line = "test result: ok. 17 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out\n";
        assert_eq!(read(line), counts(17, 0, 2));
        let line = "test result: FAILED. 1 passed; 4 failed; 0 ignored; finished in 0.18s";
        assert_eq!(read(line), counts(1, 4, 0));
    }

    #[test]
    fn the_summary_line_of_nextest_is_read() {
        let read = |line| TestCounts::of_line(Runner::Nextest, line);
        assert_eq!(
            read("     Summary [   0.430s] 44 tests run: 44 passed, 0 skipped\n"),
            counts(44, 0, 0)
        );
        let line = "     Summary [  61.0s] 7/9 tests run: \
                    3 passed (1 slow), 1 failed, 2 timed out, 1 exec failed, 5 skipped";
        assert_eq!(read(line), counts(3, 4, 5));
        assert_eq!(read("     Summary [ 0.1s] 1 test run: 1 passed, 0 skipped"), counts(1, 0, 0));
    }

    #[test]
    fn colors_are_ignored() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.4s] \u{1b}[1m2\u{1b}[0m tests run: \
                    \u{1b}[1m2\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(TestCounts::of_line(Runner::Nextest, line), counts(2, 0, 0));
    }

    #[test]
    fn the_output_of_a_test_is_not_taken_for_a_summary() {
        let inner = "test result: FAILED. 0 passed; 1 failed; 0 ignored; finished in 0.01s";
        assert_eq!(TestCounts::of_line(Runner::Nextest, inner), None);
        assert_eq!(TestCounts::of_line(Runner::CargoTest, &format!("    {inner}")), None);
    }

    #[test]
    fn other_lines_have_no_counts() {
        for line in [
            "",
            "test rates::zero ... ok",
            "running 3 tests",
            "     Summary",
            "test result",
            "12 passed",
        ] {
            assert_eq!(TestCounts::of_line(Runner::CargoTest, line), None, "{line}");
            assert_eq!(TestCounts::of_line(Runner::Nextest, line), None, "{line}");
        }
    }

    #[test]
    fn counts_are_added() {
        let mut sum = TestCounts { passed: 1, failed: 2, skipped: 3 };
        sum += TestCounts { passed: 10, failed: 20, skipped: 30 };
        assert_eq!(sum.to_string(), "11 passed, 22 failed, 33 skipped");
    }
}
