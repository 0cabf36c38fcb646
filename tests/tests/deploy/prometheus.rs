//! `deploy/prometheus` and `deploy/alertmanager`.

use std::{
    collections::{BTreeSet, HashMap},
    env, fs,
    process::Command,
};

use serde_json::Value;
use sluice_dashboards::selector::Selector;
use sluice_telemetry::catalogue;
use sluice_testkit::built_sluice;

use crate::{
    programs::{AMTOOL, PROMTOOL, files, read, root, run, succeed, yaml, yaml_document},
    promql::{Query, errors, metrics},
};

const CONFIG: &str = "deploy/prometheus/prometheus.yml";
const RULES: &str = "deploy/prometheus/rules";
/// The objectives of an example, and the rules that `sluice slo rules` writes for them.
const SLO_CONFIGURATION: &str = "deploy/prometheus/slo/sluice.yaml";
const SLO_RULES: &str = "deploy/prometheus/slo/slo.yml";
const RULE_TESTS: &str = "deploy/prometheus/tests";
const ALERTMANAGER: &str = "deploy/alertmanager/alertmanager.yml";

/// Returns the rules of all files.
pub(crate) fn rules() -> Vec<Value> {
    rules_of(&files(RULES))
}

fn rules_of(files: &[String]) -> Vec<Value> {
    let groups = yaml(files).into_iter().flatten().flat_map(|file| list(&file["groups"]));
    groups.flat_map(|group| list(&group["rules"])).collect()
}

/// Returns the metrics that recording rules make: the name of each, and its labels.
pub(crate) fn recorded() -> HashMap<String, BTreeSet<String>> {
    let mut recorded = HashMap::new();
    for rule in rules() {
        if let Some(name) = rule["record"].as_str() {
            // The labels of the outermost grouping, without the bucket boundary `le`, which a
            // quantile removes.
            let expr = text(&rule["expr"]);
            let labels = expr
                .split_once("by (")
                .and_then(|(_, rest)| rest.split_once(')'))
                .map_or("", |(labels, _)| labels);
            let labels = labels.split(", ").filter(|label| *label != "le").map(str::to_owned);
            recorded.insert(name.to_owned(), labels.collect());
        }
    }
    recorded
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} should be a string"))
}

/// Returns the alerts of all files, and those of objectives.
pub(crate) fn alerts() -> Vec<Value> {
    let rules = rules().into_iter().chain(rules_of(&[SLO_RULES.to_owned()]));
    rules.filter(|rule| rule["alert"].is_string()).collect()
}

fn queries() -> Vec<Query> {
    let query = |rule: &Value| Query {
        source: text(rule.get("alert").unwrap_or(&rule["record"])).to_owned(),
        expr: text(&rule["expr"]).to_owned(),
    };
    rules().iter().map(query).collect()
}

#[test]
fn prometheus_accepts_its_configuration_and_every_rule() {
    let output = succeed(&PROMTOOL, &["check", "config", CONFIG]);
    assert!(
        output.contains(&format!("SUCCESS: {} rule files found", files(RULES).len())),
        "{output}"
    );
    let rule_files = files(RULES);
    let mut args = vec!["check", "rules", "--lint=all", "--lint-fatal"];
    args.extend(rule_files.iter().map(String::as_str));
    succeed(&PROMTOOL, &args);
}

#[test]
fn the_rules_of_objectives_are_those_that_sluice_writes() {
    let mut command = Command::new(built_sluice());
    command.args(["slo", "rules", "--config"]).arg(root().join(SLO_CONFIGURATION));
    let output = command.output().expect("sluice runs");
    let written = String::from_utf8(output.stdout).expect("rules are UTF-8");
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(SLO_RULES), &written).expect("the file can be written");
    }
    assert_eq!(read(SLO_RULES), written);
    succeed(&PROMTOOL, &["check", "rules", "--lint=all", "--lint-fatal", SLO_RULES]);
}

#[test]
fn the_rule_tests_pass() {
    let mut args = vec!["test".to_owned(), "rules".to_owned()];
    args.extend(files(RULE_TESTS));
    succeed(&PROMTOOL, &args);
}

