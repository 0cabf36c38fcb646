//! The file with the counts of the last release.
//!
//! It is TOML of one form: two strings, and a table for each subject.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::measured::Counts;

const HEADING: &str = "\
# The instructions of a decision at the last release, by subject; with them the allocations, and the
# decisions for each script call of Redis. Written by `cargo xtask bench instructions --save`.
";

/// The counts of a release.
#[derive(Debug, Default, PartialEq)]
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
        let mut release = Self::default();
        let mut subject = None;
        for (index, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| format!("line {}: {what}: {line}", index + 1);
            if let Some(header) = line.strip_prefix("[counts.") {
                let name = header.strip_suffix(']').and_then(unquoted);
                let name = name.ok_or_else(|| wrong("expected `[counts.\"subject\"]`"))?;
                subject = Some(release.counts.entry(name.to_owned()).or_default());
                continue;
            }
            let expected = "expected `name = value`";
            let (name, value) = line.split_once(" = ").ok_or_else(|| wrong(expected))?;
            let text = || unquoted(value).map(str::to_owned).ok_or_else(|| wrong(expected));
            let number = || value.parse().map_err(|_| wrong(expected));
            match (&mut subject, name) {
                (None, "version") => release.version = text()?,
                (None, "rustc") => release.rustc = text()?,
                (Some(counts), "instructions") => counts.instructions = number()?,
                (Some(counts), "allocations") => counts.allocations = number()?,
                (Some(counts), "per_call") => counts.per_call = Some(number()?),
                _ => return Err(wrong("this name is not known here")),
            }
        }
        Ok(release)
    }

    /// Returns the text of the file.
    pub(crate) fn text(&self) -> String {
        let Self { version, rustc, counts } = self;
        let mut text = format!("{HEADING}version = \"{version}\"\nrustc = \"{rustc}\"\n");
        for (subject, Counts { instructions, allocations, per_call }) in counts {
            let _ = write!(
                text,
                "\n[counts.\"{subject}\"]\ninstructions = {instructions:.0}\n\
                 allocations = {allocations:.2}\n"
            );
            if let Some(per_call) = per_call {
                let _ = writeln!(text, "per_call = {per_call:.2}");
            }
        }
        text
    }
}

fn unquoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"')
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
            "version = \"0.1.0\"\nrustc = \"1.95.0\"\n\n\
             [counts.\"RLS, Redis\"]\ninstructions = 51000\nallocations = 21.25\n\
             per_call = 12.50\n\n\
             [counts.\"memory, one\"]\ninstructions = 2724\nallocations = 0.00\n"
        ));
        assert_eq!(Release::parse(&text), Ok(release));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (line, what) in [
            ("version", "expected `name = value`"),
            ("version = 1", "expected `name = value`"),
            ("[counts.memory]", "expected `[counts.\"subject\"]`"),
            ("instructions = 1", "this name is not known here"),
        ] {
            let error = Release::parse(&format!("# heading\n{line}")).unwrap_err();
            assert_eq!(error, format!("line 2: {what}: {line}"));
        }
        let number = Release::parse("[counts.\"memory\"]\ninstructions = x").unwrap_err();
        assert_eq!(number, "line 2: expected `name = value`: instructions = x");
    }
}
