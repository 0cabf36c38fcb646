//! Runs the compose stack, and asks it what it promises.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::engine::{Engine, output};
use super::stand_ins::{self, Kind};
use crate::report::Report;
use crate::shell::{program, succeeds};
use crate::tools::TOOLS;

const FILE: &str = "docker-compose.metrics.yml";
/// Without the load balancer and Grafana, for which Debian has no package.
const SERVICES: [&str; 4] = ["redis", "sluice", "alertmanager", "prometheus"];
/// The official image of Redis also switches off its protected mode.
const REDIS: &str = r#""/bin/sh", "-c", "exec \"$@\" --protected-mode no", "--""#;
const REPLICAS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(180);
/// The burst of the limit that is asked, as `deploy/compose/config/sluice.yaml` has it.
const BURST: usize = 10;

/// Runs the stack, and checks it.
pub(super) fn check(report: &mut Report, engine: &Engine, root: &Path, stand_ins: bool) {
    let Some(compose) = compose(engine) else {
        return report
            .leave_out("compose stack", "there is no Docker Compose: `cargo xtask tools`");
    };
    if !succeeds(program("curl").arg("--version")) {
        return report.leave_out("compose stack", "there is no `curl`");
    }
    let text = std::fs::read_to_string(root.join(FILE)).unwrap_or_default()
        + &std::fs::read_to_string(root.join("docker-compose.yml")).unwrap_or_default();
    let services = [
        ("redis:", Kind::Service { package: "redis-server", entry: REDIS }),
        (
            "prom/prometheus:",
            Kind::Service { package: "prometheus", entry: r#""/usr/bin/prometheus""# },
        ),
        (
            "prom/alertmanager:",
            Kind::Service {
                package: "prometheus-alertmanager",
                entry: r#""/usr/bin/prometheus-alertmanager""#,
            },
        ),
    ];
    for (name, kind) in services {
        let image = text.lines().find_map(|line| {
            line.trim().strip_prefix("image: ").filter(|image| image.starts_with(name))
        });
        let Some(image) = image else {
            return report.fail("compose stack", format!("no service has an image `{name}`"));
        };
        if !stand_ins::provide(report, engine, kind, image, stand_ins) {
            return report.leave_out("compose stack", &format!("{image} cannot be had"));
        }
    }
    let mut up = compose();
    if report.run({
        up.args(["up", "--detach", "--no-build"]).args(SERVICES);
        up
    }) {
        ask(report, engine, &compose);
    }
    report.leave_out("load balancer and Grafana", "no package of Debian can stand in for them");
    let mut down = compose();
    down.args(["down", "--volumes", "--timeout", "40"]);
    report.run(down);
}

/// Returns what makes commands for Docker Compose.
fn compose(engine: &Engine) -> Option<impl Fn() -> Command + '_> {
    let is_plugin = succeeds(engine.docker().args(["compose", "version"]));
    let found = TOOLS.iter().find(|tool| tool.name == "docker-compose-v2");
    let by_itself = found.and_then(|tool| tool.find().ok().flatten());
    if !is_plugin && by_itself.is_none() {
        return None;
    }
    Some(move || {
        let mut command = match &by_itself {
            Some(path) if !is_plugin => engine.client(path),
            _ => {
                let mut docker = engine.docker();
                docker.arg("compose");
                docker
            }
        };
        command.args(["--file", FILE]);
        command
    })
}

fn ask(report: &mut Report, engine: &Engine, compose: &impl Fn() -> Command) {
    let mut addresses = Vec::new();
    let found = report.check("three replicas run, and are ready", || {
        let replicas = output(compose().args(["ps", "--quiet", "sluice"]))?;
        for replica in replicas.lines() {
            let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            let address = output(engine.docker().args(["inspect", "--format", format, replica]))?;
            eventually(|| curl(&[&format!("http://{address}:8000/ready")]).map(drop))?;
            addresses.push(address);
        }
        let count = addresses.len();
        Ok(if count == REPLICAS { Vec::new() } else { vec![format!("{count} replicas run")] })
    });
    if !found {
        return;
    }
    report.check("three replicas share one limit", || {
        let body = r#"{"client": "e2e", "path": "/api/v1/blueprints/x"}"#;
        let started = Instant::now();
        let mut allowed = 0;
        for address in addresses.iter().cycle().take(REPLICAS * BURST) {
            let status = output(program("curl").args([
                "--silent",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
                "--header",
                "content-type: application/json",
                "--data",
                body,
                &format!("http://{address}:8000/v1/check"),
            ]))?;
            allowed += usize::from(status == "200");
        }
        // 100 a minute come back while this asks.
        let refilled = started.elapsed().as_millis() * 100 / 60_000 + 1;
        let most = BURST + usize::try_from(refilled).unwrap_or(usize::MAX);
        let is_right = (BURST..=most).contains(&allowed);
        Ok(if is_right { Vec::new() } else { vec![format!("{allowed} allowed, at most {most}")] })
    });
    report.check("Prometheus scrapes every replica", || {
        eventually(|| prometheus("count(sluice_build_info)", &format!("\"{REPLICAS}\"")))
            .map(|()| Vec::new())
    });
    report.check("a replica that ends raises an alert", || {
        let replicas = output(compose().args(["ps", "--quiet", "sluice"]))?;
        let one = replicas.lines().next().unwrap_or_default();
        output(engine.docker().args(["stop", "--time", "40", one]))?;
        let alerts = "ALERTS{alertname=~\"SluiceReplicasMissing|SluiceReplicaDown\"}";
        eventually(|| prometheus(alerts, "alertstate")).map(|()| Vec::new())
    });
}

/// Asks Prometheus, whose answer must contain `expected`.
fn prometheus(query: &str, expected: &str) -> Result<(), String> {
    let query = format!("query={query}");
    let url = "http://127.0.0.1:9090/api/v1/query";
    let answer = curl(&["--get", "--data-urlencode", &query, url])?;
    if answer.contains(expected) { Ok(()) } else { Err(format!("no {expected} in {answer}")) }
}

fn curl(arguments: &[&str]) -> Result<String, String> {
    output(program("curl").args(["--silent", "--show-error", "--fail"]).args(arguments))
}

/// Tries again until it succeeds, for a few minutes.
fn eventually(attempt: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let until = Instant::now() + TIMEOUT;
    loop {
        match attempt() {
            Err(_) if Instant::now() < until => sleep(Duration::from_secs(1)),
            ended => return ended,
        }
    }
}