#[test]
fn a_rule_test_with_a_wrong_expectation_fails() {
    let directory = tempfile::tempdir().unwrap();
    let text = read("deploy/prometheus/tests/alma.yml")
        .replace("../rules/", &format!("{}/", root().join(RULES).display()));
    let wrong = text.replace("values: 51x60", "values: 50x60");
    assert_ne!(text, wrong);
    let path = directory.path().join("wrong.yml");
    fs::write(&path, wrong).unwrap();
    let output = run(&PROMTOOL, &["test", "rules", path.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("DeploymentBacklog"), "{output:?}");
}

#[test]
fn every_alert_has_a_test_that_fires_and_one_that_does_not() {
    let tests: Vec<Value> = yaml(&files(RULE_TESTS))
        .into_iter()
        .flatten()
        .flat_map(|file| list(&file["tests"]))
        .collect();
    let cases: Vec<Value> = tests.iter().flat_map(|test| list(&test["alert_rule_test"])).collect();
    for alert in alerts() {
        let name = &alert["alert"];
        for fires in [true, false] {
            let found = cases.iter().any(|case| {
                case["alertname"] == *name && list(&case["exp_alerts"]).is_empty() != fires
            });
            assert!(
                found,
                "no test in {RULE_TESTS} has a case in which {name} {}",
                if fires { "fires" } else { "does not fire" }
            );
        }
    }
}

#[test]
fn rules_query_only_metrics_that_replicas_export() {
    assert_eq!(errors(&queries(), &recorded()), [""; 0]);
}

#[test]
fn every_recording_rule_is_used() {
    let used: BTreeSet<String> = queries().iter().flat_map(metrics).collect();
    let unused: Vec<_> = recorded().into_keys().filter(|name| !used.contains(name)).collect();
    assert_eq!(unused.iter().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::new());
}

#[test]
fn rules_and_panels_leave_out_the_same_requests() {
    let of_api: Vec<String> = queries()
        .into_iter()
        .filter(|query| query.expr.contains("rate(http_requests_total"))
        .map(|query| {
            let expr = query.expr.split_whitespace().collect::<Vec<_>>().join(" ");
            let panel = Selector::JOB.rate_of_api("http_requests_total", "");
            for expr in [expr, panel] {
                let exempt = "unless on (namespace, job, instance, endpoint) \
                              sluice_http_exempt_endpoints";
                assert!(expr.contains(exempt), "{expr}");
            }
            query.source
        })
        .collect();
    assert_eq!(of_api, ["job:http_requests:rate5m", "job:http_requests_failed:rate5m"]);
}

#[test]
fn every_alert_names_its_fleet() {
    for alert in alerts() {
        let description = text(&alert["annotations"]["description"]);
        assert!(
            alert["alert"] == "DeploymentBacklog"
                || alert["alert"] == "SlowLLMGeneration"
                || description
                    .contains("{{ with $labels.namespace }}{{ . }}/{{ end }}{{ $labels.job }}"),
            "{alert}"
        );
    }
}

#[test]
fn every_alert_has_a_summary_a_description_and_a_severity() {
    for alert in alerts() {
        let severity = text(&alert["labels"]["severity"]);
        assert!(["critical", "warning", "info"].contains(&severity), "{alert}");
        for annotation in ["summary", "description"] {
            assert!(!text(&alert["annotations"][annotation]).is_empty(), "{alert}");
        }
    }
}

#[test]
fn the_example_queries_of_the_catalogue_are_valid() {
    let examples: Vec<Query> = catalogue()
        .map(|metric| Query { source: metric.name.to_owned(), expr: metric.query.to_owned() })
        .collect();
    assert!(examples.len() > 20);
    assert_eq!(errors(&examples, &HashMap::new()), [""; 0]);
    for example in &examples {
        let histogram = |suffix: &str| format!("{}_{suffix}", example.source);
        let own =
            [example.source.clone(), histogram("bucket"), histogram("sum"), histogram("count")];
        assert!(metrics(example).iter().any(|name| own.contains(name)), "{example:?}");
    }
}

#[test]
fn prometheus_scrapes_the_replicas_under_the_documented_job_name() {
    let config = yaml_document(CONFIG);
    let jobs = list(&config["scrape_configs"]);
    let job = jobs.iter().find(|job| job["job_name"] == "ALMA-api").expect("the documented job");
    // The default path is `/metrics`.
    assert!(job.get("metrics_path").is_none_or(|path| path == "/metrics"));
    assert_eq!(job["dns_sd_configs"][0]["port"], 8000);
}

#[test]
fn alertmanager_accepts_its_configuration_and_routes_by_severity() {
    succeed(&AMTOOL, &["check-config", ALERTMANAGER]);
    for (severity, receiver) in [("critical", "page"), ("warning", "notice"), ("info", "none")] {
        let severity = format!("severity={severity}");
        let route = [
            "config",
            "routes",
            "test",
            "--config.file",
            ALERTMANAGER,
            &severity,
            &format!("--verify.receivers={receiver}"),
        ];
        succeed(&AMTOOL, &route);
    }
}

#[test]
fn alertmanager_accepts_the_channels_that_are_commented_out() {
    let written = read(ALERTMANAGER);
    let with_channels: String = written
        .lines()
        .map(|line| line.strip_prefix("    # ").map_or(line.to_owned(), |key| format!("    {key}")))
        .map(|line| line + "\n")
        .collect();
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("alertmanager.yml");
    fs::write(&path, with_channels).expect("the file can be written");
    let output = succeed(&AMTOOL, &["check-config", path.to_str().expect("the path is UTF-8")]);
    assert!(output.contains("SUCCESS"), "{output}");
    let config = yaml_document(path.to_str().expect("the path is UTF-8"));
    let channels = list(&config["receivers"])
        .iter()
        .filter(|r| r.as_object().is_some_and(|r| r.len() > 1))
        .count();
    assert_eq!(channels, 2, "{config}");
}

#[test]
fn alertmanager_silences_only_alerts_that_exist() {
    let names: BTreeSet<String> =
        alerts().iter().map(|alert| text(&alert["alert"]).to_owned()).collect();
    let config = yaml_document(ALERTMANAGER);
    let inhibitions = list(&config["inhibit_rules"]);
    assert!(!inhibitions.is_empty());
    for inhibition in inhibitions {
        for matcher in
            list(&inhibition["source_matchers"]).iter().chain(&list(&inhibition["target_matchers"]))
        {
            let (_, quoted) =
                text(matcher).split_once("alertname").expect("our matchers use the alert's name");
            let words = quoted.trim_start_matches(['=', '~']).trim_matches('"').split('|');
            assert_eq!(words.filter(|name| !names.contains(*name)).collect::<Vec<_>>(), [""; 0]);
        }
    }
}
