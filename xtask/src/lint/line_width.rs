//! No line is wider than 100 columns.
//!
//! `rustfmt` wraps code, but neither comments nor string literals, and knows nothing of the other
//! languages.

use std::fs;
use std::path::Path;

use crate::workspace;

const MAX_COLUMNS: usize = 100;
const EXTENSIONS: &[&str] = &["rs", "lua", "py", "js", "sh", "toml", "yaml"];

/// Returns one finding, `path:line: ...`, for each line that is too wide.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for path in workspace::files(root)?.iter().filter(|path| is_checked(path)) {
        let text = fs::read_to_string(root.join(path))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        findings.extend(wide_lines(&text).map(|(line, columns)| {
            format!("{}:{line}: {columns} columns, at most {MAX_COLUMNS}", path.display())
        }));
    }
    Ok(findings)
}

/// Whether the file is source of ours, rather than data that a test reads.
fn is_checked(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_data = matches!(extension, "toml" | "yaml");
    let is_in_tests = path.parent().is_some_and(|directories| {
        directories.iter().any(|name| name == "tests" || name == "fixtures")
    });
    let is_fixture = is_data && is_in_tests && path != Path::new("tests/Cargo.toml");
    EXTENSIONS.contains(&extension) && !is_fixture
}

/// The number, counted from one, and the width of each line that is too wide.
fn wide_lines(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.lines().zip(1..).filter_map(|(line, number)| {
        let columns = line.chars().count();
        (columns > MAX_COLUMNS && !ends_in_a_url(line)).then_some((number, columns))
    })
}

/// Whether everything beyond the last column is the rest of one URL, which cannot be broken.
fn ends_in_a_url(line: &str) -> bool {
    let word = line.split_whitespace().next_back().unwrap_or_default();
    let before = line.chars().count() - word.chars().count();
    let is_url =
        ["https://", "http://", "type.googleapis.com/"].iter().any(|url| word.contains(url));
    before <= MAX_COLUMNS && is_url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_100_columns_is_fine_and_one_of_101_is_not() {
        let text = format!("{}\n{}\n", "x".repeat(100), "x".repeat(101));
        assert_eq!(wide_lines(&text).collect::<Vec<_>>(), [(2, 101)]);
    }

    #[test]
    fn characters_are_counted_and_not_bytes() {
        assert_eq!(wide_lines(&"ü".repeat(100)).count(), 0);
    }

    #[test]
    fn a_url_at_the_end_of_a_line_may_be_longer() {
        let url = format!("https://example.com/{}", "x".repeat(100));
        assert_eq!(wide_lines(&format!("// See {url}")).count(), 0);
        assert_eq!(wide_lines(&format!("// See {url} for the rest")).count(), 1);
        let type_url = format!("\"@type\": type.googleapis.com/{}", "x".repeat(100));
        assert_eq!(wide_lines(&type_url).count(), 0);
        assert_eq!(wide_lines(&format!("{} {url}", "x".repeat(101))).count(), 1);
    }

    #[test]
    fn only_source_is_checked() {
        for path in ["crates/core/src/lib.rs", "lua/check.lua", "Cargo.toml", "tests/tests/a.rs"] {
            assert!(is_checked(Path::new(path)), "{path}");
        }
        for path in ["Cargo.lock", "README.md", "crates/config/tests/bad/key.yaml"] {
            assert!(!is_checked(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_finding_names_the_file_and_the_line() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("wide.rs"), format!("\n// {}\n", "x ".repeat(60))).unwrap();
        assert_eq!(check(root.path()).unwrap(), ["wide.rs:2: 123 columns, at most 100"]);
    }
}
