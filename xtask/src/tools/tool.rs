//! What a tool is, and where it is found.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::shell::root;

/// A program, and the ways to install it.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The file's name.
    pub(crate) name: &'static str,
    /// The environment variable that overrides the search with a path; the test kit reads it too.
    pub(crate) variable: &'static str,
    /// The ways to install it, the best one first.
    pub(crate) sources: &'static [Source],
    /// What to type where none of them works.
    pub(crate) by_hand: &'static str,
    /// What the programs from `.tools` cannot do, as another entry of the table of tests.
    pub(crate) lacks: Option<&'static str>,
}

/// A way to install a tool.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// Debian's packages, installed on the machine; needs root.
    Apt(Packages),
    /// A Debian package that is only unpacked below `.tools`. Its program, a path in the package,
    /// must need no library that other packages bring.
    Unpacked { packages: Packages, program: &'static str },
    /// Python packages in a virtual environment below `.tools`.
    Wheels { packages: Packages, program: InVenv },
    /// Node packages in a directory below `.tools`; `program` is one that they bring.
    Node { packages: Packages, program: &'static str },
    /// A Go module that is built in a directory below `.tools`; `program` is what Go calls it.
    Go { packages: Packages, program: &'static str },
    /// A crate that is built in a directory below `.tools`, with the arguments of `cargo install`.
    Crate { packages: Packages, program: &'static str },
}

/// Packages that are installed together; tools that name the same ones share them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packages {
    /// The name of their directory in `.tools`, and of the group in what is printed.
    pub(crate) name: &'static str,
    /// What is installed, with its version where we choose one.
    pub(crate) list: &'static [&'static str],
    /// About how much disk they take, in megabytes, with the packages that they depend on.
    pub(crate) megabytes: u32,
}

/// A place in a virtual environment of Python.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InVenv {
    /// A file of a package: a path under `site-packages`.
    Package(&'static str),
    /// A program that a package brings.
    Script(&'static str),
    /// The environment's Python itself, which finds the packages.
    Python,
}

/// Where packages, and links to their programs in `bin`, are installed without root.
pub(crate) fn tools_directory() -> PathBuf {
    root().join(".tools")
}

// === impl Packages ===

impl Packages {
    /// The directory below `.tools` where they are installed.
    pub(crate) fn directory(self) -> PathBuf {
        tools_directory().join(self.name)
    }

    /// Whether exactly these packages were installed there, to the end.
    pub(crate) fn are_installed(self) -> bool {
        fs::read_to_string(self.record()).is_ok_and(|list| list == self.list.join("\n"))
    }

    /// Records that the packages are installed.
    pub(crate) fn record_installed(self) -> io::Result<()> {
        fs::write(self.record(), self.list.join("\n"))
    }

    fn record(self) -> PathBuf {
        self.directory().join("installed.txt")
    }
}

// === impl Source ===

impl Source {
    pub(crate) fn packages(self) -> Packages {
        match self {
            Self::Apt(packages)
            | Self::Unpacked { packages, .. }
            | Self::Wheels { packages, .. }
            | Self::Node { packages, .. }
            | Self::Go { packages, .. }
            | Self::Crate { packages, .. } => packages,
        }
    }

    /// Whether it changes the machine, rather than only `.tools`.
    pub(crate) fn needs_root(self) -> bool {
        matches!(self, Self::Apt(_))
    }
}

// === impl Tool ===

impl Tool {
    /// Returns the program's path, if it is installed: named by the variable, in `PATH`, or in
    /// `.tools/bin`. Another version in `.tools` than the one that is listed counts as missing.
    ///
    /// # Errors
    /// When the variable does not name a file; the search then ends.
    pub(crate) fn find(&self) -> Result<Option<PathBuf>, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = self.find_in(
            env::var_os(self.variable),
            env::split_paths(&path).chain([tools_directory().join("bin")]),
        )?;
        Ok(found.filter(|path| !is_ours(path) || self.is_current()))
    }

    /// Returns what the program at this path lacks.
    pub(crate) fn lacks(&self, path: &Path) -> Option<&'static str> {
        self.lacks.filter(|_| is_ours(path))
    }

    fn is_current(&self) -> bool {
        let mut ours = self.sources.iter().filter(|source| !source.needs_root());
        ours.any(|source| source.packages().are_installed())
    }

    fn find_in(
        &self,
        named: Option<OsString>,
        directories: impl Iterator<Item = PathBuf>,
    ) -> Result<Option<PathBuf>, String> {
        match named {
            Some(path) if Path::new(&path).is_file() => Ok(Some(path.into())),
            Some(path) => {
                Err(format!("{} is {}, which is not a file", self.variable, path.display()))
            }
            None => Ok(directories
                .map(|directory| directory.join(self.name))
                .find(|path| path.is_file())),
        }
    }
}

/// Whether a program was installed below `.tools`.
fn is_ours(path: &Path) -> bool {
    path.starts_with(tools_directory())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    const TOOL: Tool = Tool {
        name: "redis-server",
        variable: "SLUICE_REDIS_SERVER",
        sources: &[],
        by_hand: "",
        lacks: Some("TLS"),
    };

    fn directory_with(file: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join(file)).unwrap();
        directory
    }

    #[test]
    fn the_first_directory_that_contains_the_program_is_used() {
        let (other, first, second) =
            (directory_with("redis-cli"), directory_with(TOOL.name), directory_with(TOOL.name));
        let directories = [&other, &first, &second].map(|directory| directory.path().to_owned());
        assert_eq!(
            TOOL.find_in(None, directories.into_iter()),
            Ok(Some(first.path().join(TOOL.name)))
        );
        assert_eq!(TOOL.find_in(None, std::iter::once(other.path().to_owned())), Ok(None));
    }

    #[test]
    fn the_variable_comes_first_and_must_name_a_file() {
        let (named, found) = (directory_with("mine"), directory_with(TOOL.name));
        let mine = named.path().join("mine");
        let directories = || std::iter::once(found.path().to_owned());
        assert_eq!(TOOL.find_in(Some(mine.clone().into()), directories()), Ok(Some(mine)));
        assert_eq!(
            TOOL.find_in(Some("/nowhere".into()), directories()),
            Err("SLUICE_REDIS_SERVER is /nowhere, which is not a file".into())
        );
    }

    #[test]
    fn only_a_program_from_our_directory_lacks_something() {
        assert_eq!(TOOL.lacks(Path::new("/usr/bin/redis-server")), None);
        assert_eq!(TOOL.lacks(&tools_directory().join("bin/redis-server")), Some("TLS"));
    }
}
