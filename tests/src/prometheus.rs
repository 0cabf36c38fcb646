//! A real Prometheus that scrapes replicas, and answers queries about them.

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

use crate::http::Client;

const PROMETHEUS: Program = Program {
    name: "prometheus",
    variable: "SLUICE_PROMETHEUS",
    remedy: "apt-get install --no-install-recommends prometheus   (or brew install prometheus)",
};

/// What the replicas are called in the label `job`.
pub const JOB: &str = "sluice";

/// A running Prometheus; killed on drop.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    directory: TempDir,
    port: ReservedPort,
}

/// One series of an answer: its labels, and its value now.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    labels: Value,
    /// The value.
    pub value: f64,
}

impl Prometheus {
    /// Starts to scrape `replicas` twice a second, and to evaluate the rules in the files `rules`.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(replicas: &[SocketAddr], rules: &[String]) -> Self {
        Self::alerting(replicas, rules, &[]).await
    }

    /// As [`Prometheus::start`], and tells what is wrong to these Alertmanagers.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn alerting(
        replicas: &[SocketAddr],
        rules: &[String],
        alertmanagers: &[SocketAddr],
    ) -> Self {
        let directory =
            TempDir::with_prefix("sluice-prometheus-").expect("a directory can be made");
        let port = ReservedPort::new();
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
        fs::write(directory.path().join("prometheus.yml"), config).expect("the directory is ours");
        let child = Self::command(directory.path(), port.number())
            .spawn()
            .expect("prometheus can be started");
        let prometheus = Self { child, directory, port };
        let mut client = prometheus.client();
        eventually_async("prometheus is ready", async || {
            match client.try_send(&crate::http::Request::get("/-/ready")).await {
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
            fs::File::create(directory.join("prometheus.log")).expect("the directory is ours");
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

    fn client(&self) -> Client {
        Client::of((Ipv4Addr::LOCALHOST, self.port.number()).into())
    }

    /// What it has complained about.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("prometheus.log")).unwrap_or_default()
    }

    /// The series that a query comes to now.
    ///
    /// # Panics
    /// When the query is refused.
    pub async fn query(&self, query: &str) -> Vec<Series> {
        let response = self.api(&format!("query?query={}", encoded(query))).await;
        let result =
            response["data"]["result"].as_array().unwrap_or_else(|| panic!("{query}: {response}"));
        result
            .iter()
            .map(|series| Series::read(series).unwrap_or_else(|| panic!("{query}: {series}")))
            .collect()
    }

    /// What a path of its API, `targets`, answers.
    ///
    /// # Panics
    /// When that is no success.
    pub async fn api(&self, path: &str) -> Value {
        let response = self.client().get(&format!("/api/v1/{path}")).await;
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
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Series {
    fn read(series: &Value) -> Option<Self> {
        let value = series["value"][1].as_str()?.parse().ok()?;
        Some(Self { labels: series["metric"].clone(), value })
    }

    /// A label's value; empty when it has none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }
}

/// A text as part of a URL's query.
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
