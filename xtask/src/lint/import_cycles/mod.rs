//! No two source files of a crate import each other, directly or through others.
//!
//! Files in a cycle can be read and moved only together. An import is a `use` of a name that
//! another file defines, or a path to one (`crate::a::b`, `super::b`, `child::b`). These are not
//! imports:
//!
//! - `mod child;`, which only says where the file belongs;
//! - `pub use child::Name`, a re-export: importing the name from there counts as importing it from
//!   the file that defines it;
//! - what only tests compile, below `#[cfg(test)]` and in `tests/`.

mod graph;
mod modules;
mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

use self::graph::Imports;
use self::modules::Crate;
use crate::workspace;

/// Returns one finding for each group of files that import each other, with the names they import.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let read = |path: &Path| fs::read_to_string(root.join(path)).ok();
    let mut findings = Vec::new();
    for package in workspace::packages(root)? {
        for file in crate_roots(root, &package.directory) {
            let imports = Crate::read(&file, &read).imports();
            findings.extend(imports.cycles().iter().map(|files| describe(files, &imports)));
        }
    }
    Ok(findings)
}

/// The root files of the library and of the programs in `src/` of a package.
fn crate_roots(root: &Path, package: &Path) -> Vec<PathBuf> {
    let source = package.join("src");
    let mut files = vec![source.join("lib.rs"), source.join("main.rs")];
    let programs = fs::read_dir(root.join(&source).join("bin")).into_iter().flatten().flatten();
    files.extend(programs.map(|entry| source.join("bin").join(entry.file_name())));
    files.retain(|file| root.join(file).is_file());
    files
}

fn describe(files: &[PathBuf], imports: &Imports) -> String {
    let mut lines = vec![format!("{} files import each other:", files.len())];
    for (from, to, names) in imports.between(files) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        lines.push(format!("  {} -> {}: {}", from.display(), to.display(), names.join(", ")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_the_files_and_what_they_import() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("crates/a/Cargo.toml", "");
        write("crates/a/src/lib.rs", "mod one; mod two;");
        write("crates/a/src/one.rs", "use crate::two::{Two, second}; pub struct One;");
        write("crates/a/src/two.rs", "use super::one::One; pub struct Two; pub fn second() {}");
        assert_eq!(
            check(root.path()).unwrap(),
            ["2 files import each other:\n  \
              crates/a/src/one.rs -> crates/a/src/two.rs: Two, second\n  \
              crates/a/src/two.rs -> crates/a/src/one.rs: One"]
        );
    }
}
