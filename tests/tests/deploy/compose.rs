//! `docker-compose.yml` and `docker-compose.metrics.yml`, as Docker Compose reads them.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use sluice_testkit::{SluiceOptions, built_sluice};

use crate::programs::{DOCKER_COMPOSE, read, root, yaml_document};

const FLEET: &str = "docker-compose.yml";
pub(crate) const WITH_METRICS: &str = "docker-compose.metrics.yml";

/// Resolves a compose file without the environment variables of the test run.
#[track_caller]
pub(crate) fn resolved(path: &str) -> Value {
    resolved_with(&[path], &[])
}

/// Resolves compose files of which each overrides those before it, with these environment
/// variables.
#[track_caller]
pub(crate) fn resolved_with(paths: &[&str], variables: &[(&str, &str)]) -> Value {
    let output = Command::new(DOCKER_COMPOSE.path())
        .args(["--env-file", "/dev/null"])
        .args(paths.iter().flat_map(|path| ["--file", path]))
        .args(["config", "--format", "json"])
        .current_dir(root())
        .envs(variables.iter().copied())
        .output()
        .expect("compose runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{paths:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("compose prints JSON")
}

fn services(compose: &Value) -> &serde_json::Map<String, Value> {
    compose["services"].as_object().expect("services are a table")
}

fn published(compose: &Value) -> BTreeMap<String, String> {
    let ports = services(compose).iter().flat_map(|(name, service)| {
        let ports = service["ports"].as_array().cloned().unwrap_or_default();
        ports.into_iter().map(move |port| (text(&port["published"]).to_owned(), name.clone()))
    });
    let mut published = BTreeMap::new();
    for (port, name) in ports {
        assert_eq!(published.insert(port.clone(), name), None, "{port} is published twice");
    }
    published
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} should be a string"))
}

/// Runs `sluice` with the settings of the compose file and no other environment variables.
fn sluice(args: &[&str]) -> Output {
    let compose = resolved(FLEET);
    let settings = compose["services"]["sluice"]["environment"]
        .as_object()
        .expect("the environment is a table");
    let settings = settings.iter().map(|(name, value)| (name, text(value)));
    let mut command = Command::new(built_sluice());
    command.args(args).current_dir(root()).env_clear().envs(settings).output().expect("sluice runs")
}

#[test]
fn three_replicas_are_behind_a_load_balancer() {
    let compose = resolved(FLEET);
    assert_eq!(services(&compose).keys().collect::<Vec<_>>(), ["load-balancer", "redis", "sluice"]);
    assert_eq!(compose["services"]["sluice"]["deploy"]["replicas"], 3);
    let environment = &compose["services"]["sluice"]["environment"];
    assert_eq!(environment["SLUICE__STORE__EXPECTED_REPLICAS"], "3");
    let expected = [("8000", "load-balancer"), ("8081", "load-balancer")];
    assert_eq!(
        published(&compose),
        expected.map(|(port, name)| (port.to_owned(), name.to_owned())).into()
    );
}

#[test]
fn the_documented_ports_are_published() {
    let expected = [
        ("3000", "grafana"),
        ("8000", "load-balancer"),
        ("8081", "load-balancer"),
        ("9090", "prometheus"),
        ("9093", "alertmanager"),
    ];
    assert_eq!(
        published(&resolved(WITH_METRICS)),
        expected.map(|(port, name)| (port.to_owned(), name.to_owned())).into()
    );
    let grafana = &resolved(WITH_METRICS)["services"]["grafana"]["environment"];
    assert_eq!(
        (&grafana["GF_SECURITY_ADMIN_USER"], &grafana["GF_SECURITY_ADMIN_PASSWORD"]),
        (&json!("admin"), &json!("admin"))
    );
}

#[test]
fn the_fleet_with_metrics_is_the_same_fleet() {
    let (fleet, with_metrics) = (resolved(FLEET), resolved(WITH_METRICS));
    for (name, service) in services(&fleet) {
        assert_eq!(services(&with_metrics).get(name), Some(service));
    }
}

#[test]
fn every_mounted_path_exists() {
    for path in [FLEET, WITH_METRICS] {
        let compose = resolved(path);
        let mut seen = 0;
        for service in services(&compose).values() {
            let volumes = service["volumes"].as_array().cloned().unwrap_or_default();
            for volume in volumes.iter().filter(|volume| volume["type"] == "bind") {
                let source = Path::new(text(&volume["source"]));
                assert!(source.starts_with(root()) && source.exists(), "{path}: {volume}");
                assert_eq!(volume["read_only"], true, "{path}: {volume}");
                seen += 1;
            }
            if let Some(build) = service.get("build") {
                let context = Path::new(text(&build["context"]));
                assert!(context.join(text(&build["dockerfile"])).is_file(), "{path}: {build}");
            }
        }
        assert!(seen >= 2, "{path}");
    }
}

