//! Finds the programs that tests run.

use std::env;
use std::path::{Path, PathBuf};

/// A program that tests run but that Cargo cannot build.
///
/// The search looks at an environment variable that contains its path, in `PATH`, and in the
/// workspace's `.tools/bin`, where `cargo xtask test` installs programs.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The file's name, `redis-server`.
    pub name: &'static str,
    /// The environment variable that overrides the search, `SLUICE_REDIS_SERVER`.
    pub variable: &'static str,
    /// The command that installs it.
    pub remedy: &'static str,
}

impl Program {
    /// Returns the program's path.
    ///
    /// # Panics
    /// When it is not found; the message says how to install it.
    #[must_use]
    #[track_caller]
    pub fn path(&self) -> PathBuf {
        match self.find(env::var_os(self.variable).map(PathBuf::from), &search_path()) {
            Ok(path) => path,
            Err(problem) => panic!(
                "{problem}\n  \
                 let the project install it:  cargo xtask tools\n  \
                 or install it yourself:      {}\n  \
                 or set its path:             {}=/path/to/{}",
                self.remedy, self.variable, self.name
            ),
        }
    }

    /// Whether the program is found.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.find(env::var_os(self.variable).map(PathBuf::from), &search_path()).is_ok()
    }

    fn find(&self, named: Option<PathBuf>, directories: &[PathBuf]) -> Result<PathBuf, String> {
        if let Some(path) = named {
            return if path.is_file() {
                Ok(path)
            } else {
                Err(format!("{} is {}, which is not a file", self.variable, path.display()))
            };
        }
        directories
            .iter()
            .map(|directory| directory.join(self.name))
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{} is needed by this test and is not installed", self.name))
    }
}

fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin");
    env::split_paths(&path).chain([tools]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    const PROGRAM: Program = Program {
        name: "redis-server",
        variable: "SLUICE_REDIS_SERVER",
        remedy: "apt-get install redis-server",
    };

    #[test]
    fn the_first_directory_that_contains_the_program_is_used() {
        let (empty, first, second) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        for directory in [&first, &second] {
            File::create(directory.path().join("redis-server")).unwrap();
        }
        let directories = [&empty, &first, &second].map(|directory| directory.path().to_owned());
        assert_eq!(PROGRAM.find(None, &directories), Ok(first.path().join("redis-server")));
    }

    #[test]
    fn a_path_in_the_variable_comes_before_every_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (named, other) = (directory.path().join("mine"), directory.path().join("redis-server"));
        for path in [&named, &other] {
            File::create(path).unwrap();
        }
        assert_eq!(PROGRAM.find(Some(named.clone()), &[directory.path().to_owned()]), Ok(named));
    }

    #[test]
    fn a_wrong_path_in_the_variable_is_an_error() {
        let problem =
            PROGRAM.find(Some("/nowhere/redis-server".into()), &search_path()).unwrap_err();
        assert_eq!(problem, "SLUICE_REDIS_SERVER is /nowhere/redis-server, which is not a file");
    }

    #[test]
    fn a_missing_program_is_named() {
        let problem = PROGRAM.find(None, &[]).unwrap_err();
        assert_eq!(problem, "redis-server is needed by this test and is not installed");
    }
}
