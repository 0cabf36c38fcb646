//! A real Prometheus that scrapes replicas.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use sluice_testkit::{Program, ReservedPort, eventually_async};
use tempfile::TempDir;

use crate::http::{Client, Request};

const PROMETHEUS: Program = Program {
    name: "prometheus",
    variable: "SLUICE_PROMETHEUS",
    remedy: "apt-get install --no-install-recommends prometheus   (or brew install prometheus)",
};

/// The value of the label `job` of the replicas.
pub const JOB: &str = "sluice";

/// A running Prometheus; killed on drop.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    directory: TempDir,
    port: ReservedPort,
    authorization: Option<String>,
}

/// One series of a query's result: its labels, and its value now.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    labels: Value,
    /// The value.
    pub value: f64,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes `replicas` twice per second and evaluates the rules in the
    /// files `rules`.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(replicas: &[SocketAddr], rules: &[String]) -> Self {
        Self::start_with_alertmanagers(replicas, rules, &[]).await
    }

    /// Starts a Prometheus as [`Prometheus::start`] does, which sends its alerts to these
    /// Alertmanagers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with_alertmanagers(
        replicas: &[SocketAddr],
        rules: &[String],
        alertmanagers: &[SocketAddr],
    ) -> Self {
        let mut config = "global: { scrape_interval: 500ms, scrape_timeout: 500ms, \
                          evaluation_interval: 500ms }\n"
            .to_owned();
        let list = |targets: &[SocketAddr]| {
            targets.iter().map(|target| format!("\"{target}\"")).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(
            config,
            "scrape_configs: [{{ job_name: {JOB}, static_configs: [{{ targets: [{}] }}] }}]",
            list(replicas)
        );
        let _ = writeln!(
            config,
            "alerting: {{ alertmanagers: [{{ static_configs: [{{ targets: [{}] }}] }}] }}",
            list(alertmanagers)
        );
        let _ = writeln!(config, "rule_files: [{}]", rules.join(", "));
        Self::start_with_config(|_| config, &[], None).await
    }

    /// Starts a Prometheus with the configuration that `config` returns for the address on which it
    /// will listen, and with further command-line arguments. `authorization` is sent with each
    /// request as the header field of that name.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with_config(
        config: impl FnOnce(SocketAddr) -> String,
        arguments: &[String],
        authorization: Option<&str>,
    ) -> Self {
        let directory =
            TempDir::with_prefix("sluice-prometheus-").expect("a directory can be created");
        let port = ReservedPort::new();
        let config = config((Ipv4Addr::LOCALHOST, port.number()).into());
        fs::write(directory.path().join("prometheus.yml"), config)
            .expect("the directory is writable");
        let child = Self::command(directory.path(), port.number())
            .args(arguments)
            .spawn()
            .expect("prometheus can be started");
        let authorization = authorization.map(str::to_owned);
        let prometheus = Self { child, directory, port, authorization };
        let mut client = Client::of(prometheus.address());
        eventually_async("prometheus is ready", async || {
            match client.try_send(&prometheus.request("/-/ready")).await {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(response.to_string()),
                Err(error) => Err(format!("{error}: {}", prometheus.log())),
            }
        })
        .await;
        prometheus
    }

    fn command(directory: &Path, port: u16) -> Command {
        let log =
            fs::File::create(directory.join("prometheus.log")).expect("the directory is writable");
        let mut command = Command::new(PROMETHEUS.path());
        command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--log.level=warn",
        ]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port.number()).into()
    }

    fn request(&self, path: &str) -> Request {
        let request = Request::get(path);
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }

    /// Returns its log, which contains warnings and errors only.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("prometheus.log")).unwrap_or_default()
    }

    /// Evaluates a query now, and returns the series of its result.
    ///
    /// # Panics
    /// When Prometheus rejects the query.
    pub async fn query(&self, query: &str) -> Vec<Series> {
        let response = self.api(&format!("query?query={}", encoded(query))).await;
        let result =
            response["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {response}"));
        result
            .iter()
            .map(|series| Series::read(series).unwrap_or_else(|| panic!("{query}: {series}")))
            .collect()
    }

    /// Requests a path of its API, such as `targets`, and returns the response's body.
    ///
    /// # Panics
    /// When the response is an error.
    pub async fn api(&self, path: &str) -> Value {
        let request = self.request(&format!("/api/v1/{path}"));
        let response = Client::of(self.address()).send(&request).await;
        assert_eq!(
            (response.status, &response.json()["status"]),
            (200, &"success".into()),
            "{path}: {response}"
        );
        response.json()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Series {
    fn read(series: &Value) -> Option<Self> {
        let value = series["value"][1].as_str()?.parse().ok()?;
        Some(Self { labels: series["metric"].clone(), value })
    }

    /// Returns the value of a label; empty when the series does not have it.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }
}

/// Percent-encodes a text for the query of a URL.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = if byte.is_ascii_alphanumeric() {
            write!(encoded, "{}", char::from(byte))
        } else {
            write!(encoded, "%{byte:02X}")
        };
        encoded
    })
}
