//! A real OpenTelemetry collector, which logs what it receives.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use sluice_testkit::{Program, ReservedPort, eventually};
use tempfile::TempDir;

const ROTEL: Program =
    Program { name: "rotel-agent", variable: "SLUICE_ROTEL", remedy: "cargo xtask tools" };

/// A running Rotel that receives OTLP over gRPC and HTTP; killed on drop.
#[derive(Debug)]
pub struct Rotel {
    child: Child,
    directory: TempDir,
    grpc: ReservedPort,
    http: ReservedPort,
}

impl Rotel {
    /// Starts Rotel and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let directory = TempDir::with_prefix("sluice-rotel-").expect("a directory can be created");
        let (grpc, http) = (ReservedPort::new(), ReservedPort::new());
        let log = || {
            fs::File::options()
                .create(true)
                .append(true)
                .open(directory.path().join("log"))
                .expect("the directory is writable")
        };
        let mut command = Command::new(ROTEL.path());
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(log()).stderr(log());
        command.args(["start", "--exporter", "blackhole", "--debug-log-verbosity", "detailed"]);
        command.args(["--debug-log", "traces", "--debug-log", "metrics"]);
        command
            .arg(format!("--otlp-grpc-endpoint={}", local(&grpc)))
            .arg(format!("--otlp-http-endpoint={}", local(&http)));
        let child = command.spawn().expect("rotel can be started");
        let rotel = Self { child, directory, grpc, http };
        eventually("rotel listens", || {
            let listens = |port| std::net::TcpStream::connect(local(port)).is_ok();
            if listens(&rotel.grpc) && listens(&rotel.http) { Ok(()) } else { Err(rotel.log()) }
        });
        rotel
    }

    /// Returns the address for OTLP over gRPC.
    #[must_use]
    pub fn grpc(&self) -> SocketAddr {
        local(&self.grpc)
    }

    /// Returns the address for OTLP over HTTP.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        local(&self.http)
    }

    /// Returns its log, which contains every span and metric that it received.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

fn local(port: &ReservedPort) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port.number()).into()
}

impl Drop for Rotel {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
