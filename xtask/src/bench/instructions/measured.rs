//! What was counted of one subject.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::profile::Profile;

/// How many functions a listing has.
const LISTED: usize = 60;

/// The counts of a decision.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    /// Decisions for each script call of Redis; `None` without Redis.
    pub(crate) per_call: Option<f64>,
}

/// What was counted of one subject, and where.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) subject: String,
    pub(crate) counts: Counts,
    /// The shares of memory that is copied, and of the allocator, of all instructions.
    pub(crate) copying: f64,
    pub(crate) allocator: f64,
}

/// A line that the counting program prints: name, decisions, script calls or `-`, file.
#[derive(Debug, PartialEq)]
struct Line {
    subject: String,
    decisions: f64,
    calls: Option<f64>,
    file: PathBuf,
}

impl Measured {
    /// Reads the file that a line names, and writes a listing of the functions beside it. `None` is
    /// another line.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub(crate) fn read(line: &str) -> Option<Result<Self, String>> {
        Line::parse(line).map(|line| Self::of(&line))
    }

    fn of(line: &Line) -> Result<Self, String> {
        let file = line.file.display();
        let text = fs::read_to_string(&line.file).map_err(|error| format!("{file}: {error}"))?;
        let profile = Profile::parse(&text).map_err(|error| format!("{file}: {error}"))?;
        let listing = line.file.with_extension("txt");
        fs::write(&listing, listed(&profile, line))
            .map_err(|error| format!("{}: {error}", listing.display()))?;
        Ok(Self::from(line, &profile))
    }

    fn from(line: &Line, profile: &Profile) -> Self {
        let total = as_f64(profile.total());
        Self {
            subject: line.subject.clone(),
            counts: Counts {
                instructions: total / line.decisions,
                allocations: as_f64(profile.allocations()) / line.decisions,
                per_call: line.calls.map(|calls| line.decisions / calls),
            },
            copying: as_f64(profile.copying()) / total,
            allocator: as_f64(profile.allocator()) / total,
        }
    }
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let [subject, decisions, calls, file] = line.split('\t').collect::<Vec<_>>()[..] else {
            return None;
        };
        let calls = if calls == "-" { None } else { Some(calls.parse().ok()?) };
        let decisions = decisions.parse().ok()?;
        Some(Self { subject: subject.to_owned(), decisions, calls, file: file.into() })
    }
}

/// Lists the functions with the most instructions of their own.
fn listed(profile: &Profile, line: &Line) -> String {
    let total = as_f64(profile.total());
    let mut text = format!(
        "{}: {:.0} instructions a decision\n\n{:>12} {:>7} {:>9}  function\n",
        line.subject,
        total / line.decisions,
        "own",
        "share",
        "calls"
    );
    for (name, function) in profile.functions().into_iter().take(LISTED) {
        let own = as_f64(function.own);
        let calls = as_f64(function.calls) / line.decisions;
        let (each, share) = (own / line.decisions, 100.0 * own / total);
        let _ = writeln!(text, "{each:>12.1} {share:>5.1} % {calls:>9.2}  {name}");
    }
    text
}

/// Counts stay far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "the counts stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const FILE: &str = "\
# callgrind format
events: Ir
fn=(1) work
1 600
cfn=(2) malloc
calls=20 1
* 300
fn=(2)
1 300
fn=(3) memcpy
1 100
";

    #[test]
    fn counts_are_for_each_decision() {
        let line = Line::parse("HTTP, Redis\t10\t4\t/nowhere").unwrap();
        let measured = Measured::from(&line, &Profile::parse(FILE).unwrap());
        let counts = Counts { instructions: 100.0, allocations: 2.0, per_call: Some(2.5) };
        assert_eq!(measured.counts, counts);
        assert_eq!((measured.copying, measured.allocator), (0.1, 0.3));
    }

    #[test]
    fn without_redis_there_are_no_calls() {
        let line = Line::parse("memory\t10\t-\t/nowhere").unwrap();
        assert_eq!((line.calls, line.file.as_path()), (None, Path::new("/nowhere")));
    }

    #[test]
    fn other_lines_are_not_counts() {
        for line in ["", "running", "a\tb\t-\tc", "a\t1\tx\tc", "a\t1\t-"] {
            assert_eq!(Line::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_listing_is_written_beside_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.callgrind");
        fs::write(&file, FILE).unwrap();
        Measured::read(&format!("memory\t10\t-\t{}", file.display())).unwrap().unwrap();
        let listing = fs::read_to_string(directory.path().join("memory.txt")).unwrap();
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let expected = [
            "memory: 100 instructions a decision",
            "",
            "own share calls function",
            "60.0 60.0 % 0.00 work",
            "30.0 30.0 % 2.00 malloc",
            "10.0 10.0 % 0.00 memcpy",
        ];
        assert_eq!(listing.lines().map(words).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Measured::read("memory\t10\t-\t/nowhere/x").unwrap().unwrap_err();
        assert!(error.starts_with("/nowhere/x: "), "{error}");
    }
}
