//! From the values of the chart to an alert that fires: the rules and the configuration that Helm
//! renders, a replica that denies, and a Prometheus that evaluates.
//!
//! With `SLUICE_ALERT_AS_RENDERED=1` the rules keep their times, which takes some four minutes, and
//! the test prints how long each step took:
//!
//! ```sh
//! SLUICE_ALERT_AS_RENDERED=1 cargo test --workspace --test deploy first_alert -- --nocapture
//! ```
#![allow(clippy::print_stderr, reason = "the test prints a measurement, which it does not assert")]

use std::{
    env, fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sluice_testkit::{SluiceOptions, built_sluice, eventually_async_within};
use sluice_tests::prometheus::Prometheus;
use tempfile::TempDir;

use crate::{
    chart::render,
    denials::{deny_many, soon_exceeded},
};

const ALERT: &str = "RateLimitSpike";
/// More than `for`, two evaluations and the time to scrape.
const TIMEOUT_AS_RENDERED: Duration = Duration::from_secs(480);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Prints when a step was done, counted from the values of the chart.
fn print_step(start: Instant, step: &str) {
    eprintln!("{:>6.1} s  {step}", start.elapsed().as_secs_f64());
}

/// Makes rules evaluate twice per second, and alerts fire after one second.
fn shorten(spec: &mut Value) {
    for group in spec["groups"].as_array_mut().expect("groups are a list") {
        group["interval"] = json!("500ms");
        for rule in group["rules"].as_array_mut().expect("rules are a list") {
            if rule["for"].is_string() {
                rule["for"] = json!("1s");
            }
        }
    }
}

/// Returns the state of the alert: `None` before its first evaluation.
async fn state(prometheus: &Prometheus) -> Option<String> {
    let alerts = prometheus.api("alerts").await["data"]["alerts"].clone();
    let alerts = alerts.as_array().expect("alerts are a list").iter();
    let mut states = alerts.filter(|alert| alert["labels"]["alertname"] == ALERT);
    Some(states.next()?["state"].as_str().expect("a state is a string").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_that_the_chart_renders_fire_when_a_limit_denies() {
    let as_rendered = env::var_os("SLUICE_ALERT_AS_RENDERED").is_some();
    let timeout = if as_rendered { TIMEOUT_AS_RENDERED } else { TIMEOUT };
    let start = Instant::now();
    let values = json!({
        "image": { "repository": "registry.internal/sluice" },
        "store": { "url": "memory://" },
        "autoscaling": { "enabled": false },
        "replicaCount": 1,
        "config": soon_exceeded(),
        "serviceMonitor": { "enabled": true },
        "prometheusRule": { "enabled": true },
    });
    let rendered = render(&[values]).remove(0);
    let mut spec = rendered.one("PrometheusRule")["spec"].clone();
    if !as_rendered {
        shorten(&mut spec);
    }
    let directory = TempDir::new().expect("a directory can be created");
    let rules = directory.path().join("rules.json");
    fs::write(&rules, spec.to_string()).expect("the file can be written");
    // The harness scrapes the path that Prometheus uses by default.
    let endpoint = &rendered.one("ServiceMonitor")["spec"]["endpoints"][0];
    assert_eq!(endpoint["path"], "/metrics");
    print_step(start, "the chart is rendered");

    let config = rendered.configuration()["sluice.yaml"].as_str().expect("a file is text");
    let replica = SluiceOptions::new(built_sluice()).config(config).start();
    let prometheus =
        Prometheus::start(&[replica.http_addr()], &[format!("\"{}\"", rules.display())]).await;
    print_step(start, "a replica runs with its configuration, and Prometheus with its rules");
    deny_many(&replica, &prometheus).await;
    print_step(start, "the limit has denied 6,000 checks");

    let mut pending = false;
    eventually_async_within(timeout, &format!("{ALERT} fires"), async || {
        let state = state(&prometheus).await;
        if !pending && state.is_some() {
            pending = true;
            print_step(start, "the rule is true: the alert is pending or firing");
        }
        if state.as_deref() == Some("firing") { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    print_step(start, "the alert fires");
}
