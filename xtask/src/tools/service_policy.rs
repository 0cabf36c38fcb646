//! Keeps Debian from starting services.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Debian asks this program whether a service may be started; exit code 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// While this value exists, Debian does not start the services that it installs (a Redis on 6379).
#[derive(Debug)]
pub(super) struct ServicePolicy {
    /// The file, if we wrote it.
    ours: Option<PathBuf>,
}

impl ServicePolicy {
    /// Writes the policy.
    pub(super) fn forbid() -> Result<Self, String> {
        Self::write(Path::new(POLICY)).map_err(|error| format!("could not write {POLICY}: {error}"))
    }

    /// Writes the policy. A policy that exists belongs to the machine, and stays as it is.
    fn write(path: &Path) -> io::Result<Self> {
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let policy = Self { ours: Some(path.to_owned()) };
                file.write_all(
                    b"#!/bin/sh\n\
                      # Written by `cargo xtask` while it installs packages; it may be deleted.\n\
                      exit 101\n",
                )?;
                Ok(policy)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(error) => Err(error),
        }
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if let Some(path) = &self.ours
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!(
                "could not remove {}: {error}; Debian starts no service until it is removed",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_forbidden_only_while_packages_are_installed() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        let policy = ServicePolicy::write(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nexit 101\n"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o100, 0o100);
        drop(policy);
        assert!(!path.exists());
    }

    #[test]
    fn a_policy_that_exists_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        fs::write(&path, "theirs").unwrap();
        drop(ServicePolicy::write(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }
}
