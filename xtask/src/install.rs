//! Installs the programs that tests need, where that can be done without asking.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::Report;
use crate::shell::{program, shown, succeeds};
use crate::tools::{Environment, InVenv, NodePackages, Tool, Wheels, tools_directory};

/// Debian asks this program whether a service may be started; 101 means no.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Finds every tool, and installs those that are missing; what cannot be had and is needed is a
/// failed step with its remedy.
pub(crate) fn ensure(report: &mut Report, tools: &[Tool]) {
    for tool in tools {
        match (tool.find().and_then(|found| found.map_or_else(|| install(tool), Ok)), tool.left_out)
        {
            (Ok(path), _) => println!("{}: {}", tool.name, path.display()),
            (Err(problem), Some(what)) => {
                report.leave_out(tool.name, &format!("{what}; {problem}"))
            }
            (Err(problem), None) => report.fail(tool.name, problem),
        }
    }
}

fn install(tool: &Tool) -> Result<PathBuf, String> {
    println!("{} is missing", tool.name);
    let mut problems = Vec::new();
    let open = Open {
        apt: may_use_apt(),
        python: succeeds(program("python3").arg("--version")),
        npm: succeeds(program("npm").arg("--version")),
    };
    for way in ways(tool, open) {
        let result = match way {
            Way::Apt(packages) => with_apt(packages),
            Way::Wheels(wheels) => with_pip(tool.name, wheels),
            Way::Node(packages) => with_npm(tool.name, packages),
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
    Wheels(&'a Wheels),
    Node(&'a NodePackages),
}

impl Way<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Apt(_) => "apt-get",
            Self::Wheels(_) => "pip",
            Self::Node(_) => "npm",
        }
    }
}

/// Which ways this machine has.
#[derive(Debug, Clone, Copy)]
struct Open {
    apt: bool,
    python: bool,
    npm: bool,
}

/// The ways open on this machine, the better one first.
fn ways(tool: &Tool, open: Open) -> Vec<Way<'_>> {
    let apt = (open.apt && !tool.apt.is_empty()).then_some(Way::Apt(tool.apt));
    let wheels = tool.pypi.as_ref().filter(|_| open.python).map(Way::Wheels);
    let node = tool.npm.as_ref().filter(|_| open.npm).map(Way::Node);
    apt.into_iter().chain(wheels).chain(node).collect()
}

fn may_use_apt() -> bool {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    root && succeeds(program("apt-get").arg("--version"))
}

fn with_apt(packages: &[&str]) -> Result<(), String> {
    let _quiet = ServicePolicy::forbid(Path::new(SERVICE_POLICY))
        .map_err(|error| format!("could not write {SERVICE_POLICY}: {error}"))?;
    // Old lists may name packages that are gone; but without a network the old ones may do.
    if let Err(problem) = done(program("apt-get").arg("update")) {
        println!("{problem}; going on with the lists at hand");
    }
    let mut install = program("apt-get");
    install
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    done(&mut install)
}

fn with_pip(name: &str, wheels: &Wheels) -> Result<(), String> {
    if let Some(caveat) = wheels.caveat {
        println!("note: {caveat}");
    }
    let venv = wheels.environment.directory();
    fill(wheels.environment, |packages| {
        done(program("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary=:all:",
        ];
        done(program(venv.join("bin/python")).args(pip).args(packages))
    })?;
    let link_path = tools_directory().join("bin").join(name);
    match wheels.program {
        InVenv::Package(path) => link(&inside_site_packages(&venv, path)?, &link_path),
        InVenv::Script(script) => link(&venv.join("bin").join(script), &link_path),
        InVenv::Python => launcher(&venv.join("bin/python"), &link_path),
    }
}

fn with_npm(name: &str, node: &NodePackages) -> Result<(), String> {
    let directory = node.environment.directory();
    fill(node.environment, |packages| {
        let npm =
            ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        done(program("npm").args(npm).arg(&directory).args(packages))
    })?;
    link(
        &directory.join("node_modules/.bin").join(node.program),
        &tools_directory().join("bin").join(name),
    )
}

/// Installs an environment's packages, unless another tool has done so already.
fn fill(
    environment: Environment,
    install: impl FnOnce(&[&str]) -> Result<(), String>,
) -> Result<(), String> {
    if environment.is_complete() {
        return Ok(());
    }
    let directory = environment.directory();
    // Whatever is there is half an environment, or that of other versions.
    let clear = match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(&directory),
    };
    clear.map_err(|error| format!("could not make {}: {error}", directory.display()))?;
    install(environment.packages)?;
    environment
        .complete()
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

/// Writes a script that runs `python`, which knows its environment only by the path it is started
/// with: a link would hide it.
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

/// Makes room for a file of this name.
fn vacate(name: &Path) -> io::Result<()> {
    fs::create_dir_all(name.parent().unwrap_or(name))?;
    match fs::remove_file(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
            eprintln!(
                "could not remove {}: {error}; services will not start when installed until it is gone",
                path.display()
            );
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
        pypi: Some(Wheels {
            environment: Environment { name: "python", packages: &["tool==1"] },
            program: InVenv::Package("tool/bin/tool"),
            caveat: None,
        }),
        npm: Some(NodePackages {
            environment: Environment { name: "node", packages: &["tool@1"] },
            program: "tool",
        }),
        by_hand: "make it",
        left_out: None,
    };

    const ALL: Open = Open { apt: true, python: true, npm: true };

    #[test]
    fn debians_package_is_better_than_a_wheel() {
        assert!(matches!(ways(&TOOL, ALL)[..], [Way::Apt(["tool"]), Way::Wheels(_), Way::Node(_)]));
        assert!(matches!(
            ways(&TOOL, Open { apt: false, npm: false, ..ALL })[..],
            [Way::Wheels(_)]
        ));
        assert!(matches!(
            ways(&TOOL, Open { python: false, npm: false, ..ALL })[..],
            [Way::Apt(_)]
        ));
        assert!(ways(&TOOL, Open { apt: false, python: false, npm: false }).is_empty());
        assert!(ways(&Tool { apt: &[], pypi: None, npm: None, ..TOOL }, ALL).is_empty());
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
        assert!(
            inside_site_packages(venv.path(), "tool/bin/other")
                .unwrap_err()
                .starts_with("there is no tool/bin/other in ")
        );
    }

    #[test]
    fn a_link_replaces_the_one_before() {
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
    fn a_launcher_starts_its_program_by_the_programs_own_path() {
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
