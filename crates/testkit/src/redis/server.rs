//! The server's life: start, look inside, pause, kill, restart, end.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

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

/// Far more than a start takes, so that only a broken server, never a busy machine, runs into it.
const START_PATIENCE: Duration = Duration::from_secs(30);
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(2);
const PORTS_TRIED: usize = 20;

const NEEDS_TLS: &str = "This test needs a redis-server that is built with TLS, as Debian's is.";

/// The kit's own way in: whatever a test does to the other users, it still sees the server.
const KEEPER: &str = "sluice-testkit";

/// A redis-server of one's own on 127.0.0.1, with its own port and directory; ended on drop.
///
/// Persistence is off unless asked for. The kit's own commands travel over a Unix socket in the
/// server's directory, as a user of their own, so they work with TLS and passwords as without.
///
/// All methods take `&self`: one task can pause or kill the server while others use it.
#[derive(Debug)]
pub struct RedisServer {
    child: Mutex<OwnedChild>,
    launch: Launch,
    port: ReservedPort,
}

/// Everything about a server that outlives its process.
#[derive(Debug)]
struct Launch {
    options: RedisOptions,
    program: PathBuf,
    directory: TempDir,
    tls: Option<TlsFiles>,
}

/// Why a process did not come up.
enum StartError {
    PortTaken,
    Broken(String),
}

// === impl RedisOptions ===

impl RedisOptions {
    /// Starts the server and waits until it answers.
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
    /// Starts a plain server, and waits until it answers.
    ///
    /// # Panics
    /// As [`RedisOptions::start`].
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        RedisOptions::new().start()
    }

    /// Starts a server with more arguments, `&["--appendonly", "yes"]` for one.
    ///
    /// # Panics
    /// As [`RedisOptions::start`].
    #[must_use]
    #[track_caller]
    pub fn start_with(args: &[&str]) -> Self {
        RedisOptions::new().args(args).start()
    }

    /// Starts a server that speaks TLS only; clients trust [`RedisServer::ca_file`].
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
            .unwrap_or_else(|error| panic!("could not make a directory for redis: {error}"));
        let launch = Launch {
            program: match &options.program {
                Some(path) => path.clone(),
                None => REDIS_SERVER.path(),
            },
            tls: options.tls.then(|| TlsFiles::create(directory.path())),
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
        panic!("redis found {PORTS_TRIED} ports taken, one after the other:\n{}", launch.log())
    }

    /// The port on 127.0.0.1, the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What a client connects to: `redis://127.0.0.1:12345`, with `rediss` and user and password
    /// where they apply.
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

    /// The PEM file of the authority that signed the server's certificate.
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

    /// The server's directory, where its dump or append-only files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.launch.directory.path()
    }

    /// The process' id; another one after a restart.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// What the server has logged since it was last started.
    #[must_use]
    pub fn log(&self) -> String {
        self.launch.log()
    }

    /// Sends one command, `&["SCRIPT", "FLUSH"]`, and returns the reply.
    ///
    /// # Panics
    /// When Redis does not answer, or answers with an error.
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

    /// Sends one command whose failure is a result too.
    ///
    /// # Errors
    /// When Redis does not answer within ten seconds, or answers with an error.
    pub fn try_command<A: AsRef<[u8]>>(&self, parts: &[A]) -> Result<Reply, CommandError> {
        self.launch.command(parts)
    }

    /// One field of `INFO everything`: `used_memory`, `used_cpu_user`, `cmdstat_evalsha` ...
    ///
    /// # Panics
    /// When Redis does not answer, or has no such field.
    #[must_use]
    #[track_caller]
    pub fn info(&self, field: &str) -> String {
        let info = self.command(&["INFO", "everything"]).text();
        match info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')) {
            Some(value) => value.trim_end().to_owned(),
            None => panic!("INFO has no field `{field}`:\n{info}"),
        }
    }

    /// Stops the process where it stands (SIGSTOP): connections stay open and nothing is answered.
    pub fn pause(&self) {
        self.child().pause();
    }

    /// Lets a paused process go on (SIGCONT).
    pub fn resume(&self) {
        self.child().resume();
    }

    /// Ends the process at once (SIGKILL); the port stays reserved for [`RedisServer::restart`].
    pub fn kill(&self) {
        self.child().kill();
    }

    /// Starts the server again on the same port, killing it first if it runs.
    ///
    /// Its data is gone, unless its arguments asked for persistence; scripts are forgotten in any
    /// case.
    ///
    /// # Panics
    /// When it does not come up again.
    #[track_caller]
    pub fn restart(&self) {
        let mut child = self.child();
        child.kill();
        let deadline = Instant::now() + START_PATIENCE;
        *child = loop {
            match self.launch.run(self.port()) {
                Ok(child) => break child,
                Err(StartError::PortTaken) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(StartError::PortTaken) => {
                    panic!("someone else took port {} for good", self.port())
                }
                Err(StartError::Broken(problem)) => panic!("{problem}"),
            }
        };
    }

    fn child(&self) -> MutexGuard<'_, OwnedChild> {
        // A test that panicked elsewhere must not keep this one from cleaning up.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // Before the directory goes, lest the server writes into it once more.
        self.kill();
    }
}

// === impl Launch ===

impl Launch {
    /// Starts the process and waits until it answers.
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
        let deadline = Instant::now() + START_PATIENCE;
        // The socket is in our own directory, and Redis opens it after its port: who answers there
        // is the process we started, and it has the port.
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
                    "{program} did not answer within {START_PATIENCE:?}:\n{}",
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
        let log_too =
            log.try_clone().unwrap_or_else(|error| panic!("could not share redis' log: {error}"));
        let mut command = Command::new(&self.program);
        command.current_dir(self.directory.path()).stdin(Stdio::null()).stdout(log).stderr(log_too);
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
        command.args(["--user", KEEPER, "on", &format!(">{KEEPER}"), "~*", "&*", "+@all"]);
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
        command
    }

    fn command<A: AsRef<[u8]>>(&self, parts: &[A]) -> Result<Reply, CommandError> {
        let stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(COMMAND_PATIENCE))?;
        stream.set_write_timeout(Some(COMMAND_PATIENCE))?;
        let mut stream = BufReader::new(stream);
        reply::send(stream.get_mut(), &["AUTH", KEEPER, KEEPER])?;
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

/// Percent-encodes what has a meaning of its own in the login of a URL.
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
