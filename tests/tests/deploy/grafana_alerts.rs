//! `deploy/grafana/provisioning/alerting`.
//!
//! No test runs Grafana: its types in Python know the keys, and a real Prometheus evaluates what a
//! rule queries.

use std::fs;

use serde_json::{Value, json};
use sluice_dashboards::dashboards;
use sluice_testkit::{SluiceOptions, built_sluice};
use sluice_tests::prometheus::Prometheus;
use tempfile::TempDir;

use crate::{
    denials::{deny_many, soon_exceeded},
    programs::{python, read, yaml_document},
    prometheus::{alerts, recorded},
    promql::{Query, errors},
};

const RULES: &str = "deploy/grafana/provisioning/alerting/rules.yml";
const CONTACT_POINTS: &str = "deploy/grafana/provisioning/alerting/contact-points.yml";
const SOURCE: &str = "deploy/grafana/provisioning/datasources/prometheus.yml";
/// The source of Grafana's own expressions.
const EXPRESSION: &str = "__expr__";

/// Returns the only rule, with its folder, group and evaluation interval.
fn rule() -> (Value, Value) {
    let document = yaml_document(RULES);
    let group = document["groups"][0].clone();
    let rule = group["rules"][0].clone();
    assert_eq!((document["groups"].get(1), group["rules"].get(1)), (None, None));
    (group, rule)
}

/// Returns the query of a rule's data with this name.
fn data<'a>(rule: &'a Value, name: &str) -> &'a Value {
    let data = rule["data"].as_array().expect("data is a list");
    let found = data.iter().find(|query| query["refId"] == name);
    let found = found.unwrap_or_else(|| panic!("there is no {name}"));
    assert_eq!(found["model"]["refId"], name, "its model has the same name");
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} should be a string"))
}

#[test]
fn grafana_knows_every_key_of_a_rule() {
    assert_eq!(python("grafana_rules", &[RULES], &Value::Null), json!([]));
    let directory = TempDir::new().expect("a directory can be created");
    let path = directory.path().join("rules.yml");
    let wrong = read(RULES)
        .replace("folder:", "foldr:")
        .replace("panelId:", "panelID:")
        .replace("expr:", "exprr:")
        .replace("reducer:", "reducr:");
    fs::write(&path, wrong).expect("the file can be written");
    let path = path.to_str().expect("the path is UTF-8");
    let expected = [
        "groups[0].foldr",
        "groups[0].rules[0].panelID",
        "groups[0].rules[0].data[0].model.exprr",
        "groups[0].rules[0].data[1].model.reducr",
    ];
    let expected = expected.map(|place| format!("{path}: {place}"));
    assert_eq!(python("grafana_rules", &[path], &Value::Null), json!(expected));
}

#[test]
fn the_rule_has_what_grafana_requires() {
    let (group, rule) = rule();
    for (value, key) in [(&group, "name"), (&group, "folder"), (&rule, "title"), (&rule, "uid")] {
        assert!(!text(&value[key]).is_empty(), "{key}");
    }
    // Grafana evaluates rules every ten seconds, or a multiple of it.
    assert_eq!((&group["interval"], &rule["for"]), (&json!("30s"), &json!("3m")));
    assert!(["Alerting", "NoData", "OK", "KeepLast"].contains(&text(&rule["noDataState"])));
    assert!(["Alerting", "Error", "OK", "KeepLast"].contains(&text(&rule["execErrState"])));
    assert!(data(&rule, text(&rule["condition"]))["model"]["type"] == "threshold");
    // The names of what expressions read, and the sources of all.
    let source = yaml_document(SOURCE)["datasources"][0]["uid"].clone();
    for query in rule["data"].as_array().expect("data is a list") {
        if query["datasourceUid"] == EXPRESSION {
            data(&rule, text(&query["model"]["expression"]));
        } else {
            assert_eq!(query["datasourceUid"], source);
            assert!(query["relativeTimeRange"]["from"].as_u64() > Some(0), "{query}");
        }
    }
    // Grafana would take `$value` for a variable of its environment.
    assert!(!rule["annotations"].to_string().contains('$'), "{rule}");
}

#[test]
fn the_rule_belongs_to_the_panel_of_its_query() {
    let (_, rule) = rule();
    let dashboard = dashboards()
        .into_iter()
        .find(|dashboard| rule["dashboardUid"] == dashboard.uid)
        .expect("the dashboard exists");
    let panel = dashboard
        .panels
        .iter()
        .find(|panel| rule["panelId"] == panel.id)
        .expect("the panel exists");
    assert_eq!(panel.title, "Rate Limit Hits");
    let expr = text(&data(&rule, "A")["model"]["expr"]);
    assert!(panel.targets[0].expr.contains("rate_limit_hits_total"), "{panel:?}");
    let query = Query { source: RULES.to_owned(), expr: expr.to_owned() };
    assert_eq!(errors(&[query], &recorded()), [""; 0]);
    let runbook = &rule["annotations"]["runbook_url"];
    assert!(alerts().iter().any(|alert| alert["annotations"]["runbook_url"] == *runbook));
}

#[test]
fn the_contact_point_is_the_alertmanager_of_the_compose_file() {
    let document = yaml_document(CONTACT_POINTS);
    let point = &document["contactPoints"][0];
    let receiver = &point["receivers"][0];
    assert_eq!(receiver["type"], "prometheus-alertmanager");
    let prometheus = yaml_document("deploy/prometheus/prometheus.yml");
    let alertmanager = &prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"];
    assert_eq!(text(&receiver["settings"]["url"]), format!("http://{}", text(&alertmanager[0])));
    // The rule names it in a line that can be uncommented.
    let settings = format!("# notification_settings: {{ receiver: {} }}", text(&point["name"]));
    assert!(read(RULES).contains(&settings));
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_evaluates_the_rule_to_what_denials_are() {
    let (_, rule) = rule();
    let query = data(&rule, "A");
    let (reduce, threshold) = (&data(&rule, "B")["model"], &data(&rule, "C")["model"]);
    assert_eq!((&reduce["expression"], &reduce["reducer"]), (&json!("A"), &json!("mean")));
    let evaluator = &threshold["conditions"][0]["evaluator"];
    assert_eq!((&threshold["expression"], &evaluator["type"]), (&json!("B"), &json!("gt")));
    // What Grafana computes of a range of values, in one query.
    let condition = format!(
        "avg_over_time(({})[{}s:500ms]) > {}",
        text(&query["model"]["expr"]),
        query["relativeTimeRange"]["from"],
        evaluator["params"][0]
    );
    let replica = SluiceOptions::new(built_sluice()).config(soon_exceeded().to_string()).start();
    let prometheus = Prometheus::start(&[replica.http_addr()], &[]).await;
    assert!(prometheus.query(&condition).await.is_empty(), "nothing was denied");
    deny_many(&replica, &prometheus).await;
    let series = sluice_testkit::eventually_async("the condition is true", async || {
        prometheus.query(&condition).await.pop().ok_or("there is no series")
    })
    .await;
    assert!(!series.label("job").is_empty(), "the annotations name it: {series:?}");
}
