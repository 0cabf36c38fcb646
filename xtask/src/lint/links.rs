//! Relative links and paths in the documents lead to files that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::workspace;

/// The directories with which a path in inline code begins: `crates/core/src/bucket.rs`.
const TOP_DIRECTORIES: &[&str] =
    &["crates/", "deploy/", "docs/", "examples/", "lua/", "tests/", "xtask/"];

/// Its older entries name files of their time.
const CHANGELOG: &str = "CHANGELOG.md";

/// Returns one finding, `path:line: ...`, for each link or path that leads nowhere.
///
/// # Errors
/// When a document cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let mut findings = Vec::new();
    for path in workspace::files(root)?.iter().filter(|path| is_document(path)) {
        let text = read(&root.join(path))?;
        for (line, prose) in prose_lines(&text) {
            let finding = |what: String| format!("{}:{line}: {what}", path.display());
            let links = links(&without_code(prose));
            findings
                .extend(links.iter().filter_map(|link| broken_link(root, path, link)).map(finding));
            let paths = inline_code(prose).filter(|_| path != Path::new(CHANGELOG));
            let missing = paths.filter(|code| is_path(code) && !root.join(code).exists());
            findings.extend(missing.map(|code| finding(format!("there is no {code}"))));
        }
    }
    Ok(findings)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Returns the lines outside of fenced code blocks, with their numbers, counted from one.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((number, line))
    })
}

/// Returns the texts between backticks.
fn inline_code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Returns the line with the code between backticks removed.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Returns the targets of the links `[text](target)`.
fn links(line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// Returns what is wrong with a link of the document; `None` if it is valid or external.
fn broken_link(root: &Path, document: &Path, link: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, a)| (path, Some(a)));
    let target = if path.is_empty() {
        root.join(document)
    } else {
        root.join(document.parent().unwrap_or(Path::new(""))).join(path)
    };
    if !target.exists() {
        return Some(format!("the link `{link}` leads to no file"));
    }
    let anchor = anchor?;
    let has_anchor =
        is_document(&target) && read(&target).is_ok_and(|text| anchors(&text).contains(anchor));
    (!has_anchor).then(|| format!("the link `{link}` leads to no heading"))
}

/// Returns the anchors that the usual renderers give to the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let headings = prose_lines(text).filter(|(_, line)| line.starts_with('#'));
    for (_, heading) in headings {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let repeated = (1..).map(|number| format!("{anchor}-{number}"));
        let free = [anchor.clone()].into_iter().chain(repeated).find(|a| !anchors.contains(a));
        anchors.extend(free);
    }
    anchors
}

/// Whether inline code is meant as one path of this repository.
fn is_path(code: &str) -> bool {
    let is_pattern = |c: char| c.is_whitespace() || "*{}<>$:,".contains(c);
    TOP_DIRECTORIES.iter().any(|top| code.starts_with(top)) && !code.contains(is_pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(documents: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in documents {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        check(root.path()).unwrap()
    }

    #[test]
    fn a_link_to_a_missing_file_is_found() {
        let readme =
            "See [a](docs/a.md), [docs](docs), [b](docs/b.md)\nand [c](https://c.example).";
        assert_eq!(
            findings(&[("README.md", readme), ("docs/a.md", "[back](../README.md)")]),
            ["README.md:1: the link `docs/b.md` leads to no file"]
        );
    }

    #[test]
    fn a_link_to_a_missing_heading_is_found() {
        let text = "# One\n## `two`, and three\n# One\n\
                    [1](#one) [2](#two-and-three) [3](#one-1) [4](#one-2)";
        assert_eq!(findings(&[("a.md", text)]), ["a.md:4: the link `#one-2` leads to no heading"]);
    }

    #[test]
    fn code_has_no_links_and_no_headings() {
        let text = "```sh\n# [x](gone.md)\n```\n`[x](gone.md)`";
        assert_eq!(findings(&[("a.md", text)]), [""; 0]);
        assert_eq!(
            findings(&[("a.md", "```sh\n# x\n```\n[x](#x)")]),
            ["a.md:4: the link `#x` leads to no heading"]
        );
    }

    #[test]
    fn a_path_in_inline_code_exists() {
        let text = "`lua/check.lua`, `lua/gone.lua`, `lua/*.lua`, `gone.rs`, `tests/`";
        let tree = [("a.md", text), ("lua/check.lua", ""), ("tests/a.rs", "")];
        assert_eq!(findings(&tree), ["a.md:1: there is no lua/gone.lua"]);
        assert_eq!(findings(&[(CHANGELOG, text)]), [""; 0]);
    }
}
