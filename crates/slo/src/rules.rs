//! Prometheus rules for objectives.

use std::fmt::Write;

use serde_json::Value;

use crate::{
    burn::{ALERTS, Alert, Burn, windows},
    slo::{Indicator, Slo},
};

/// The fewest failures within the long window for which an alert fires: one failure of ten requests
/// in a quiet night wakes nobody.
const LEAST_FAILURES: u32 = 5;
/// The names of what is recorded, before the window.
const TOTAL: &str = "job_slo:http_requests";
const FAILED: &str = "job_slo:http_requests_failed";
/// Exempt endpoints are not part of the API. The series is missing where none is exempt.
const WITHOUT_EXEMPT: &str =
    "unless on (namespace, job, instance, endpoint) sluice_http_exempt_endpoints == 1";

/// Writes a file of Prometheus rules: for each objective a group of recording rules, and the
/// alerts. `runbooks` is the address of the folder that has a page for each alert.
///
/// Rules are grouped by `namespace` and `job`, as all rules of Sluice are. Where there was no
/// request there is no ratio, and no alert.
#[must_use]
pub fn rules(slos: &[Slo], runbooks: &str) -> String {
    let mut file = File::default();
    file.line(
        0,
        "# Written by `sluice slo rules` from the objectives of a configuration. Do not edit:",
    );
    file.line(0, "# change the configuration and write it again.");
    file.line(0, "groups:");
    for slo in slos {
        group(&mut file, slo, runbooks);
    }
    if slos.is_empty() {
        file.text.truncate(file.text.trim_end().len());
        file.text.push_str(" []\n");
    }
    file.text
}

/// The text of a file.
#[derive(Debug, Default)]
struct File {
    text: String,
}

impl File {
    fn line(&mut self, depth: usize, line: &str) {
        let indent = 2 * depth;
        writeln!(self.text, "{:indent$}{line}", "").expect("writing to a string cannot fail");
    }

    /// Writes a key with a value in quotes. A JSON string is a YAML string.
    fn key(&mut self, depth: usize, key: &str, value: &str) {
        let quoted = Value::from(value).to_string();
        self.line(depth, &format!("{key}: {quoted}"));
    }

    /// Writes an expression over several lines.
    fn expression(&mut self, depth: usize, lines: &[String]) {
        self.line(depth, "expr: |");
        for line in lines {
            self.line(depth + 1, line);
        }
    }
}

fn group(file: &mut File, slo: &Slo, runbooks: &str) {
    file.line(1, &format!("- name: sluice-slo-{}", slo.name));
    file.line(2, "interval: 30s");
    file.line(2, "rules:");
    for window in windows() {
        record(file, slo, &format!("{TOTAL}:rate{window}"), &total(slo, window));
        record(file, slo, &format!("{FAILED}:rate{window}"), &failed(slo, window));
        record(file, slo, &format!("{FAILED}:ratio_rate{window}"), &ratio(slo, window));
    }
    for alert in &ALERTS {
        write_alert(file, slo, alert, runbooks);
    }
}

/// Writes a recording rule.
fn record(file: &mut File, slo: &Slo, name: &str, expression: &[String]) {
    file.line(3, &format!("- record: {name}"));
    file.expression(4, expression);
    file.line(4, "labels:");
    file.key(5, "slo", slo.name.as_str());
}

/// Returns a recorded series of an objective, such as the requests per second in `rate5m`.
fn recorded(slo: &Slo, name: &str, rate: &str) -> String {
    format!("{name}:{rate}{{slo=\"{}\"}}", slo.name)
}

/// The share of requests that are not good. There is none without requests.
fn ratio(slo: &Slo, window: &str) -> Vec<String> {
    let rate = format!("rate{window}");
    let (failed, total) = (recorded(slo, FAILED, &rate), recorded(slo, TOTAL, &rate));
    vec![failed, format!("  / ({total} > 0)")]
}

/// All requests of an objective, per second.
fn total(slo: &Slo, window: &str) -> Vec<String> {
    let metric = match slo.indicator {
        Indicator::Availability => "http_requests_total",
        Indicator::Latency(_) => "http_request_duration_seconds_count",
    };
    sum(metric, slo, "", window)
}

/// The requests that are not good, per second.
fn failed(slo: &Slo, window: &str) -> Vec<String> {
    let total = recorded(slo, TOTAL, &format!("rate{window}"));
    match slo.indicator {
        // A status that never occurred has no series.
        Indicator::Availability => {
            let mut lines = sum("http_requests_total", slo, ",status=~\"5..|5xx\"", window);
            lines.push(format!("or sum by (namespace, job) (0 * {total})"));
            lines
        }
        // Behind the minus, so that what was counted between two looks makes nothing negative.
        Indicator::Latency(most) => {
            let good = format!(",le=~\"{}\"", boundary(most));
            let mut lines = vec!["clamp_min(".to_owned(), format!("  {total}")];
            lines.push("  - ignoring (slo)".to_owned());
            let sum = sum("http_request_duration_seconds_bucket", slo, &good, window);
            lines.extend(sum.iter().map(|line| format!("  {line}")));
            lines.extend(["  , 0".to_owned(), ")".to_owned()]);
            lines
        }
    }
}

