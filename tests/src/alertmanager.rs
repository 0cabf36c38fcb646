//! A real Alertmanager.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use sluice_testkit::{Program, ReservedPort, eventually_async};
use tempfile::TempDir;

use crate::http::{Client, Request};

const ALERTMANAGER: Program = Program {
    name: "prometheus-alertmanager",
    variable: "SLUICE_ALERTMANAGER",
    remedy: "apt-get install --no-install-recommends prometheus-alertmanager",
};

/// A running Alertmanager; killed on drop.
#[derive(Debug)]
pub struct Alertmanager {
    child: Child,
    port: ReservedPort,
    _directory: TempDir,
}

impl Alertmanager {
    /// Starts an Alertmanager with this configuration.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(config: &str) -> Self {
        let directory =
            TempDir::with_prefix("sluice-alertmanager-").expect("a directory can be created");
        let port = ReservedPort::new();
        fs::write(directory.path().join("alertmanager.yml"), config)
            .expect("the directory is writable");
        let log = directory.path().join("alertmanager.log");
        let mut command = Command::new(ALERTMANAGER.path());
        command.current_dir(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&log).expect("the directory is writable"));
        command.args([
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            "--cluster.listen-address=",
            "--log.level=warn",
        ]);
        command.arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
        let alertmanager = Self {
            child: command.spawn().expect("alertmanager can be started"),
            port,
            _directory: directory,
        };
        let mut client = Client::of(alertmanager.address());
        eventually_async("alertmanager is ready", async || {
            match client.try_send(&Request::get("/-/ready")).await {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(response.to_string()),
                Err(error) => {
                    Err(format!("{error}: {}", fs::read_to_string(&log).unwrap_or_default()))
                }
            }
        })
        .await;
        alertmanager
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
