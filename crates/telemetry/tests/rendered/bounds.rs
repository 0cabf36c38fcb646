//! Counts are exact with several threads, and the number of series is bounded.

use std::time::Duration;

use sluice_telemetry::{
    LlmRequest, MethodLabel, MonthCost, OTHER, SourceLabel, Telemetry, catalogue,
};

use crate::{scrape, telemetry};

const MILLION: u32 = 1_000_000;

fn max_series(name: &str) -> usize {
    catalogue()
        .find(|metric| metric.name == name)
        .expect("the catalogue has the metric")
        .max_series()
}

fn folded(telemetry: &Telemetry, label: &str) -> Option<f64> {
    scrape(telemetry).value("sluice_labels_folded_total", &[("label", label)])
}

#[test]
fn counts_from_several_threads_are_exact() {
    const THREADS: u32 = 4;
    const EACH: u32 = 50_000;
    let telemetry = telemetry();
    let recorders = telemetry.recorders();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            // Each thread binds by itself, so that binding runs concurrently too.
            scope.spawn(|| {
                let limit = recorders.decisions.bind("default");
                let endpoint = recorders.http.bind("/api");
                for _ in 0..EACH {
                    limit.allowed(SourceLabel::Local);
                    endpoint.responded(MethodLabel::Get, 200, Duration::from_millis(1));
                }
            });
        }
    });
    let all = Some(f64::from(THREADS * EACH));
    let scrape = scrape(&telemetry);
    let decisions = [("limit", "default"), ("outcome", "allowed"), ("source", "local")];
    assert_eq!(scrape.value("sluice_decisions_total", &decisions), all);
    let requests = [("endpoint", "/api"), ("method", "GET"), ("status", "200")];
    assert_eq!(scrape.value("http_requests_total", &requests), all);
    assert_eq!(scrape.value("http_request_duration_seconds_count", &requests[..2]), all);
}

#[test]
fn a_million_endpoints_make_a_bounded_number_of_series() {
    let telemetry = telemetry();
    for n in 0..MILLION {
        telemetry.recorders().rate_limit.bind(&format!("/{n}")).hit();
    }
    let scrape = scrape(&telemetry);
    let max_series = max_series("rate_limit_hits_total");
    assert_eq!(scrape.series("rate_limit_hits_total"), max_series);
    assert_eq!(scrape.sum("rate_limit_hits_total"), Some(f64::from(MILLION)));
    // One of the series is `other`.
    let kept = u32::try_from(max_series - 1).expect("the cap is small");
    let rest = Some(f64::from(MILLION - kept));
    assert_eq!(scrape.value("rate_limit_hits_total", &[("endpoint", OTHER)]), rest);
    assert_eq!(folded(&telemetry, "endpoint"), rest);
}

#[test]
fn every_status_and_method_of_many_endpoints_make_a_bounded_number_of_series() {
    let telemetry = telemetry();
    let http = &telemetry.recorders().http;
    let mut requests = 0;
    for n in 0..350 {
        let name = format!("/{n}");
        // Some of the endpoints are paths without a pattern.
        if n >= 250 {
            assert!(http.label_of_path(&name, true).is_some(), "there are 100 places");
        }
        let endpoint = http.bind(&name);
        for method in MethodLabel::ALL {
            for status in (100..700).step_by(7) {
                endpoint.responded(*method, status, Duration::ZERO);
                requests += 1;
            }
        }
    }
    let scrape = scrape(&telemetry);
    // The SDK's overflow series comes on top, and keeps the sum correct.
    assert_eq!(scrape.series("http_requests_total"), max_series("http_requests_total") + 1);
    assert!(scrape.value("http_requests_total", &[("otel_metric_overflow", "true")]) > Some(0.0));
    assert_eq!(scrape.sum("http_requests_total"), Some(f64::from(requests)));
    assert_eq!(
        scrape.series("http_request_duration_seconds"),
        max_series("http_request_duration_seconds")
    );
    assert_eq!(folded(&telemetry, "endpoint"), Some(50.0));
}

#[test]
fn a_million_limits_make_a_bounded_number_of_series() {
    let telemetry = telemetry();
    for n in 0..MILLION {
        telemetry.recorders().decisions.bind(&format!("limit-{n}")).denied(SourceLabel::Store);
    }
    let scrape = scrape(&telemetry);
    assert!(scrape.series("sluice_decisions_total") <= max_series("sluice_decisions_total"));
    assert_eq!(scrape.sum("sluice_decisions_total"), Some(f64::from(MILLION)));
    let rest = Some(f64::from(MILLION - 500));
    assert_eq!(folded(&telemetry, "limit"), rest);
    let others = [("limit", OTHER), ("outcome", "denied"), ("source", "store")];
    assert_eq!(scrape.value("sluice_decisions_total", &others), rest);
}

#[test]
fn a_million_models_operations_and_statuses_make_a_bounded_number_of_series() {
    let telemetry = telemetry();
    for n in 0..MILLION {
        let (model, operation, status) = (
            format!("model-{n}"),
            format!("operation-{}", n % 1_000),
            format!("status-{}", n % 7_919),
        );
        let request = LlmRequest::new(&model, &operation, &status)
            .with_duration(Duration::ZERO)
            .with_tokens_generated(2)
            .with_tokens_consumed(1);
        telemetry.recorders().llm.request(&request);
    }
    let scrape = scrape(&telemetry);
    for metric in
        ["llm_requests_total", "llm_generation_duration_seconds", "llm_tokens_generated_total"]
    {
        assert!(scrape.series(metric) <= max_series(metric) + 1, "{metric}");
    }
    assert_eq!(scrape.sum("llm_requests_total"), Some(f64::from(MILLION)));
    assert_eq!(scrape.sum("llm_tokens_generated_total"), Some(f64::from(2 * MILLION)));
    assert_eq!(folded(&telemetry, "model"), Some(f64::from(MILLION - 40)));
    assert!(folded(&telemetry, "operation") > Some(0.0));
    assert!(folded(&telemetry, "status") > Some(0.0));
}

#[test]
fn a_million_tools_and_blueprints_make_a_bounded_number_of_series() {
    let telemetry = telemetry();
    for n in 0..MILLION {
        telemetry.recorders().tool.execution(&format!("tool-{n}"), "success", None);
        telemetry.recorders().blueprint.set_resources(&format!("blueprint-{n}"), u64::from(n));
    }
    let scrape = scrape(&telemetry);
    assert_eq!(scrape.series("tool_executions_total"), 201);
    assert_eq!(scrape.sum("tool_executions_total"), Some(f64::from(MILLION)));
    assert_eq!(scrape.series("blueprint_resources_count"), 201);
    let rest = Some(f64::from(MILLION - 200));
    assert_eq!(folded(&telemetry, "tool_name"), rest);
    assert_eq!(folded(&telemetry, "blueprint"), rest);
}

#[test]
fn what_is_shown_again_is_folded_once() {
    let telemetry = telemetry();
    let month = || -> Vec<MonthCost> {
        let currencies = ('A'..='Z').map(|letter| format!("{letter}{letter}{letter}"));
        currencies.map(|name| MonthCost { currency: name.into(), so_far: 1, forecast: 2 }).collect()
    };
    for _ in 0..3 {
        telemetry.recorders().cost.set_month(month());
    }
    let scrape = scrape(&telemetry);
    assert_eq!(scrape.series("sluice_cost_month"), max_series("sluice_cost_month"));
    assert_eq!(folded(&telemetry, "currency"), Some(0.0), "no event has brought a currency");
}
