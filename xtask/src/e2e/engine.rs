//! A Docker engine: one that runs already, or one of our own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::shell::{program, succeeds};

/// A cold start unpacks nothing, but the machine may be busy.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A Docker engine that accepts commands.
#[derive(Debug)]
pub(super) struct Engine {
    /// The engine that was started here, and its directory.
    own: Option<(Child, PathBuf)>,
}

impl Engine {
    /// Returns the engine that `docker` finds, or else starts one, which only root can.
    ///
    /// # Errors
    /// Says what is missing.
    pub(super) fn find_or_start() -> Result<Self, String> {
        if !succeeds(program("docker").arg("--version")) {
            return Err(
                "there is no `docker`: install it, as with `apt-get install docker.io`".into()
            );
        }
        if succeeds(program("docker").arg("info")) {
            return Ok(Self { own: None });
        }
        let uid = program("id").arg("-u").output().map_err(|error| error.to_string())?;
        let cannot = if uid.stdout.trim_ascii() != b"0" {
            Some("only root can start one")
        } else if !succeeds(program("dockerd").arg("--version")) {
            Some("there is no `dockerd` to start one")
        } else {
            None
        };
        if let Some(why) = cannot {
            return Err(format!(
                "no Docker engine runs, and {why}: start yours, or set DOCKER_HOST"
            ));
        }
        Self::start()
    }

    /// Starts an engine that leaves the machine's firewall alone and keeps all it has in one
    /// directory.
    fn start() -> Result<Self, String> {
        let directory = env::temp_dir().join(format!("sluice-e2e-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let within = |name: &str| directory.join(name).display().to_string();
        let log = fs::File::create(directory.join("log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        let child = Command::new("dockerd")
            .args(["--host", &format!("unix://{}", within("socket"))])
            .args(["--data-root", &within("data"), "--exec-root", &within("exec")])
            .args(["--pidfile", &within("pid"), "--iptables=false", "--ip6tables=false"])
            .args(["--ip-forward=false", "--ip-masq=false"])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("dockerd: {error}"))?;
        let engine = Self { own: Some((child, directory.clone())) };
        let until = Instant::now() + START_TIMEOUT;
        while !succeeds(engine.docker().arg("info")) {
            if Instant::now() > until {
                let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(format!("dockerd does not start: {}", last.join(" | ")));
            }
            sleep(Duration::from_millis(200));
        }
        Ok(engine)
    }

    pub(super) fn description(&self) -> String {
        match &self.own {
            None => "the one that runs on this machine".to_owned(),
            Some((_, directory)) => format!("one of our own, in {}", directory.display()),
        }
    }

    /// Returns `docker`, for this engine.
    pub(super) fn docker(&self) -> Command {
        self.client(Path::new("docker"))
    }

    /// Returns a program that reads `DOCKER_HOST`, for this engine.
    pub(super) fn client(&self, path: &Path) -> Command {
        let mut command = program(path);
        if let Some((_, directory)) = &self.own {
            command.env("DOCKER_HOST", format!("unix://{}/socket", directory.display()));
        }
        // The engine of a distribution may come without BuildKit.
        command.env("DOCKER_BUILDKIT", "0");
        command
    }
}

impl Drop for Engine {
    /// Stops the engine that was started here, and removes what it kept.
    fn drop(&mut self) {
        let Some((child, directory)) = &mut self.own else { return };
        let pid = child.id().to_string();
        let _ = program("kill").arg(&pid).status();
        let until = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(200));
        }
        let _ = child.kill();
        let _ = child.wait();
        // The engine leaves mounts behind, which cannot be removed as files can.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts_below(directory, &mounts) {
            let _ = program("umount").arg(mount).status();
        }
        if let Err(error) = fs::remove_dir_all(&*directory) {
            eprintln!("{} could not be removed, remove it by hand: {error}", directory.display());
        }
    }
}

/// Returns the mount points below `directory` in the text of `/proc/mounts`, the innermost first.
fn mounts_below<'m>(directory: &Path, mounts: &'m str) -> Vec<&'m Path> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    let mut below: Vec<_> = points.filter(|point| point.starts_with(directory)).collect();
    below.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    below
}

/// Returns what a command prints.
///
/// # Errors
/// What it prints about its failure.
pub(super) fn output(command: &mut Command) -> Result<String, String> {
    let shown = crate::shell::shown(command);
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_removed_from_the_inside() {
        let mounts = "proc /proc proc rw 0 0\n\
                      overlay /tmp/e/data/a overlay rw 0 0\n\
                      nsfs /tmp/e/exec/netns/default nsfs rw 0 0\n\
                      tmpfs /tmp/elsewhere tmpfs rw 0 0\n";
        let below = mounts_below(Path::new("/tmp/e"), mounts);
        let expected = ["/tmp/e/exec/netns/default", "/tmp/e/data/a"].map(Path::new);
        assert_eq!(below, expected);
    }
}
