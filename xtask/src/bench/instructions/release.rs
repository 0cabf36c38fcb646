//! The file with the counts of the last release.
//!
//! It is TOML of one form: two strings, and a table with an inline table for each subject.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::measured::Counts;

const HEADING: &str = "\
# The instructions of a decision at the last release, by subject; with them the allocations, and the
# decisions for each script call of Redis. Written by `cargo xtask bench instructions --save`.
";
const TABLE: &str = "[counts]";

/// The counts of a release.
#[derive(Debug, PartialEq)]
pub(crate) struct Release {
    /// The version of Sluice.
    pub(crate) version: String,
    /// The version of the compiler.
    pub(crate) rustc: String,
    pub(crate) counts: BTreeMap<String, Counts>,
}

impl Release {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is not as [`Release::text`] writes it; names the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut release =
            Self { version: String::new(), rustc: String::new(), counts: BTreeMap::new() };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') || line == TABLE {
                continue;
            }
            let wrong = || format!("line {}: expected `name = value`: {line}", index + 1);
            let (name, value) = line.split_once(" = ").ok_or_else(wrong)?;
            match name {
                "version" => release.version = unquoted(value).ok_or_else(wrong)?.to_owned(),
                "rustc" => release.rustc = unquoted(value).ok_or_else(wrong)?.to_owned(),
                name => {
                    let subject = unquoted(name).ok_or_else(wrong)?.to_owned();
                    release.counts.insert(subject, counts(value).ok_or_else(wrong)?);
                }
            }
        }
        Ok(release)
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self) -> String {
        let Self { version, rustc, counts } = self;
        let mut text =
            format!("{HEADING}version = \"{version}\"\nrustc = \"{rustc}\"\n\n{TABLE}\n");
        for (subject, Counts { instructions, allocations, per_call }) in counts {
            let per_call =
                per_call.map(|number| format!(", per_call = {number:.2}")).unwrap_or_default();
            let _ = writeln!(
                text,
                "\"{subject}\" = {{ instructions = {instructions:.0}, allocations = \
                 {allocations:.2}{per_call} }}"
            );
        }
        text
    }
}

fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
}

fn counts(table: &str) -> Option<Counts> {
    let inside = table.strip_prefix("{ ")?.strip_suffix(" }")?;
    let numbers: BTreeMap<_, f64> = inside
        .split(", ")
        .map(|pair| {
            let (name, number) = pair.split_once(" = ")?;
            Some((name, number.parse().ok()?))
        })
        .collect::<Option<_>>()?;
    Some(Counts {
        instructions: *numbers.get("instructions")?,
        allocations: *numbers.get("allocations")?,
        per_call: numbers.get("per_call").copied(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let one = Counts { instructions: 2_724.0, allocations: 0.0, per_call: None };
        let other = Counts { instructions: 51_000.0, allocations: 21.25, per_call: Some(12.5) };
        let counts = [("memory, one".to_owned(), one), ("RLS, Redis".to_owned(), other)].into();
        let release = Release { version: "0.1.0".into(), rustc: "1.95.0".into(), counts };
        let text = release.text();
        assert!(text.ends_with(
            "version = \"0.1.0\"\nrustc = \"1.95.0\"\n\n[counts]\n\
             \"RLS, Redis\" = { instructions = 51000, allocations = 21.25, per_call = 12.50 }\n\
             \"memory, one\" = { instructions = 2724, allocations = 0.00 }\n"
        ));
        assert_eq!(Release::parse(&text), Ok(release));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for line in ["version", "version = 1", "x = 1", "\"x\" = { instructions = 1 }"] {
            assert_eq!(
                Release::parse(&format!("# heading\n{line}")),
                Err(format!("line 2: expected `name = value`: {line}"))
            );
        }
    }
}
