//! Checks queries against the catalogue of metrics. With a metric, label or value that does not
//! exist, a panel stays empty and an alert never fires.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use sluice_telemetry::{LabelValues, Metric, MetricKind, catalogue};

use crate::programs::python;

/// Labels that Prometheus adds to every series of a replica.
const TARGET: [&str; 3] = ["instance", "job", "namespace"];

/// Metrics of kube-state-metrics, each with the label `deployment`.
const KUBE_STATE_METRICS: [&str; 2] =
    ["kube_deployment_spec_replicas", "kube_deployment_status_replicas_available"];

/// A query, and the rule or panel that contains it.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) source: String,
    pub(crate) expr: String,
}

/// Returns the errors in `queries`. `recorded` are the metrics that recording rules make, with
/// their labels.
#[track_caller]
pub(crate) fn errors(
    queries: &[Query],
    recorded: &HashMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let exprs: Vec<String> = queries.iter().map(|query| without_variables(&query.expr)).collect();
    let responses = python("promql", &[""; 0], &json!(exprs));
    let responses = responses.as_array().expect("the script prints a list");
    assert_eq!(responses.len(), queries.len());
    let mut errors = Vec::new();
    for (query, response) in queries.iter().zip(responses) {
        let found = errors_in(response, recorded);
        errors.extend(
            found.into_iter().map(|error| format!("{}: {error}: {}", query.source, query.expr)),
        );
    }
    errors
}

/// Returns the metrics that a query selects.
#[track_caller]
pub(crate) fn metrics(query: &Query) -> BTreeSet<String> {
    let response = python("promql", &[""; 0], &json!([without_variables(&query.expr)]));
    list(&response[0]["selectors"])
        .iter()
        .map(|selector| text(&selector["metric"]).to_owned())
        .collect()
}

/// Replaces Grafana's variables, which are not PromQL, by values as Grafana does.
fn without_variables(expr: &str) -> String {
    expr.replace("$__rate_interval", "1m")
        .replace("$__range", "1h")
        .replace("$namespace", ".*")
        .replace("$job", "a")
        .replace("$instance", "b")
}

fn errors_in(response: &Value, recorded: &HashMap<String, BTreeSet<String>>) -> Vec<String> {
    if let Some(error) = response["error"].as_str() {
        return vec![error.to_owned()];
    }
    let mut errors = Vec::new();
    for selector in list(&response["selectors"]) {
        let name = text(&selector["metric"]);
        let Some(labels) = labels_of(name, recorded) else {
            errors.push(format!("there is no metric `{name}`"));
            continue;
        };
        for matcher in list(&selector["matchers"]) {
            let [label, operator, value] = [0, 1, 2].map(|place| text(&matcher[place]));
            match labels.get(label) {
                None => errors.push(format!("`{name}` has no label `{label}`")),
                Some(Some(words)) if matches!(operator, "=" | "!=") && !words.contains(&value) => {
                    errors.push(format!("`{label}` of `{name}` is never `{value}`"));
                }
                Some(Some(words)) if operator == "=~" && !value.contains(['.', '*', '+']) => {
                    let unknown = value.split('|').filter(|word| !words.contains(word));
                    errors.extend(
                        unknown.map(|word| format!("`{label}` of `{name}` is never `{word}`")),
                    );
                }
                Some(_) => {}
            }
        }
    }
    for grouping in list(&response["groupings"]) {
        let known: BTreeSet<String> = list(&grouping["metrics"])
            .iter()
            .filter_map(|name| labels_of(text(name), recorded))
            .flat_map(HashMap::into_keys)
            .collect();
        let unknown =
            list(&grouping["labels"]).iter().map(text).filter(|label| !known.contains(*label));
        errors.extend(
            unknown.map(|label| format!("no metric of this grouping has a label `{label}`")),
        );
    }
    errors
}

/// Returns the labels of a metric, each with its possible values if they are fixed.
fn labels_of(
    name: &str,
    recorded: &HashMap<String, BTreeSet<String>>,
) -> Option<HashMap<String, Option<Vec<&'static str>>>> {
    let mut labels: HashMap<_, _> =
        TARGET.iter().map(|label| ((*label).to_owned(), None)).collect();
    if name == "up" {
        return Some(labels);
    }
    if KUBE_STATE_METRICS.contains(&name) {
        labels.insert("deployment".to_owned(), None);
        return Some(labels);
    }
    if let Some(recorded) = recorded.get(name) {
        return Some(recorded.iter().map(|label| (label.clone(), None)).collect());
    }
    let metric = catalogue().find(|metric| names(metric).iter().any(|known| known == name))?;
    for label in metric.labels {
        let words = match label.values {
            LabelValues::Fixed(words) => Some(words.to_vec()),
            LabelValues::Capped(_) => None,
        };
        labels.insert(label.name.to_owned(), words);
    }
    if name.ends_with("_bucket") {
        labels.insert("le".to_owned(), None);
    }
    Some(labels)
}

/// Returns the names of a metric's series.
fn names(metric: &Metric) -> Vec<String> {
    match metric.kind {
        MetricKind::Histogram(_) => {
            ["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)).to_vec()
        }
        MetricKind::Counter | MetricKind::Gauge => vec![metric.name.to_owned()],
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("the script should print a string: {value}"))
}

fn query(expr: &str) -> Query {
    Query { source: "test".to_owned(), expr: expr.to_owned() }
}

#[test]
fn a_query_for_an_unknown_metric_is_found() {
    let recorded = HashMap::from([("job:x:rate5m".to_owned(), BTreeSet::from(["job".to_owned()]))]);
    let bad = [
        ("sum(", "unclosed left parenthesis"),
        ("htp_requests_total", "there is no metric `htp_requests_total`"),
        ("http_request_duration_seconds", "there is no metric `http_request_duration_seconds`"),
        (r#"http_requests_total{code="500"}"#, "`http_requests_total` has no label `code`"),
        (
            r#"sluice_store_breaker_state{state="opened"}"#,
            "`state` of `sluice_store_breaker_state` is never `opened`",
        ),
        (
            r#"sluice_store_breaker_state{state=~"open|shut"}"#,
            "`state` of `sluice_store_breaker_state` is never `shut`",
        ),
        ("sum by (tool) (tool_executions_total)", "no metric of this grouping has a label `tool`"),
        ("up > on (endpoint) up", "no metric of this grouping has a label `endpoint`"),
        ("sum by (endpoint) (job:x:rate5m)", "no metric of this grouping has a label `endpoint`"),
    ];
    for (expr, expected) in bad {
        assert_eq!(errors(&[query(expr)], &recorded), [format!("test: {expected}: {expr}")]);
    }
    let good = [
        "sum by (le, endpoint) (rate(http_request_duration_seconds_bucket[$__rate_interval]))",
        r#"sluice_store_breaker_state{state=~"open|half_open", job=~"$job", instance="a:1"}"#,
        r#"http_requests_total{status=~"5.."} > on (job) job:x:rate5m"#,
    ];
    assert_eq!(errors(&good.map(query), &recorded), [""; 0]);
}
