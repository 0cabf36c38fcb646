//! How many tests ran, read from what the runners print at the end.

use std::ops::AddAssign;

const NEXTEST_SUMMARY: &str = "     Summary [";

/// Tests by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
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

impl Tally {
    /// The tally of a line with which this runner closes; `None` for any other line.
    ///
    /// A runner shows what a failed test printed, indented or not: so the line must be its own,
    /// from the first column on.
    pub(crate) fn of_line(runner: Runner, line: &str) -> Option<Self> {
        let line = without_colours(line);
        let counts = match runner {
            Runner::CargoTest => line.strip_prefix("test result: ")?.split_once(". ")?.1,
            Runner::Nextest => line.strip_prefix(NEXTEST_SUMMARY)?.split_once(" run: ")?.1,
        };
        let mut tally = Self::default();
        for count in counts.split([',', ';']) {
            let mut words = count.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => tally.passed += number,
                Some("failed" | "timed" | "exec") => tally.failed += number,
                Some("skipped" | "ignored") => tally.skipped += number,
                _ => {}
            }
        }
        Some(tally)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// The text without escape sequences of the form `ESC [ ... letter`.
fn without_colours(line: &str) -> String {
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

    fn tally(passed: u64, failed: u64, skipped: u64) -> Option<Tally> {
        Some(Tally { passed, failed, skipped })
    }

    #[test]
    fn cargo_tests_closing_line_is_read() {
        let read = |line| Tally::of_line(Runner::CargoTest, line);
        let line = "test result: ok. 17 passed; 0 failed; 2 ignored; 0 measured; 3 filtered out; finished in 0.01s\n";
        assert_eq!(read(line), tally(17, 0, 2));
        let line = "test result: FAILED. 1 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.18s";
        assert_eq!(read(line), tally(1, 4, 0));
    }

    #[test]
    fn nextests_closing_line_is_read() {
        let read = |line| Tally::of_line(Runner::Nextest, line);
        assert_eq!(
            read("     Summary [   0.430s] 44 tests run: 44 passed, 0 skipped\n"),
            tally(44, 0, 0)
        );
        let line = "     Summary [  61.0s] 7/9 tests run: 3 passed (1 slow), 1 failed, 2 timed out, 1 exec failed, 5 skipped";
        assert_eq!(read(line), tally(3, 4, 5));
        assert_eq!(read("     Summary [ 0.1s] 1 test run: 1 passed, 0 skipped"), tally(1, 0, 0));
    }

    #[test]
    fn colours_do_not_matter() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.4s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m2\u{1b}[0m \u{1b}[32mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(Tally::of_line(Runner::Nextest, line), tally(2, 0, 0));
    }

    #[test]
    fn what_a_test_prints_is_not_taken_for_the_runners_word() {
        let inner = "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.01s";
        assert_eq!(Tally::of_line(Runner::Nextest, inner), None);
        assert_eq!(Tally::of_line(Runner::CargoTest, &format!("    {inner}")), None);
    }

    #[test]
    fn other_lines_say_nothing() {
        for line in [
            "",
            "test rates::zero ... ok",
            "running 3 tests",
            "     Summary",
            "test result",
            "12 passed",
        ] {
            assert_eq!(Tally::of_line(Runner::CargoTest, line), None, "{line}");
            assert_eq!(Tally::of_line(Runner::Nextest, line), None, "{line}");
        }
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = Tally { passed: 1, failed: 2, skipped: 3 };
        sum += Tally { passed: 10, failed: 20, skipped: 30 };
        assert_eq!(sum.to_string(), "11 passed, 22 failed, 33 skipped");
    }
}
