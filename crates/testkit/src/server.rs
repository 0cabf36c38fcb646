//! An HTTP server that is no Sluice, as a process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::child::OwnedChild;
use crate::ports::ReservedPort;
use crate::probe;

/// Far more than a start takes, so that only a broken file, never a busy machine, runs into it.
const START_PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
const LOG: &str = "server.log";

/// A process with a directory and a port of its own; killed on drop. When a test fails, its log is
/// printed.
#[derive(Debug)]
pub(crate) struct OwnedServer {
    child: OwnedChild,
    name: String,
    directory: TempDir,
    door: ReservedPort,
}

impl OwnedServer {
    /// Starts what `command` makes of the directory, there, and waits until a GET of `path` on
    /// `door` is answered 200.
    ///
    /// # Panics
    /// When it cannot be started, ends early, or does not answer so.
    #[track_caller]
    pub(crate) fn start(
        door: ReservedPort,
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
        let mut server = Self { child: OwnedChild::spawn(&mut command), name, directory, door };
        server.wait_for(path);
        server
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.door.number()).into()
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
                panic!("{} ended with {exit}", self.name);
            }
            assert!(
                Instant::now() < deadline,
                "{} did not answer {path} with 200 within {START_PATIENCE:?}: {answer:?}",
                self.name
            );
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for OwnedServer {
    fn drop(&mut self) {
        // Before the directory goes, lest the process writes into it once more.
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
