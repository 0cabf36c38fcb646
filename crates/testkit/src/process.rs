//! The built `sluice` as a process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::OwnedChild;
use crate::ports::ReservedPort;
use crate::probe;

/// Far more than a start takes even on a busy machine, so that only a broken server exceeds it.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
const LOG_LINES_SHOWN: usize = 60;

/// The beginning of the name of every setting in the environment.
const SETTINGS: &str = "SLUICE__";

/// The options of a [`Sluice`].
#[derive(Debug)]
pub struct SluiceOptions {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    config: Option<String>,
    grpc: bool,
}

/// A running `sluice serve` with its own ports and directory; killed on drop.
///
/// Settings in the caller's environment (`SLUICE__...`) and files of its directory do not reach the
/// process. When a test fails, the end of the log is printed.
#[derive(Debug)]
pub struct Sluice {
    child: Mutex<OwnedChild>,
    options: SluiceOptions,
    directory: TempDir,
    http: ReservedPort,
    grpc: Option<ReservedPort>,
}

/// Returns the path of the `sluice` that was built beside the running test, for tests outside the
/// crate that builds it.
///
/// Inside that crate, use `env!("CARGO_BIN_EXE_sluice")`: Cargo then builds it.
///
/// # Panics
/// When it was not built for this profile.
#[must_use]
pub fn built_sluice() -> PathBuf {
    let test = std::env::current_exe()
        .unwrap_or_else(|error| panic!("the running test has no path: {error}"));
    // target/<profile>/deps/<test> -> target/<profile>/sluice
    match test.parent().and_then(Path::parent).map(|profile| profile.join("sluice")) {
        Some(path) if path.is_file() => path,
        Some(path) => panic!(
            "{} is not built: run `cargo xtask test`, or `cargo build --bin sluice` first",
            path.display()
        ),
        None => panic!("{} is not in a directory of Cargo's tests", test.display()),
    }
}

// === impl SluiceOptions ===

impl SluiceOptions {
    /// Makes options that run `program serve` with the built-in defaults.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: vec!["serve".into()],
            env: Vec::new(),
            config: None,
            grpc: false,
        }
    }

    /// Leaves out `serve`, which is also the default command.
    #[must_use]
    pub fn without_subcommand(mut self) -> Self {
        self.args.retain(|arg| arg != "serve");
        self
    }

    /// Adds arguments after `serve`.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    /// Sets an environment variable, such as `SLUICE__STORE__URL`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Identifies clients by `X-Api-Key`, bearer token or address, as if something in front had
    /// verified the keys. By default the address alone identifies them.
    #[must_use]
    pub fn identify_by_key(self) -> Self {
        self.env("SLUICE__CLIENTS__IDENTIFY", "header:x-api-key,bearer,ip")
            .env("SLUICE__CLIENTS__UNVERIFIED", "off")
    }

    /// Writes this YAML into a file and passes it as `--config`.
    #[must_use]
    pub fn config(mut self, yaml: impl Into<String>) -> Self {
        self.config = Some(yaml.into());
        self
    }

    /// Turns gRPC on, on a free port; it is off by default.
    #[must_use]
    pub fn grpc(mut self) -> Self {
        self.grpc = true;
        self
    }

    /// Starts the process and waits until `/health` responds with 200.
    ///
    /// # Panics
    /// When the program cannot be started, ends early or does not respond; the message contains its
    /// log.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Sluice {
        let sluice = self.launch();
        sluice.wait_healthy();
        sluice
    }

    /// Starts the process and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    #[track_caller]
    pub fn launch(self) -> Sluice {
        let directory = TempDir::with_prefix("sluice-server-")
            .unwrap_or_else(|error| panic!("could not make a directory for sluice: {error}"));
        if let Some(text) = &self.config {
            replace_file(&config_path(directory.path()), text);
        }
        let http = ReservedPort::new();
        let grpc = self.grpc.then(ReservedPort::new);
        let child = OwnedChild::spawn(&mut self.command(
            directory.path(),
            http.number(),
            grpc.as_ref().map(ReservedPort::number),
        ));
        Sluice { child: Mutex::new(child), options: self, directory, http, grpc }
    }

    fn command(&self, directory: &Path, http: u16, grpc: Option<u16>) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log_path(directory))
            .unwrap_or_else(|error| panic!("could not write sluice's log: {error}"));
        let log_too =
            log.try_clone().unwrap_or_else(|error| panic!("could not share sluice's log: {error}"));
        let mut command = Command::new(&self.program);
        command.current_dir(directory).stdin(Stdio::null()).stdout(log).stderr(log_too);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(SETTINGS))
        {
            command.env_remove(name);
        }
        command.env("SLUICE__LISTEN__HTTP", format!("127.0.0.1:{http}"));
        // Otherwise two servers would use the default port.
        command.env(
            "SLUICE__LISTEN__GRPC",
            grpc.map_or_else(|| "off".to_owned(), |grpc| format!("127.0.0.1:{grpc}")),
        );
        command.envs(self.env.iter().map(|(name, value)| (name, value))).args(&self.args);
        if self.config.is_some() {
            command.arg("--config").arg(config_path(directory));
        }
        command
    }
}

