//! `docker-compose.auth.yml`: Prometheus and Grafana with credentials.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};
use sluice_testkit::{SluiceOptions, built_sluice, eventually_async};
use sluice_tests::{
    http::{Client, Request},
    prometheus::Prometheus,
};
use tempfile::TempDir;

use crate::{
    compose::{WITH_METRICS, resolved, resolved_with, text},
    programs::{DOCKER_COMPOSE, PROMTOOL, read, root, succeed, yaml_document},
};

const AUTH: &str = "docker-compose.auth.yml";
const CONFIG: &str = "deploy/prometheus/prometheus.yml";
const CONFIG_WITH_AUTH: &str = "deploy/prometheus/prometheus.auth.yml";
const SOURCE: &str = "deploy/grafana/provisioning/datasources/prometheus.yml";
const SOURCE_WITH_AUTH: &str = "deploy/grafana/auth/prometheus.yml";

/// How Prometheus finds the replicas of the compose file.
const DISCOVERY: &str = "    dns_sd_configs:
      - names: [sluice]
        type: A
        port: 8000
        refresh_interval: 10s
";

/// Where a container has the password.
const SECRET: &str = "/run/secrets/prometheus_password";
const PASSWORD: &str = "prometheus-password";
/// The file that the commands at the top of the compose file write, for [`PASSWORD`], with fewer
/// rounds of bcrypt.
const WEB_CONFIG: &str =
    "basic_auth_users: { admin: $2y$04$abcdefghijklmnopqrstuuebck8Sc2ch9pyeXHtF37im9h8m1K5ue }\n";
/// The header field of `admin` and [`PASSWORD`], and one of another password.
const RIGHT: &str = "Basic YWRtaW46cHJvbWV0aGV1cy1wYXNzd29yZA==";
const WRONG: &str = "Basic YWRtaW46d3Jvbmc=";

fn with_auth() -> Value {
    resolved_with(&[WITH_METRICS, AUTH], &[("GRAFANA_PASSWORD", "grafana-password")])
}

/// Removes the members of these names, at any depth.
fn without(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !names.contains(&name.as_str()));
            members.values_mut().for_each(|value| without(value, names));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| without(value, names)),
        _ => {}
    }
}

#[test]
fn credentials_are_an_option() {
    let compose = resolved(WITH_METRICS);
    let command = compose["services"]["prometheus"]["command"].to_string();
    assert!(!command.contains("web.config") && compose.get("secrets").is_none(), "{compose}");

    let missing = Command::new(DOCKER_COMPOSE.path())
        .args(["--env-file", "/dev/null", "--file", WITH_METRICS, "--file", AUTH, "config"])
        .current_dir(root())
        .env_remove("GRAFANA_PASSWORD")
        .output()
        .expect("compose runs");
    let error = String::from_utf8_lossy(&missing.stderr);
    assert!(!missing.status.success() && error.contains("GRAFANA_PASSWORD"), "{missing:?}");

    let grafana = &with_auth()["services"]["grafana"]["environment"];
    assert_eq!(grafana["GF_SECURITY_ADMIN_PASSWORD"], "grafana-password");
    assert_eq!(grafana["GF_AUTH_ANONYMOUS_ENABLED"], "false");
}

#[test]
fn only_credentials_differ() {
    let mut with_auth_config = yaml_document(CONFIG_WITH_AUTH);
    without(&mut with_auth_config, &["basic_auth"]);
    assert_eq!(with_auth_config, yaml_document(CONFIG));
    let mut source = yaml_document(SOURCE_WITH_AUTH);
    without(&mut source, &["basicAuth", "basicAuthUser", "secureJsonData"]);
    assert_eq!(source, yaml_document(SOURCE));

    let (plain, with_auth) = (resolved(WITH_METRICS), with_auth());
    let changed = [
        "alertmanager.ports",
        "grafana.environment",
        "grafana.secrets",
        "grafana.volumes",
        "prometheus.command",
        "prometheus.healthcheck",
        "prometheus.secrets",
    ];
    assert_eq!(differences(&plain, &with_auth), changed.map(str::to_owned).into());

    let command = |compose: &Value| {
        let command = compose["services"]["prometheus"]["command"].as_array().cloned();
        command.expect("a command is a list")
    };
    let files = ["/etc/prometheus/prometheus.auth.yml", "/run/secrets/prometheus_web"];
    let files = ["config.file", "web.config.file"].iter().zip(files);
    let files = files.map(|(option, path)| json!(format!("--{option}={path}")));
    let rest = command(&plain)[1..].to_vec();
    assert_eq!(command(&with_auth), files.chain(rest).collect::<Vec<_>>());
    // Alertmanager has no credentials, so nobody outside may reach it.
    assert!(with_auth["services"]["alertmanager"].get("ports").is_none());
    let mounts = with_auth["services"]["grafana"]["volumes"].to_string();
    let target = "/etc/grafana/provisioning/datasources/prometheus.yml";
    for path in [json!(root().join(SOURCE_WITH_AUTH)), json!(target)] {
        assert!(mounts.contains(&path.to_string()), "{mounts}");
    }
}

