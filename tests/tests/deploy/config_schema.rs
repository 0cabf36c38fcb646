//! `sluice config schema`, and its copy in the values of the Helm chart.

use std::{env, fs, process::Command};

use serde_json::{Value, json};
use sluice_testkit::built_sluice;

use crate::programs::{files, python, read, root, yaml};

const FIXTURES: &str = "crates/config/tests/config";
const VALUES: &str = "deploy/helm/sluice/values.schema.json";

/// Settings that are values of the chart and not of its `config`: it sets them by environment
/// variables, which come after the file.
const OF_THE_CHART: [&str; 3] = ["admin", "shutdown_delay", "shutdown_grace"];
const OF_ITS_LISTENERS: [&str; 3] = ["http", "grpc", "any_path"];
const OF_ITS_LOG: [&str; 2] = ["format", "level"];
const OF_ITS_STORE: [&str; 8] = [
    "url",
    "prefix",
    "timeout",
    "connections",
    "password",
    "password_file",
    "ca_file",
    "expected_replicas",
];

fn schema() -> Value {
    let output =
        Command::new(built_sluice()).args(["config", "schema"]).output().expect("sluice runs");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// Returns the errors of each document.
fn errors(documents: &[Value]) -> Vec<Vec<String>> {
    let found =
        python("json_schema", &[""; 0], &json!({ "schema": schema(), "documents": documents }));
    serde_json::from_value(found).expect("the script prints lists")
}

#[test]
fn the_schema_accepts_every_good_file() {
    let mut paths: Vec<String> = files(&format!("{FIXTURES}/good"));
    paths.retain(|path| path.ends_with(".yaml"));
    paths.push("crates/config/src/defaults.yaml".into());
    paths.push("crates/config/src/forms.yaml".into());
    paths.push("deploy/compose/config/sluice.yaml".into());
    for proxy in ["caddy", "envoy", "gateway", "haproxy", "nginx", "traefik"] {
        paths.push(format!("deploy/examples/{proxy}/sluice.yaml"));
    }
    let documents: Vec<Value> = yaml(&paths)
        .into_iter()
        .map(|mut documents| documents.pop().filter(Value::is_object).unwrap_or_else(|| json!({})))
        .collect();
    for (path, errors) in paths.iter().zip(errors(&documents)) {
        assert_eq!(errors, [""; 0], "{path}");
    }
}

#[test]
fn the_schema_finds_what_a_bad_file_has_in_one_value() {
    let names = [
        "burst_of_zero",
        "choice_not_a_word",
        "duration_without_unit",
        "endpoint_fraction",
        "endpoint_negative",
        "ipv6_prefix_too_long",
        "limit_not_a_table",
        "limits_not_a_list",
        "not_a_table",
        "not_text",
        "store_no_connections",
        "rate_invalid",
        "store_on_failure_invalid",
        "unknown_key",
        "unknown_key_without_suggestion",
        "unknown_section",
    ];
    let paths = names.map(|name| format!("{FIXTURES}/bad/{name}.yaml"));
    let documents: Vec<Value> =
        yaml(&paths).into_iter().map(|mut documents| documents.remove(0)).collect();
    for (path, errors) in paths.iter().zip(errors(&documents)) {
        assert!(!errors.is_empty(), "{path} is not found");
    }
}

/// `everything.yaml` has every key, so that the schema says of each what it can be.
#[test]
fn the_schema_says_something_about_every_value() {
    fn unknown(schema: &Value, path: &str, found: &mut Vec<String>) {
        if schema.as_object().is_some_and(serde_json::Map::is_empty) {
            found.push(path.to_owned());
        }
        for (key, value) in schema["properties"].as_object().into_iter().flatten() {
            unknown(value, &format!("{path}.{key}"), found);
        }
        for key in ["items", "additionalProperties"] {
            if schema[key].is_object() {
                unknown(&schema[key], &format!("{path}.*"), found);
            }
        }
        for value in schema["anyOf"].as_array().into_iter().flatten() {
            unknown(value, path, found);
        }
    }
    let mut found = Vec::new();
    unknown(&schema(), "", &mut found);
    assert_eq!(found, [""; 0], "add each to everything.yaml or forms.yaml");
}

#[test]
fn the_values_of_the_chart_contain_the_schema() {
    let mut config = schema();
    let parts = config.as_object_mut().unwrap();
    parts.remove("$schema");
    parts.remove("title");
    parts.insert(
        "description".into(),
        json!(
            "The configuration, as `sluice config schema` describes it. Settings that need a \
             restart have values of their own: listen (service), admin, most of log, shutdown, \
             and most of store."
        ),
    );
    let without = |table: &mut Value, names: &[&str]| {
        let properties = table["properties"].as_object_mut().unwrap();
        properties.retain(|name, _| !names.contains(&name.as_str()));
    };
    without(&mut config, &OF_THE_CHART);
    without(&mut config["properties"]["listen"], &OF_ITS_LISTENERS);
    without(&mut config["properties"]["log"], &OF_ITS_LOG);
    without(&mut config["properties"]["store"], &OF_ITS_STORE);
    let mut values: Value = serde_json::from_str(&read(VALUES)).unwrap();
    if env::var_os("UPDATE_DOCS").is_some() {
        values["properties"]["config"] = config.clone();
        let text = format!("{}\n", serde_json::to_string_pretty(&values).unwrap());
        fs::write(root().join(VALUES), text).unwrap();
    }
    assert!(
        values["properties"]["config"] == config,
        "{VALUES} is stale: run `UPDATE_DOCS=1 cargo test -p sluice-tests --test deploy \
         config_schema`"
    );
}
