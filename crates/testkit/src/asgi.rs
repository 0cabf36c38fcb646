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
    /// environment, and waits until a GET of `path` is answered 200.
    ///
    /// # Panics
    /// When Python or a package is not installed (the message says how), it ends early, or does not
    /// answer so.
    #[must_use]
    #[track_caller]
    pub fn start(directory: &Path, env: &[(&str, &str)], path: &str) -> Self {
        let door = ReservedPort::new();
        let port = door.number().to_string();
        let server = OwnedServer::start(door, path, |_| {
            let mut command = Command::new(PYTHON.path());
            command
                .args(["-B", "-m", "uvicorn", "app:app", "--port", &port, "--app-dir"])
                .arg(directory);
            command.envs(env.iter().copied());
            command
        });
        Self { server }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
}