/// Returns the members of services that differ, such as `grafana.ports`. The order of lists does
/// not count, since Compose merges them in any.
fn differences(one: &Value, other: &Value) -> BTreeSet<String> {
    let sorted = |value: &Value| match value.as_array() {
        Some(list) => list.iter().map(ToString::to_string).collect(),
        None => BTreeSet::from([value.to_string()]),
    };
    let mut different = BTreeSet::new();
    for (name, service) in one["services"].as_object().expect("services are a table") {
        let own = other["services"][name].as_object().expect("both have the service");
        for key in service.as_object().expect("a service is a table").keys().chain(own.keys()) {
            if sorted(&service[key]) != sorted(&other["services"][name][key]) {
                different.insert(format!("{name}.{key}"));
            }
        }
    }
    different
}

#[test]
fn promtool_accepts_the_file_with_the_hash() {
    let directory = TempDir::new().expect("a directory can be created");
    let path = directory.path().join("web.yml");
    fs::write(&path, WEB_CONFIG).expect("the file can be written");
    succeed(&PROMTOOL, &["check", "web-config", path.to_str().expect("the path is UTF-8")]);
    // The command at the top of the compose file writes the same form.
    assert!(read(AUTH).contains("printf 'basic_auth_users: { %s }\\n'"));
    assert!(read(".gitignore").lines().any(|line| line == "/deploy/compose/auth"));
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_requires_the_password_and_scrapes_itself_with_it() {
    let directory = TempDir::new().expect("a directory can be created");
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).expect("the file can be written");
        path.display().to_string()
    };
    let (web, password) = (file("web.yml", WEB_CONFIG), file("password", PASSWORD));
    let replica = SluiceOptions::new(built_sluice()).start();
    // Only times, places and the names that Docker would resolve are changed.
    let config = |own: std::net::SocketAddr| {
        let changes = [
            ("scrape_interval: 10s", "scrape_interval: 500ms".to_owned()),
            ("scrape_timeout: 5s", "scrape_timeout: 500ms".to_owned()),
            (
                DISCOVERY,
                format!("    static_configs: [{{ targets: [\"{}\"] }}]\n", replica.http_addr()),
            ),
            ("localhost:9090", own.to_string()),
            ("alertmanager:9093", "127.0.0.1:1".to_owned()),
            (SECRET, password.clone()),
        ];
        changes.iter().fold(read(CONFIG_WITH_AUTH), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })
    };
    let arguments = [format!("--web.config.file={web}")];
    let prometheus = Prometheus::start_with_config(config, &arguments, Some(RIGHT)).await;

    let mut client = Client::of(prometheus.address());
    for path in ["/", "/metrics", "/-/ready", "/targets", "/api/v1/query?query=up"] {
        for wrong in [None, Some(WRONG)] {
            let request = Request::get(path);
            let request =
                wrong.iter().fold(request, |request, value| request.header("authorization", value));
            assert_eq!(client.send(&request).await.status, 401, "{path} with {wrong:?}");
        }
    }
    for query in ["up{job='prometheus'} == 1", "sluice_build_info{job='ALMA-api'}"] {
        eventually_async(query, async || !prometheus.query(query).await.is_empty()).await;
    }

    assert_eq!(health_check(&mut client, &password).await, 200);
    assert_eq!(health_check(&mut client, &file("wrong", "wrong")).await, 401);

    let source = yaml_document(SOURCE_WITH_AUTH)["datasources"][0].clone();
    assert_eq!((&source["basicAuth"], &source["basicAuthUser"]), (&json!(true), &json!("admin")));
    let secret = &source["secureJsonData"]["basicAuthPassword"];
    assert_eq!(*secret, format!("$__file{{{SECRET}}}"));
}

/// Returns the status of the request that the health check of the compose file makes.
async fn health_check(client: &mut Client, password: &str) -> u16 {
    let compose = with_auth();
    let test = compose["services"]["prometheus"]["healthcheck"]["test"].clone();
    assert_eq!(test[0], "CMD-SHELL");
    // Compose prints `$` as it is written in its files.
    let command = text(&test[1]).replace("$$", "$").replace(SECRET, password);
    // The image's `wget` need not be here: one that prints its arguments takes its place.
    let command = format!("wget() {{ printf '%s\\n' \"$@\"; }}; {command}");
    let output = Command::new("sh").args(["-c", &command]).output().expect("a shell runs");
    assert!(output.status.success(), "{command}: {output:?}");
    let arguments = String::from_utf8(output.stdout).expect("the arguments are text");
    let argument = |start: &str| {
        let found = arguments.lines().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("no argument of {arguments} begins with {start}"))
    };
    let request = Request::get(argument("http://127.0.0.1:9090"));
    let (name, value) =
        argument("--header=").split_once(": ").expect("a header field has a name and a value");
    client.send(&request.header(name, value)).await.status
}
