//! A redis-server for tests: it can be started, inspected, paused, killed and restarted.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::{panic, thread};

use super::launch::{Launch, POLL, Ports, START_TIMEOUT, StartError};
use super::options::{RedisOptions, User};
use super::reply::{CommandError, Reply};
use crate::child::OwnedChild;

const PORTS_TRIED: usize = 20;

/// A redis-server on 127.0.0.1 with its own port and directory, which is killed on drop.
///
/// Persistence is off by default. [`RedisServer::command`] uses a Unix socket in the server's
/// directory and a user of its own, so it needs neither TLS nor a test's passwords.
///
/// All methods take `&self`: one task can pause or kill the server while others use it.
#[derive(Debug)]
pub struct RedisServer {
    child: Mutex<OwnedChild>,
    launch: Launch,
    ports: Ports,
}

// === impl RedisOptions ===

impl RedisOptions {
    /// Starts the server and waits until it responds.
    ///
    /// # Panics
    /// When no redis-server is found (the message says how to install it), or it does not start
    /// (the message contains its log).
    #[must_use]
    #[track_caller]
    pub fn start(self) -> RedisServer {
        RedisServer::launch(self)
    }

    /// Starts several servers at the same time, each with its options.
    #[track_caller]
    pub(super) fn start_together(servers: Vec<Self>) -> Vec<RedisServer> {
        thread::scope(|scope| {
            let starts: Vec<_> =
                servers.into_iter().map(|options| scope.spawn(|| options.start())).collect();
            let started = starts
                .into_iter()
                .map(|start| start.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
            started.collect()
        })
    }
}

// === impl RedisServer ===

impl RedisServer {
    /// Starts a server without TLS and passwords, and waits until it responds.
    ///
    /// # Panics
    /// As [`RedisOptions::start`].
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        RedisOptions::new().start()
    }

    /// Starts a server with additional arguments, such as `&["--appendonly", "yes"]`.
    ///
    /// # Panics
    /// As [`RedisOptions::start`].
    #[must_use]
    #[track_caller]
    pub fn start_with(args: &[&str]) -> Self {
        RedisOptions::new().args(args).start()
    }

    /// Starts a server that accepts only TLS; clients trust [`RedisServer::ca_file`].
    ///
    /// # Panics
    /// As [`RedisOptions::start`].
    #[must_use]
    #[track_caller]
    pub fn start_tls() -> Self {
        RedisOptions::new().tls().start()
    }

    #[track_caller]
    fn launch(options: RedisOptions) -> Self {
        let launch = Launch::new(options);
        for _ in 0..PORTS_TRIED {
            let ports = launch.reserve_ports();
            match launch.run(&ports) {
                Ok(child) => {
                    return Self { child: Mutex::new(child), launch, ports };
                }
                Err(StartError::PortTaken) => {}
                Err(StartError::Broken(problem)) => panic!("{problem}"),
            }
        }
        panic!("{PORTS_TRIED} ports in turn were in use:\n{}", launch.log())
    }

    /// Returns the port on 127.0.0.1, which stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.client.number()
    }

    /// Returns the URL for clients, such as `redis://127.0.0.1:12345`; with TLS its scheme is
    /// `rediss`, and it contains the user and the password if there are any.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.launch.tls().is_some() { "rediss" } else { "redis" };
        let login = self.launch.user().map(User::login).unwrap_or_default();
        format!("{scheme}://{login}127.0.0.1:{}", self.port())
    }

    /// Returns the PEM file of the authority that signed the server's certificate.
    ///
    /// # Panics
    /// When the server was started without TLS.
    #[must_use]
    #[track_caller]
    pub fn ca_file(&self) -> &Path {
        match self.launch.tls() {
            Some(files) => &files.authority,
            None => panic!("this redis was started without TLS: use RedisServer::start_tls"),
        }
    }

    /// Returns the server's directory, which contains its dump or append-only files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.launch.directory()
    }

    /// Returns the id of the process, which a restart changes.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Returns the log since the last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.launch.log()
    }

    /// Sends a command, such as `&["SCRIPT", "FLUSH"]`, and returns the reply.
    ///
    /// # Panics
    /// When Redis does not reply, or replies with an error.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, parts: &[A]) -> Reply {
        match self.try_command(parts) {
            Ok(reply) => reply,
            Err(error) => {
                let parts: Vec<_> =
                    parts.iter().map(|part| String::from_utf8_lossy(part.as_ref())).collect();
                panic!("{}: {error}", parts.join(" "))
            }
        }
    }

    /// Sends a command that may fail.
    ///
    /// # Errors
    /// When Redis does not reply within ten seconds, or replies with an error.
    pub fn try_command<A: AsRef<[u8]>>(&self, parts: &[A]) -> Result<Reply, CommandError> {
        self.launch.command(parts)
    }

    /// Returns one field of `INFO everything`, such as `used_memory` or `cmdstat_evalsha`.
    ///
    /// # Panics
    /// When Redis does not reply, or has no such field.
    #[must_use]
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let info = self.command(&["INFO", "everything"]).text();
        match info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')) {
            Some(value) => value.trim_end().to_owned(),
            None => panic!("INFO has no field `{field}`:\n{info}"),
        }
    }

    /// Moves the server's wall clock by `micros` microseconds, back if negative.
    ///
    /// # Panics
    /// When the server was started without [`RedisOptions::movable_clock`].
    #[track_caller]
    pub fn step_clock(&self, micros: i64) {
        match self.launch.clock() {
            Some(clock) => clock.step(micros),
            None => panic!("this redis uses the system's clock: start it with movable_clock"),
        }
    }

    /// Pauses the process (SIGSTOP): connections stay open, and nothing gets a reply.
    pub fn pause(&self) {
        self.child().pause();
    }

    /// Resumes a paused process (SIGCONT).
    pub fn resume(&self) {
        self.child().resume();
    }

    /// Kills the process (SIGKILL). The port stays reserved for [`RedisServer::restart`].
    pub fn kill(&self) {
        self.child().kill();
    }

    /// Starts the server again on the same port, and kills it first if it runs.
    ///
    /// Its data is lost, unless its arguments turn persistence on. Its scripts are always lost.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn restart(&self) {
        let mut child = self.child();
        child.kill();
        let deadline = Instant::now() + START_TIMEOUT;
        *child = loop {
            match self.launch.run(&self.ports) {
                Ok(child) => break child,
                Err(StartError::PortTaken) if Instant::now() < deadline => thread::sleep(POLL),
                Err(StartError::PortTaken) => {
                    panic!("another process uses port {}", self.port())
                }
                Err(StartError::Broken(problem)) => panic!("{problem}"),
            }
        };
    }

    /// Returns the port of a cluster's bus.
    pub(super) fn bus_port(&self) -> Option<u16> {
        self.ports.bus()
    }

    /// Whether the process can reply: it has neither ended nor been paused.
    pub(super) fn is_running(&self) -> bool {
        self.child().is_running()
    }

    fn child(&self) -> MutexGuard<'_, OwnedChild> {
        // A panic in another thread must not prevent the cleanup.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Before the directory is removed, so that the server does not write into it again.
        self.kill();
    }
}
