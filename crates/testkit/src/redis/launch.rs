//! How a server's process is started, now and again.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::clock::MovableClock;
use super::options::{BusPort, RedisOptions, Role, User};
use super::program::RedisProgram;
use super::reply::{self, CommandError, Reply};
use super::tls::TlsFiles;
use crate::child::OwnedChild;
use crate::ports::ReservedPort;

/// Much longer than a start takes, even on a busy machine, so that only a broken server exceeds it.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const POLL: Duration = Duration::from_millis(2);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

const NEEDS_TLS: &str = "This test needs a redis-server that is built with TLS, as Debian's is.";

/// The user of the kit's own commands, which work whatever a test does to the other users. Its
/// password is its name.
pub(super) const KIT_USER: &str = "sluice-testkit";

/// What stays the same over restarts.
#[derive(Debug)]
pub(super) struct Launch {
    options: RedisOptions,
    program: PathBuf,
    directory: TempDir,
    tls: Option<TlsFiles>,
    clock: Option<MovableClock>,
}

/// The ports of a server.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) client: ReservedPort,
    bus: Bus,
}

/// The port of a cluster's bus.
#[derive(Debug)]
enum Bus {
    None,
    Own(ReservedPort),
    Above,
}

/// Why a process did not start.
pub(super) enum StartError {
    PortTaken,
    Broken(String),
}

// === impl Ports ===

impl Ports {
    /// Returns the port of a cluster's bus.
    pub(super) fn bus(&self) -> Option<u16> {
        match &self.bus {
            Bus::None => None,
            Bus::Own(port) => Some(port.number()),
            Bus::Above => Some(self.client.number() + 10_000),
        }
    }
}

// === impl Launch ===

impl Launch {
    pub(super) fn new(options: RedisOptions) -> Self {
        let directory = TempDir::with_prefix("sluice-redis-")
            .unwrap_or_else(|error| panic!("could not create a directory for redis: {error}"));
        let certificate = options.certificate.clone();
        let launch = Self {
            program: match &options.program {
                Some(path) => path.clone(),
                None => RedisProgram::Redis.path(),
            },
            tls: options
                .tls
                .then(|| certificate.unwrap_or_else(|| TlsFiles::create(directory.path()))),
            clock: options.movable_clock.then(|| MovableClock::create(directory.path())),
            directory,
            options,
        };
        if let Role::Sentinel(configuration) = &launch.options.role {
            // A sentinel writes its users into its file, and must not find them twice.
            let users: String =
                launch.users().iter().map(|user| format!("user {}\n", user.join(" "))).collect();
            fs::write(launch.sentinel_file(), configuration.clone() + &users)
                .unwrap_or_else(|error| panic!("could not write a sentinel's file: {error}"));
        }
        launch
    }

    /// Reserves ports that the server has not tried yet.
    pub(super) fn reserve_ports(&self) -> Ports {
        match self.options.role {
            Role::Plain | Role::Sentinel(_) => {
                Ports { client: ReservedPort::new(), bus: Bus::None }
            }
            Role::ClusterNode(BusPort::Own) => {
                Ports { client: ReservedPort::new(), bus: Bus::Own(ReservedPort::new()) }
            }
            Role::ClusterNode(BusPort::Above) => {
                Ports { client: ReservedPort::with_bus_above(), bus: Bus::Above }
            }
        }
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    pub(super) fn clock(&self) -> Option<&MovableClock> {
        self.clock.as_ref()
    }

    pub(super) fn user(&self) -> Option<&User> {
        self.options.user.as_ref()
    }

    /// Starts the process and waits until it responds.
    pub(super) fn run(&self, ports: &Ports) -> Result<OwnedChild, StartError> {
        let socket = self.socket();
        if let Err(error) = fs::remove_file(&socket)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(StartError::Broken(format!(
                "could not remove {}: {error}",
                socket.display()
            )));
        }
        let mut child = OwnedChild::spawn(&mut self.process(ports));
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

    fn process(&self, ports: &Ports) -> Command {
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
        let is_sentinel = matches!(self.options.role, Role::Sentinel(_));
        if is_sentinel {
            command.arg(self.sentinel_file()).arg("--sentinel");
        }
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--daemonize", "no", "--dir"]).arg(self.directory.path());
        command.arg("--unixsocket").arg(self.socket());
        self.add_ports(&mut command, ports);
        if !is_sentinel {
            for user in self.users() {
                command.arg("--user").args(user);
            }
        }
        command.args(&self.options.args);
        if let Some(clock) = &self.clock {
            clock.apply(&mut command);
        }
        command
    }

    fn add_ports(&self, command: &mut Command, ports: &Ports) {
        let port = ports.client.number().to_string();
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
        if let Bus::Own(port) = &ports.bus {
            command.args(["--cluster-port", &port.number().to_string()]);
        }
    }

    /// Returns the words that define each user.
    fn users(&self) -> Vec<Vec<String>> {
        let all = ["~*", "&*", "+@all"];
        let mut users = vec![vec![KIT_USER.to_owned(), "on".into(), format!(">{KIT_USER}")]];
        if let Some(User { name, password }) = &self.options.user {
            users.push(vec![name.clone(), "reset".into(), "on".into(), format!(">{password}")]);
        }
        for user in &mut users {
            user.extend(all.map(str::to_owned));
        }
        if self.options.user.as_ref().is_some_and(|user| user.name != "default") {
            users.push(vec!["default".into(), "off".into()]);
        }
        users
    }

    pub(super) fn command<A: AsRef<[u8]>>(&self, parts: &[A]) -> Result<Reply, CommandError> {
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

    fn sentinel_file(&self) -> PathBuf {
        self.directory.path().join("sentinel.conf")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.path().join("redis.log")
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}
