//! The files and the packages of the workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories that hold no source of ours, for the walk without git.
const NOT_OURS: &[&str] = &[".git", ".tools", ".venv", "node_modules", "target"];

/// A directory with a `Cargo.toml` that names a package.
#[derive(Debug)]
pub(crate) struct Package {
    /// The directory, relative to the workspace's root.
    pub(crate) directory: PathBuf,
    /// The text of its `Cargo.toml`.
    pub(crate) manifest: String,
}

impl Package {
    /// Returns the package's name.
    pub(crate) fn name(&self) -> &str {
        let name = self.manifest.lines().find_map(|line| line.strip_prefix("name = "));
        name.unwrap_or_default().trim_matches('"')
    }

    /// Whether the package has a library, and so documentation tests.
    pub(crate) fn has_library(&self, root: &Path) -> bool {
        root.join(&self.directory).join("src/lib.rs").is_file()
    }
}

/// Returns the files that belong to the repository, relative to `root` and sorted.
///
/// Asks git, and walks the directories where there is no git (in an unpacked archive).
///
/// # Errors
/// When neither way can read the tree.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = match tracked_files(root) {
        Some(files) => files,
        None => walk(root).map_err(|error| format!("{}: {error}", root.display()))?,
    };
    files.sort();
    Ok(files)
}

/// Returns the packages of the workspace: `tests`, `xtask` and the directories in `crates`.
///
/// # Errors
/// When a directory or a `Cargo.toml` cannot be read.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>, String> {
    let mut directories = vec![PathBuf::from("tests"), PathBuf::from("xtask")];
    let entries = fs::read_dir(root.join("crates")).map_err(|error| format!("crates: {error}"))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("crates: {error}"))?;
        directories.push(Path::new("crates").join(entry.file_name()));
    }
    directories.retain(|directory| root.join(directory).join("Cargo.toml").is_file());
    directories.sort();
    directories
        .into_iter()
        .map(|directory| {
            let path = directory.join("Cargo.toml");
            let manifest = fs::read_to_string(root.join(&path))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(Package { directory, manifest })
        })
        .collect()
}

/// Finds a package by its name, by its name without `sluice-`, or by its directory's name.
///
/// # Errors
/// When there is none, with the names there are.
pub(crate) fn package(root: &Path, name: &str) -> Result<Package, String> {
    let mut packages = packages(root)?;
    let is_named = |package: &Package| {
        let directory = package.directory.file_name().is_some_and(|directory| directory == name);
        directory || package.name() == name || package.name() == format!("sluice-{name}")
    };
    match packages.iter().position(is_named) {
        Some(position) => Ok(packages.swap_remove(position)),
        None => {
            let names: Vec<_> = packages.iter().map(Package::name).collect();
            Err(format!("there is no package `{name}`; there are: {}", names.join(", ")))
        }
    }
}

/// The tracked files and the new ones that git does not ignore; `None` where there is no git.
fn tracked_files(root: &Path) -> Option<Vec<PathBuf>> {
    let output = Command::new("git")
        .current_dir(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = String::from_utf8_lossy(&output.stdout);
    let files = names.split_terminator('\0').map(PathBuf::from);
    // A file that was deleted but not yet committed is still listed.
    Some(files.filter(|file| root.join(file).is_file()).collect())
}

fn walk(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, directory.join(entry.file_name()));
            let ours = !NOT_OURS.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() && ours {
                directories.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn without_git_the_directories_are_walked() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a.rs", "src/b.rs", "target/debug/c.rs", ".tools/d.py"] {
            write(root.path(), path);
        }
        let mut files = walk(root.path()).unwrap();
        files.sort();
        assert_eq!(files, [Path::new("a.rs"), Path::new("src/b.rs")]);
    }

    #[test]
    fn new_files_are_listed_and_ignored_ones_are_not() {
        let root = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            Command::new("git").current_dir(root.path()).args(args).output().is_ok()
        };
        if !git(&["init", "--quiet"]) {
            return; // The walk is what such a machine uses.
        }
        for path in ["new.rs", "ignored.log"] {
            write(root.path(), path);
        }
        fs::write(root.path().join(".gitignore"), "*.log\n").unwrap();
        assert_eq!(files(root.path()).unwrap(), [Path::new(".gitignore"), Path::new("new.rs")]);
    }

    #[test]
    fn a_package_is_found_by_each_of_its_names() {
        let found = |name| package(&crate::shell::root(), name);
        for name in ["core", "sluice-core"] {
            assert_eq!(found(name).unwrap().name(), "sluice-core");
        }
        assert_eq!(found("limiter").unwrap().name(), "sluice");
        let error = found("cor").unwrap_err();
        assert!(error.starts_with("there is no package `cor`; there are: "), "{error}");
    }

    #[test]
    fn every_package_of_this_workspace_is_found() {
        let packages = packages(&crate::shell::root()).unwrap();
        let directories: Vec<_> = packages.iter().map(|package| &package.directory).collect();
        for known in ["crates/core", "crates/server", "tests", "xtask"] {
            assert!(directories.iter().any(|directory| *directory == Path::new(known)), "{known}");
        }
    }
}
