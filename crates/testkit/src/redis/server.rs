//! A redis-server for tests: it can be started, inspected, paused, killed and restarted.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::clock::MovableClock;
use super::options::{RedisOptions, User};
use super::reply::{self, CommandError, Reply};
use super::tls::TlsFiles;
use crate::child::OwnedChild;
use crate::ports::ReservedPort;
use crate::programs::Program;

const REDIS_SERVER: Program = Program {
    name: "redis-server",
    variable: "SLUICE_REDIS_SERVER",
    remedy: "apt-get install --no-install-recommends redis-server   (or brew install redis)",
};

/// Much longer than a start takes, even on a busy machine, so that only a broken server exceeds it.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
const PORTS_TRIED: usize = 20;

const NEEDS_TLS: &str = "This test needs a redis-server that is built with TLS, as Debian's is.";

/// The user of the kit's own commands, which work whatever a test does to the other users.
const KIT_USER: &str = "sluice-testkit";

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
    port: ReservedPort,
}

/// What stays the same over restarts.
#[derive(Debug)]
struct Launch {
    options: RedisOptions,
    program: PathBuf,
    directory: TempDir,
    tls: Option<TlsFiles>,
    clock: Option<MovableClock>,
}

/// Why a process did not start.
enum StartError {
    PortTaken,
    Broken(String),
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
        let directory = TempDir::with_prefix("sluice-redis-")
            .unwrap_or_else(|error| panic!("could not create a directory for redis: {error}"));
        let launch = Launch {
            program: match &options.program {
                Some(path) => path.clone(),
                None => REDIS_SERVER.path(),
            },
            tls: options.tls.then(|| TlsFiles::create(directory.path())),
            clock: options.movable_clock.then(|| MovableClock::create(directory.path())),
            directory,
            options,
        };
        for _ in 0..PORTS_TRIED {
            let port = ReservedPort::new();
            match launch.run(port.number()) {
                Ok(child) => {
                    return Self { child: Mutex::new(child), launch, port };
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
        self.port.number()
    }

    /// Returns the URL for clients, such as `redis://127.0.0.1:12345`; with TLS its scheme is
    /// `rediss`, and it contains the user and the password if there are any.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.launch.tls.is_some() { "rediss" } else { "redis" };
        let login = self.launch.options.user.as_ref().map_or_else(
            String::new,
            |User { name, password }| {
                let name = if name == "default" { "" } else { name };
                format!("{}:{}@", url_escaped(name), url_escaped(password))
            },
        );
        format!("{scheme}://{login}127.0.0.1:{}", self.port())
    }

    /// Returns the PEM file of the authority that signed the server's certificate.
    ///
    /// # Panics
    /// When the server was started without TLS.
    #[must_use]
    #[track_caller]
    pub fn ca_file(&self) -> &Path {
        match &self.launch.tls {
            Some(files) => &files.authority,
            None => panic!("this redis was started without TLS: use RedisServer::start_tls"),
        }
    }

    /// Returns the server's directory, which contains its dump or append-only files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.launch.directory.path()
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
        match &self.launch.clock {
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
            match self.launch.run(self.port()) {
                Ok(child) => break child,
                Err(StartError::PortTaken) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(StartError::PortTaken) => {
                    panic!("another process uses port {}", self.port())
                }
                Err(StartError::Broken(problem)) => panic!("{problem}"),
            }
        };
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

// === impl Launch ===

impl Launch {
    /// Starts the process and waits until it responds.
    fn run(&self, port: u16) -> Result<OwnedChild, StartError> {
        let socket = self.socket();
        if let Err(error) = fs::remove_file(&socket)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(StartError::Broken(format!(
                "could not remove {}: {error}",
                socket.display()
            )));
        }
        let mut child = OwnedChild::spawn(&mut self.process(port));
        let deadline = Instant::now() + START_TIMEOUT;
        // The socket is in our own directory, and Redis opens it after its port. So a reply on it
        // comes from the process that we started, and that process has the port.
        while self.command(&["PING"]).is_err() {
            if let Some(exit) = child.exited() {
                let log = self.log();
                return Err(if log.contains("Address already in use") {
                    StartError::PortTaken
                } else {
                    let hint = if self.tls.is_some() && !log.contains("Ready to accept") {
                        NEEDS_TLS
                    } else {
                        ""
                    };
                    StartError::Broken(format!(
                        "{} ended with {exit}:\n{log}{hint}",
                        self.program.display()
                    ))
                });
            }
            if Instant::now() > deadline {
                let program = self.program.display();
                return Err(StartError::Broken(format!(
                    "{program} did not respond within {START_TIMEOUT:?}:\n{}",
                    self.log()
                )));
            }
            std::thread::sleep(POLL);
        }
        Ok(child)
    }

    fn process(&self, port: u16) -> Command {
        let log = File::create(self.log_file())
            .unwrap_or_else(|error| panic!("could not write redis' log: {error}"));
        let log_copy =
            log.try_clone().unwrap_or_else(|error| panic!("could not share redis' log: {error}"));
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_copy);
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
        ]);
        command.arg("--dir").arg(self.directory.path()).arg("--unixsocket").arg(self.socket());
        let port = port.to_string();
        match &self.tls {
            None => command.args(["--port", &port]),
            Some(files) => command
                .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"])
                .arg("--tls-ca-cert-file")
                .arg(&files.authority)
                .arg("--tls-cert-file")
                .arg(&files.certificate)
                .arg("--tls-key-file")
                .arg(&files.key),
        };
        command.args(["--user", KIT_USER, "on", &format!(">{KIT_USER}"), "~*", "&*", "+@all"]);
        if let Some(User { name, password }) = &self.options.user {
            command.args([
                "--user",
                name,
                "reset",
                "on",
                &format!(">{password}"),
                "~*",
                "&*",
                "+@all",
            ]);
            if name != "default" {
                command.args(["--user", "default", "off"]);
            }
        }
        command.args(&self.options.args);
        if let Some(clock) = &self.clock {
            clock.apply(&mut command);
        }
        command
    }

    fn command<A: AsRef<[u8]>>(&self, parts: &[A]) -> Result<Reply, CommandError> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(COMMAND_TIMEOUT))?;
        stream.set_write_timeout(Some(COMMAND_TIMEOUT))?;
        let mut stream = BufReader::new(stream);
        reply::send(stream.get_mut(), &["AUTH", KIT_USER, KIT_USER])?;
        reply::receive(&mut stream)?;
        reply::send(stream.get_mut(), parts)?;
        reply::receive(&mut stream)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("redis.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

/// Percent-encodes the characters that have a meaning in the login of a URL.
fn url_escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
