//! The variables of `docker-compose.metrics.yml`, whose list is in `docs/monitoring.md`.

use serde_json::Value;
use sluice_tests::prometheus::Prometheus;

use crate::{
    compose::{WITH_METRICS, resolved, resolved_with, text},
    programs::{read, yaml_document},
};

#[test]
fn optional_variables_reach_the_services() {
    let compose = resolved_with(
        &[WITH_METRICS],
        &[
            ("SLUICE_CLIENT_SECRET", "client-secret"),
            ("GRAFANA_PASSWORD", "grafana-password"),
            ("GRAFANA_DASHBOARDS_EDITABLE", "true"),
            ("SLUICE_REVISION", "abc123"),
        ],
    );
    assert_eq!(
        compose["services"]["sluice"]["environment"]["SLUICE__CLIENTS__SECRET"],
        "client-secret"
    );
    assert_eq!(
        compose["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"],
        "grafana-password"
    );
    // Grafana replaces the variable in its own file.
    let providers = yaml_document("deploy/grafana/provisioning/dashboards/dashboards.yml");
    assert_eq!(providers["providers"][0]["allowUiUpdates"], "$GRAFANA_DASHBOARDS_EDITABLE");
    let editable = |compose: &Value| {
        compose["services"]["grafana"]["environment"]["GRAFANA_DASHBOARDS_EDITABLE"].clone()
    };
    assert_eq!(editable(&compose), "true");
    assert_eq!(compose["services"]["sluice"]["build"]["args"]["SLUICE_REVISION"], "abc123");
    let unset = resolved(WITH_METRICS);
    assert_eq!(unset["services"]["sluice"]["environment"]["SLUICE__CLIENTS__SECRET"], "");
    assert_eq!(editable(&unset), "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_keeps_data_as_long_as_the_variables_say() {
    let chosen = [("PROMETHEUS_RETENTION_TIME", "3d"), ("PROMETHEUS_RETENTION_SIZE", "1GB")];
    for (variables, expected) in [(&[][..], "15d"), (&chosen[..], "3d or 1GiB")] {
        let compose = resolved_with(&[WITH_METRICS], variables);
        let command = compose["services"]["prometheus"]["command"].as_array().expect("a list");
        let retention: Vec<String> = command
            .iter()
            .map(|argument| text(argument).to_owned())
            .filter(|argument| argument.starts_with("--storage.tsdb.retention."))
            .collect();
        assert_eq!(retention.len(), 2, "{command:?}");
        let prometheus = Prometheus::start_with_config(|_| String::new(), &retention, None).await;
        let info = prometheus.api("status/runtimeinfo").await;
        assert_eq!(info["data"]["storageRetention"], expected);
    }
}

#[test]
fn every_variable_is_documented() {
    let page = read("docs/monitoring.md");
    for file in ["docker-compose.yml", WITH_METRICS, "docker-compose.auth.yml"] {
        let text = read(file);
        let names = text.split("${").skip(1).filter_map(|rest| rest.split([':', '}']).next());
        let names: Vec<_> = names.collect();
        assert!(!names.is_empty(), "{file}");
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "{name} of {file} is not documented");
        }
    }
}
