//! The document "Rate Limiting & Metrics": its metrics and alerts line by line, and the page that
//! says where each of its lines is done.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_telemetry::catalogue;

use crate::{
    programs::{read, yaml_document},
    prometheus::alerts,
};

const PAGE: &str = "docs/document.md";
const ALERTS: &str = "deploy/prometheus/rules/alma.yml";

/// Its metrics under "Metric Types", with the labels that it names.
const METRICS: [(&str, &str, &[&str]); 20] = [
    ("http_requests_total", "counter", &["method", "endpoint", "status"]),
    ("http_request_duration_seconds", "histogram", &[]),
    ("http_request_size_bytes", "histogram", &[]),
    ("http_response_size_bytes", "histogram", &[]),
    ("llm_requests_total", "counter", &["model", "operation", "status"]),
    ("llm_generation_duration_seconds", "histogram", &[]),
    ("llm_tokens_generated_total", "counter", &[]),
    ("llm_tokens_consumed_total", "counter", &[]),
    // Its query under "Custom Dashboards" names the label.
    ("blueprint_operations_total", "counter", &["operation"]),
    ("blueprint_resources_count", "gauge", &[]),
    ("blueprint_validation_errors_total", "counter", &[]),
    ("deployment_operations_total", "counter", &[]),
    ("deployment_duration_seconds", "histogram", &[]),
    ("active_deployments", "gauge", &[]),
    ("tool_executions_total", "counter", &["tool_name", "status"]),
    ("tool_execution_duration_seconds", "histogram", &[]),
    ("rate_limit_hits_total", "counter", &["endpoint"]),
    ("active_connections", "gauge", &[]),
    ("database_connections", "gauge", &[]),
    ("cache_hit_rate", "gauge", &[]),
];

/// Its alerts under "Prometheus Alerts": name, what the value is compared with, `for`, severity and
/// summary.
const ALERT_LINES: [(&str, &str, &str, &str, &str); 4] = [
    ("HighErrorRate", "> 0.05", "2m", "critical", "High error rate detected"),
    ("SlowLLMGeneration", "> 10", "5m", "warning", "LLM generation slow"),
    ("RateLimitSpike", "> 10", "3m", "warning", "Rate limiting spike"),
    ("DeploymentBacklog", "> 50", "10m", "warning", "Deployment backlog building"),
];

/// Its chapters.
const CHAPTERS: [&str; 8] = [
    "Rate Limiting",
    "Metrics Collection",
    "Visualization with Grafana",
    "Alerting",
    "Performance Impact",
    "Production Checklist",
    "Troubleshooting",
    "Next Steps",
];

#[test]
fn every_metric_of_the_document_has_its_name_kind_and_labels() {
    let metrics: BTreeMap<&str, _> = catalogue().map(|metric| (metric.name, metric)).collect();
    for (name, kind, labels) in METRICS {
        let metric = metrics.get(name).unwrap_or_else(|| panic!("there is no {name}"));
        assert_eq!(metric.kind.as_str(), kind, "{name}");
        for label in labels {
            assert!(metric.labels.iter().any(|own| own.name == *label), "{name} has no {label}");
        }
    }
}

#[test]
fn every_alert_of_the_document_has_its_name_threshold_duration_and_text() {
    let alerts = alerts();
    for (name, threshold, duration, severity, summary) in ALERT_LINES {
        let alert = alerts.iter().find(|alert| alert["alert"] == name);
        let alert = alert.unwrap_or_else(|| panic!("there is no {name}"));
        let expr = alert["expr"].as_str().unwrap_or_default();
        let first_line = expr.lines().next().unwrap_or_default();
        assert!(first_line.ends_with(threshold), "{name}: {expr}");
        assert_eq!(alert["for"], duration, "{name}");
        assert_eq!(alert["labels"]["severity"], severity, "{name}");
        assert_eq!(alert["annotations"]["summary"], summary, "{name}");
    }
    let group = &yaml_document(ALERTS)["groups"][0];
    assert_eq!((&group["name"], &group["interval"]), (&Value::from("ALMA"), &Value::from("30s")));
    let rules = group["rules"].as_array().expect("rules are a list");
    assert_eq!(rules.len(), ALERT_LINES.len(), "no other alert has a place in this group");
    // An expression that differs from the document's has a comment that says why.
    let text = read(ALERTS);
    let corrected = text.matches("      # The document").count();
    assert_eq!(corrected, 3, "the fourth only removes copies of a value");
}

#[test]
fn the_page_has_every_chapter_and_names_tests_that_exist() {
    let page = read(PAGE);
    for chapter in CHAPTERS {
        assert!(page.contains(&format!("\n## {chapter}\n")), "{PAGE} has no chapter {chapter}");
    }
    let mut tests = 0;
    for link in page.split('[').skip(1) {
        let Some((name, rest)) = link.split_once("](../") else { continue };
        let path = rest.split([')', '#']).next().expect("a split has a first part");
        if !path.ends_with(".rs") {
            continue;
        }
        let name = name.trim_matches('`');
        assert!(read(path).contains(&format!("fn {name}(")), "{PAGE}: {path} has no test `{name}`");
        tests += 1;
    }
    assert!(tests > 30, "{tests}");
}