#[test]
fn every_reference_names_an_existing_service_and_port() {
    let compose = resolved(WITH_METRICS);
    let ports = [
        ("sluice", "8000"),
        ("sluice", "8081"),
        ("redis", "6379"),
        ("prometheus", "9090"),
        ("alertmanager", "9093"),
    ];
    for (name, _) in ports {
        assert!(services(&compose).contains_key(name), "{name}");
    }
    // Each address in a file that is mounted into a service, or in the environment of a service.
    let prometheus = yaml_document("deploy/prometheus/prometheus.yml");
    let sources = yaml_document("deploy/grafana/provisioning/datasources/prometheus.yml");
    let mut named = vec![
        text(&compose["services"]["sluice"]["environment"]["SLUICE__STORE__URL"])
            .trim_start_matches("redis://")
            .to_owned(),
        text(&sources["datasources"][0]["url"]).trim_start_matches("http://").to_owned(),
        text(&prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0])
            .to_owned(),
    ];
    for job in prometheus["scrape_configs"].as_array().expect("jobs are a list") {
        named.extend(
            job["dns_sd_configs"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|dns| format!("{}:{}", text(&dns["names"][0]), dns["port"])),
        );
        let targets = job["static_configs"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|group| group["targets"].as_array());
        named.extend(
            targets.flatten().map(|target| text(target).replace("localhost", "prometheus")),
        );
    }
    let nginx = read("deploy/compose/nginx.conf");
    let upstreams = nginx
        .lines()
        .filter_map(|line| line.trim().strip_prefix("server ")?.split(' ').next())
        .filter(|name| name.contains(':'));
    named.extend(upstreams.map(str::to_owned));
    assert_eq!(named.len(), 8, "{named:?}");
    for address in named {
        let (name, port) =
            address.split_once(':').unwrap_or_else(|| panic!("{address} has no port"));
        assert!(ports.contains(&(name, port)), "{address}");
    }
}

#[test]
fn every_service_has_a_health_check_and_cannot_gain_privileges() {
    for (name, service) in services(&resolved(WITH_METRICS)) {
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges:true"]), "{name}");
        assert!(service.get("privileged").is_none(), "{name}");
    }
}

#[test]
fn every_image_is_pinned_to_a_version() {
    for (name, service) in services(&resolved(WITH_METRICS)) {
        let image = text(&service["image"]);
        assert!(
            image == "sluice"
                || image.rsplit_once(':').is_some_and(
                    |(_, tag)| tag.starts_with(|c: char| c.is_ascii_digit() || c == 'v')
                ),
            "{name}: {image}"
        );
    }
}

#[test]
fn sluice_accepts_its_file_and_its_settings() {
    let file = "deploy/compose/config/sluice.yaml";
    let output = sluice(&["config", "check", file]);
    assert!(output.status.success(), "{output:?}");
    let output = sluice(&["config", "show", "--config", file]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(shown.contains("redis://redis:6379") && shown.contains("172.30.83.0/24"), "{shown}");
    let service = &resolved(FLEET)["services"]["sluice"];
    let mounted = &service["volumes"][0];
    assert_eq!(mounted["source"], json!(root().join("deploy/compose/config")));
    // In a variable, so that the health check reads the same file.
    assert_eq!(service["command"], json!(["serve"]));
    let file = format!("{}/sluice.yaml", text(&mounted["target"]));
    assert_eq!(service["environment"]["SLUICE_CONFIG"], json!(file));
}

#[test]
fn only_the_load_balancer_is_trusted() {
    let compose = resolved(FLEET);
    let trusted = &compose["services"]["sluice"]["environment"]["SLUICE__CLIENTS__TRUSTED_PROXIES"];
    assert_eq!(*trusted, compose["networks"]["default"]["ipam"]["config"][0]["subnet"]);
}

#[test]
fn replicas_get_enough_time_to_stop() {
    let seconds = |name: &str| {
        let defaults = read("crates/config/src/defaults.yaml");
        let value = defaults
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")))
            .expect("it has a default")
            .to_owned();
        value
            .split('s')
            .next()
            .and_then(|number| number.parse::<u32>().ok())
            .expect("it is in seconds")
    };
    let needed = seconds("shutdown_delay") + seconds("shutdown_grace");
    let given = text(&resolved(FLEET)["services"]["sluice"]["stop_grace_period"])
        .trim_end_matches('s')
        .parse::<u32>()
        .expect("in seconds");
    assert!(given > needed, "{given} s is less than the {needed} s that a stop may take");
}

#[test]
fn the_health_check_uses_the_readiness_probe() {
    let compose = resolved(FLEET);
    let check = compose["services"]["sluice"]["healthcheck"]["test"]
        .as_array()
        .expect("it is a list")
        .iter()
        .map(text)
        .collect::<Vec<_>>();
    let [kind, program, args @ ..] = check.as_slice() else { panic!("{check:?}") };
    assert_eq!((*kind, *program), ("CMD", "/usr/local/bin/sluice"));

    let replica = SluiceOptions::new(built_sluice()).start();
    let check_health = || {
        let address = replica.http_addr().to_string();
        Command::new(built_sluice()).args(args).arg(address).output().expect("sluice runs")
    };
    let healthy = check_health();
    assert!(
        healthy.status.success()
            && String::from_utf8_lossy(&healthy.stdout).contains("\"status\":\"ready\""),
        "{healthy:?}"
    );
    replica.sigkill();
    let stopped = check_health();
    assert_eq!(stopped.status.code(), Some(1), "{stopped:?}");
}
