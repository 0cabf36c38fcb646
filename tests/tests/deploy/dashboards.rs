//! `deploy/grafana`.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};
use sluice_dashboards::{dashboards, file_name, render};
use tempfile::TempDir;

use crate::{
    programs::{GRAFANA_TSC, files, python, read, root, yaml_document},
    prometheus::recorded,
    promql::{Query, errors},
};

const DIRECTORY: &str = "deploy/grafana/dashboards";
const PROVISIONING: &str = "deploy/grafana/provisioning";

#[test]
fn the_dashboard_files_are_up_to_date() {
    let expected: Vec<String> = dashboards()
        .iter()
        .map(|dashboard| format!("{DIRECTORY}/{}", file_name(dashboard)))
        .collect();
    assert_eq!(files(DIRECTORY), expected);
    for (dashboard, path) in dashboards().iter().zip(&expected) {
        assert!(read(path) == render(dashboard), "{path} is stale: run `cargo xtask dashboards`");
    }
}

#[test]
fn grafana_knows_every_key() {
    assert_eq!(python("grafana", &files(DIRECTORY), &Value::Null), json!([]));
}

#[test]
fn a_misspelt_key_is_found() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("wrong.json");
    let text = read("deploy/grafana/dashboards/sluice.json")
        .replacen("\"gridPos\"", "\"gridPoss\"", 1)
        .replacen("\"expr\"", "\"exprr\"", 1);
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let found = python("grafana", &[path], &Value::Null);
    assert_eq!(
        found,
        json!([
            format!("{path}: panels[0].gridPoss"),
            format!("{path}: panels[1].targets[0].exprr")
        ])
    );
}

#[test]
fn grafanas_types_accept_every_value() {
    let output = compiled(|text| text);
    assert_eq!(output, "");
}

#[test]
fn a_value_of_another_type_is_found() {
    let output = compiled(|text| {
        text.replacen("\"h\": 9", "\"h\": \"9\"", 1).replacen(
            "\"palette-classic\"",
            "\"palette-clasic\"",
            1,
        )
    });
    assert!(
        output.contains("Type 'string' is not assignable to type 'number'")
            && output.contains("palette-clasic"),
        "{output}"
    );
}

/// Returns the output of TypeScript's compiler on the dashboards, changed by `change`, as values of
/// Grafana's types.
fn compiled(change: impl Fn(String) -> String) -> String {
    let compiler = GRAFANA_TSC.path();
    let modules = fs::canonicalize(&compiler).expect("the compiler exists");
    let modules = modules
        .ancestors()
        .find(|path| path.ends_with("node_modules"))
        .expect("npm installs programs in node_modules");
    let directory = TempDir::new().expect("a directory can be created");
    std::os::unix::fs::symlink(modules, directory.path().join("node_modules"))
        .expect("a link can be created");
    // Grafana's types use enumerations for constants; the JSON files have the values of their
    // members.
    let head = "import type { Dashboard } from '@grafana/schema';\n\
        type Written<T> = T extends string ? `${T}` : T extends (infer U)[] ? Written<U>[] : \
        T extends object ? { [K in keyof T]: Written<T[K]> } : T;\n";
    let mut names = Vec::new();
    for path in files(DIRECTORY) {
        let name = format!("{}.ts", path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name));
        let text = change(read(&path));
        fs::write(
            directory.path().join(&name),
            format!(
                "{head}export const dashboard = {} satisfies Partial<Written<Dashboard>>;\n",
                text.trim_end()
            ),
        )
        .expect("a file can be written");
        names.push(name);
    }
    let options = "--noEmit --skipLibCheck --strict --moduleResolution bundler \
                   --module esnext --target es2020";
    let output = Command::new(compiler)
        .args(options.split(' '))
        .args(&names)
        .current_dir(directory.path())
        .output()
        .expect("the compiler runs");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn panels_query_only_metrics_that_replicas_export() {
    let mut queries = Vec::new();
    for dashboard in dashboards() {
        for panel in &dashboard.panels {
            let source = format!("{} / {}", dashboard.title, panel.title);
            queries.extend(
                panel
                    .targets
                    .iter()
                    .map(|target| Query { source: source.clone(), expr: target.expr.clone() }),
            );
        }
    }
    assert!(queries.len() > 40, "{}", queries.len());
    assert_eq!(errors(&queries, &recorded()), [""; 0]);
}

#[test]
fn every_panel_has_a_description_and_a_query_unless_it_is_a_heading() {
    for path in files(DIRECTORY) {
        let dashboard: Value = serde_json::from_str(&read(&path)).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            if panel["type"] != "row" {
                assert!(
                    panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()),
                    "{panel}"
                );
                assert!(
                    panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
                    "{panel}"
                );
            }
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    for dashboard in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in &dashboard.panels {
            let place = panel.grid_pos;
            assert!(place.x + place.w <= 24, "{}", panel.title);
            for cell in (place.x..place.x + place.w)
                .flat_map(|x| (place.y..place.y + place.h).map(move |y| (x, y)))
            {
                assert!(
                    taken.insert(cell),
                    "{} overlaps another panel of {}",
                    panel.title,
                    dashboard.title
                );
            }
        }
    }
}

#[test]
fn grafana_is_provisioned_with_prometheus_and_the_dashboards() {
    let sources = yaml_document(&format!("{PROVISIONING}/datasources/prometheus.yml"));
    assert_eq!(
        (&sources["datasources"][0]["type"], &sources["datasources"][0]["isDefault"]),
        (&json!("prometheus"), &json!(true))
    );
    let providers = yaml_document(&format!("{PROVISIONING}/dashboards/dashboards.yml"));
    let path = providers["providers"][0]["options"]["path"].as_str().unwrap();

    let compose = yaml_document("docker-compose.metrics.yml");
    let volumes = compose["services"]["grafana"]["volumes"].as_array().unwrap();
    assert!(volumes.contains(&json!(format!("./{DIRECTORY}:{path}:ro"))), "{volumes:?}");
    assert!(
        volumes.contains(&json!(format!("./{PROVISIONING}:/etc/grafana/provisioning:ro"))),
        "{volumes:?}"
    );
    assert!(root().join(PROVISIONING).is_dir());
}
