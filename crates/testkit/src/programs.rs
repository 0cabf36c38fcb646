//! Where the programs that tests run are found.

use std::env;
use std::path::{Path, PathBuf};

/// A program that tests run but that Cargo cannot build.
///
/// It is looked for in an environment variable that holds its path, in `PATH`, and in `.tools/bin`
/// of the workspace, where `cargo xtask test` puts what it installs.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The file's name, `redis-server`.
    pub name: &'static str,
    /// The environment variable that overrides the search, `SLUICE_REDIS_SERVER`.
    pub variable: &'static str,
    /// What a person types to have it.
    pub remedy: &'static str,
}

impl Program {
    /// The program's path.
    ///
    /// # Panics
    /// When it is not found; the message says how to install it.
    #[must_use]
    #[track_caller]
    pub fn path(&self) -> PathBuf {
        match self.find(env::var_os(self.variable).map(PathBuf::from), &search_path()) {
            Ok(path) => path,
            Err(problem) => panic!(
                "{problem}\n  let the project install it:  cargo xtask test\n  or do it yourself:           {}\n  or name it:                  {}=/path/to/{}",
                self.remedy, self.variable, self.name
            ),
        }
    }

    /// The program's path, for a test that can do without it; `None` when it is not installed.
    ///
    /// # Panics
    /// When the variable names something that is not a file.
    #[must_use]
    #[track_caller]
    pub fn installed(&self) -> Option<PathBuf> {
        let named = env::var_os(self.variable).map(PathBuf::from);
        if named.is_some() {
            return Some(self.path());
        }
        self.find(named, &search_path()).ok()
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
    fn the_first_directory_that_holds_the_program_wins() {
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
    fn a_named_program_comes_before_any_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (named, other) = (directory.path().join("mine"), directory.path().join("redis-server"));
        for path in [&named, &other] {
            File::create(path).unwrap();
        }
        assert_eq!(PROGRAM.find(Some(named.clone()), &[directory.path().to_owned()]), Ok(named));
    }

    #[test]
    fn a_named_program_that_is_not_there_is_refused_rather_than_searched_for() {
        let problem =
            PROGRAM.find(Some("/nowhere/redis-server".into()), &search_path()).unwrap_err();
        assert_eq!(problem, "SLUICE_REDIS_SERVER is /nowhere/redis-server, which is not a file");
    }

    #[test]
    fn a_program_that_is_not_installed_is_none() {
        let nowhere = Program {
            name: "no-such-program-anywhere",
            variable: "SLUICE_NO_SUCH_PROGRAM",
            remedy: "",
        };
        assert_eq!(nowhere.installed(), None);
        let shell = Program { name: "sh", variable: "SLUICE_NO_SUCH_PROGRAM", remedy: "" };
        assert!(shell.installed().is_some_and(|path| path.is_file()));
    }

    #[test]
    fn a_missing_program_is_named() {
        let problem = PROGRAM.find(None, &[]).unwrap_err();
        assert_eq!(problem, "redis-server is needed by this test and is not installed");
    }
}