// === impl Sluice ===

impl Sluice {
    /// Returns the address of the HTTP port, which stays the same over restarts.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.http.number()).into()
    }

    /// Returns the address of the gRPC port.
    ///
    /// # Panics
    /// When it was started without [`SluiceOptions::grpc`].
    #[must_use]
    #[track_caller]
    pub fn grpc_addr(&self) -> SocketAddr {
        match &self.grpc {
            Some(port) => (Ipv4Addr::LOCALHOST, port.number()).into(),
            None => panic!("this sluice was started without SluiceOptions::grpc"),
        }
    }

    /// Returns the URL of a path, which starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http_addr())
    }

    /// Returns the id of the process, which is another one after a restart.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Returns the status of the response to a GET request of `path`, for tests that need no more
    /// of HTTP.
    ///
    /// # Errors
    /// When nothing listens, or the response is not HTTP.
    pub fn status(&self, path: &str) -> io::Result<u16> {
        probe::status(self.http_addr(), path)
    }

    /// Waits until `/health` responds with 200.
    ///
    /// # Panics
    /// When the process ends or does not respond; the message contains its log.
    #[track_caller]
    pub fn wait_healthy(&self) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let status = self.status("/health");
            if matches!(status, Ok(200)) {
                return;
            }
            if let Some(exit) = self.child().exited() {
                panic!("sluice ended with {exit}:\n{}", self.log());
            }
            assert!(
                Instant::now() < deadline,
                "sluice was not healthy within {START_TIMEOUT:?} ({status:?}):\n{}",
                self.log()
            );
            std::thread::sleep(POLL);
        }
    }

    /// Asks the process to stop (SIGTERM).
    pub fn sigterm(&self) {
        self.child().signal(Signal::TERM);
    }

    /// Asks the process to read its configuration again (SIGHUP).
    pub fn sighup(&self) {
        self.child().signal(Signal::HUP);
    }

    /// Ends the process at once (SIGKILL).
    pub fn sigkill(&self) {
        self.child().kill();
    }

    /// Pauses the process (SIGSTOP).
    pub fn pause(&self) {
        self.child().pause();
    }

    /// Resumes a paused process (SIGCONT).
    pub fn resume(&self) {
        self.child().resume();
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it still runs after `timeout`; the message contains its log.
    #[must_use]
    #[track_caller]
    pub fn wait_exit(&self, timeout: Duration) -> ExitStatus {
        let exit = self.child().wait(timeout);
        match exit {
            Some(exit) => exit,
            None => panic!("sluice still ran after {timeout:?}:\n{}", self.log()),
        }
    }

    /// Whether the process has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.child().exited().is_none()
    }

    /// Starts the process again with the same ports, arguments and file, killing it first if it
    /// runs; waits until it is healthy.
    ///
    /// # Panics
    /// As [`SluiceOptions::start`].
    #[track_caller]
    pub fn restart(&self) {
        {
            let mut child = self.child();
            child.kill();
            let grpc = self.grpc.as_ref().map(ReservedPort::number);
            *child = OwnedChild::spawn(&mut self.options.command(
                self.directory.path(),
                self.http.number(),
                grpc,
            ));
        }
        self.wait_healthy();
    }

    /// Returns the log of the process, also from before a restart.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log_path(self.directory.path()))
            .unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Returns the path of the file passed as `--config`.
    ///
    /// # Panics
    /// When it was started without [`SluiceOptions::config`].
    #[must_use]
    #[track_caller]
    pub fn config_path(&self) -> PathBuf {
        assert!(
            self.options.config.is_some(),
            "this sluice was started without SluiceOptions::config"
        );
        config_path(self.directory.path())
    }

    /// Replaces the file passed as `--config` in one step, so that it is never read in part.
    ///
    /// # Panics
    /// When it was started without [`SluiceOptions::config`], or the file cannot be written.
    #[track_caller]
    pub fn rewrite_config(&self, yaml: &str) {
        replace_file(&self.config_path(), yaml);
    }

    fn child(&self) -> MutexGuard<'_, OwnedChild> {
        // A panic in another thread must not keep this one from cleaning up.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sluice {
    fn drop(&mut self) {
        // Before the directory is removed, so that the server does not write into it again.
        self.sigkill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
            #[allow(clippy::print_stderr, reason = "the test harness shows this with the failure")]
            {
                eprintln!(
                    "--- the end of the log of the sluice on {}\n{end}\n---",
                    self.http_addr()
                );
            }
        }
    }
}

fn config_path(directory: &Path) -> PathBuf {
    directory.join("sluice.yaml")
}

fn log_path(directory: &Path) -> PathBuf {
    directory.join("sluice.log")
}

fn replace_file(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .unwrap_or_else(|error| panic!("could not write {}: {error}", path.display()));
}