fn sum(metric: &str, slo: &Slo, more: &str, window: &str) -> Vec<String> {
    let endpoint = Value::from(regex(&slo.endpoint.to_string())).to_string();
    vec![
        "sum by (namespace, job) (".to_owned(),
        format!("  rate({metric}{{endpoint=~{endpoint}{more}}}[{window}])"),
        format!("    {WITHOUT_EXEMPT}"),
        ")".to_owned(),
    ]
}

/// Returns the expression for a label `le`, which is written as `1` or `1.0`.
fn boundary(seconds: f64) -> String {
    let text = format!("{seconds}").replace('.', "\\\\.");
    if text.contains('.') { text } else { format!("{text}(\\\\.0)?") }
}

/// Returns the regular expression (RE2) for the labels that a pattern matches.
fn regex(pattern: &str) -> String {
    let mut regex = String::new();
    for segment in pattern.split('/').skip(1) {
        match segment {
            "**" => regex.push_str("(/.*)?"),
            "*" => regex.push_str("/[^/]+"),
            literal => {
                regex.push('/');
                for c in literal.chars() {
                    if "\\.+*?()|[]{}^$".contains(c) {
                        regex.push('\\');
                    }
                    regex.push(c);
                }
            }
        }
    }
    regex
}

fn write_alert(file: &mut File, slo: &Slo, alert: &Alert, runbooks: &str) {
    let burns: Vec<_> = alert.burns.iter().filter_map(|burn| condition(slo, *burn)).collect();
    if burns.is_empty() {
        return;
    }
    file.line(3, &format!("- alert: {}", alert.name));
    let mut lines = Vec::new();
    for (index, burn) in burns.iter().enumerate() {
        if index > 0 {
            lines.push("or".to_owned());
        }
        lines.extend_from_slice(burn);
    }
    file.expression(4, &lines);
    file.line(4, "labels:");
    file.key(5, "severity", alert.severity.as_str());
    file.key(5, "slo", slo.name.as_str());
    file.line(4, "annotations:");
    file.key(5, "summary", &format!("The error budget of {} burns too fast", slo.name));
    file.key(5, "description", &description(slo));
    file.key(5, "runbook_url", &format!("{runbooks}/{}.md", alert.name));
}

fn condition(slo: &Slo, burn: Burn) -> Option<Vec<String>> {
    let threshold = burn.threshold(slo.objective, slo.window_days)?;
    let Burn { long, short, .. } = burn;
    let ratio = |window| recorded(slo, FAILED, &format!("ratio_rate{window}"));
    let failed = recorded(slo, FAILED, &format!("rate{long}"));
    let seconds = burn.long_seconds();
    Some(vec![
        "(".to_owned(),
        format!("  {} > {threshold}", ratio(long)),
        format!("    and {} > {threshold}", ratio(short)),
        format!("    and {failed} * {seconds} >= {LEAST_FAILURES}"),
        ")".to_owned(),
    ])
}

fn description(slo: &Slo) -> String {
    let failed = match slo.indicator {
        Indicator::Availability => "fail".to_owned(),
        Indicator::Latency(most) => format!("take longer than {most} s"),
    };
    format!(
        "{{{{ $value | humanizePercentage }}}} of the requests to {{{{ with $labels.namespace \
         }}}}{{{{ . }}}}/{{{{ end }}}}{{{{ $labels.job }}}} ({}) {failed}; the objective is {} % \
         good in {} days.",
        slo.endpoint, slo.objective, slo.window_days
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_becomes_a_regular_expression_for_labels() {
        for (pattern, expected) in [
            ("/api/v1/**", "/api/v1(/.*)?"),
            ("/api/*/jobs", "/api/[^/]+/jobs"),
            ("/a/**/b", "/a(/.*)?/b"),
            ("/v1.0/a+b", "/v1\\.0/a\\+b"),
            ("/**", "(/.*)?"),
        ] {
            assert_eq!(regex(pattern), expected);
        }
    }

    #[test]
    fn a_whole_boundary_is_found_with_and_without_a_fraction() {
        assert_eq!(boundary(1.0), "1(\\\\.0)?");
        assert_eq!(boundary(0.5), "0\\\\.5");
    }

    #[test]
    fn no_objectives_are_an_empty_file() {
        assert!(rules(&[], "https://example.org").ends_with("groups: []\n"));
    }
}
