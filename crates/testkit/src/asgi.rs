//! A Python application on uvicorn, as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::ports::ReservedPort;
use crate::programs::Program;
use crate::server::OwnedServer;

const PYTHON: Program = Program {
    name: "asgi-python",
    variable: "SLUICE_ASGI_PYTHON",
    remedy: "python3 -m venv somewhere, and pip install there httpx, starlette and uvicorn",
};

/// A running ASGI application; killed on drop. When a test fails, its log is printed.
#[derive(Debug)]
pub struct AsgiApp {
    server: OwnedServer,
}

impl AsgiApp {
    /// Starts the application `app` of `app.py` in `directory`, with these variables in its
    /// environment, and waits until a GET request of `path` gets a response with status 200.
    ///
    /// # Panics
    /// When Python or a package is not installed (the message says how to install it), or when the
    /// application ends early or does not respond so.
    #[must_use]
    #[track_caller]
    pub fn start(directory: &Path, env: &[(&str, &str)], path: &str) -> Self {
        let port = ReservedPort::new();
        let number = port.number().to_string();
        let server = OwnedServer::start(port, path, |_| {
            let mut command = Command::new(PYTHON.path());
            command
                .args(["-B", "-m", "uvicorn", "app:app", "--port", &number, "--app-dir"])
                .arg(directory);
            command.envs(env.iter().copied());
            command
        });
        Self { server }
    }

    /// Asks the application to stop, and waits until it has ended.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(mut self) {
        self.server.stop();
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
}
