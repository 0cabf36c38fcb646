//! An HTTP server other than Sluice, as a process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::OwnedChild;
use crate::ports::ReservedPort;
use crate::probe;

/// Far more than a start takes even on a busy machine, so that only a broken file exceeds it.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// As long as a start may take.
const STOP_TIMEOUT: Duration = START_TIMEOUT;
const POLL: Duration = Duration::from_millis(10);
const LOG: &str = "server.log";

/// A process with a directory and a port of its own; killed on drop. When a test fails, the log is
/// printed.
#[derive(Debug)]
pub(crate) struct OwnedServer {
    child: OwnedChild,
    name: String,
    directory: TempDir,
    port: ReservedPort,
}

impl OwnedServer {
    /// Starts in a new directory the command that `command` makes for it, and waits until a GET
    /// request of `path` on `port` gets a response with status 200.
    ///
    /// # Panics
    /// When it cannot be started, ends early, or does not respond so.
    #[track_caller]
    pub(crate) fn start(
        port: ReservedPort,
        path: &str,
        command: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let directory = TempDir::with_prefix("sluice-peer-")
            .unwrap_or_else(|error| panic!("could not make a directory: {error}"));
        let log = File::create(directory.path().join(LOG))
            .unwrap_or_else(|error| panic!("could not write the log: {error}"));
        let log_too =
            log.try_clone().unwrap_or_else(|error| panic!("could not share the log: {error}"));
        let mut command = command(directory.path());
        let name = command.get_program().display().to_string();
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(log).stderr(log_too);
        let mut server = Self { child: OwnedChild::spawn(&mut command), name, directory, port };
        server.wait_for(path);
        server
    }

    /// Returns the address on which it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    /// Asks the process to stop, and waits until it has ended.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.child.signal(Signal::TERM);
        let exit = self.child.wait(STOP_TIMEOUT);
        assert!(exit.is_some(), "{} did not end within {STOP_TIMEOUT:?}", self.name);
    }

    #[track_caller]
    fn wait_for(&mut self, path: &str) {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let status = probe::status(self.addr(), path);
            if matches!(status, Ok(200)) {
                return;
            }
            // The log is printed when the value is dropped.
            if let Some(exit) = self.child.exited() {
                panic!("{} ended with {exit}", self.name);
            }
            assert!(
                Instant::now() < deadline,
                "{} did not respond to {path} with 200 within {START_TIMEOUT:?}: {status:?}",
                self.name
            );
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for OwnedServer {
    fn drop(&mut self) {
        // Before the directory is removed, so that the process does not write into it again.
        self.child.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join(LOG))
                .unwrap_or_else(|error| format!("(no log: {error})"));
            #[allow(clippy::print_stderr, reason = "the test harness shows this with the failure")]
            {
                eprintln!("--- the log of {} on {}\n{log}\n---", self.name, self.addr());
            }
        }
    }
}
